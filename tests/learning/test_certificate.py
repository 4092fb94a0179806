"""The certificate against every thing that so many hostile contributors could do, tried one by one."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import pytest

from feedback_guard.contribution import Contribution, Kind
from feedback_guard.errors import SnapshotError, UsageError
from feedback_guard.learning.allotment import Allotment, Teacher
from feedback_guard.learning.caps import Cap
from feedback_guard.learning.certificate import Certified, Ensemble, Example, certified_accuracy, tally, train
from feedback_guard.learning.partition import Partitions
from feedback_guard.learning.snapshot import Snapshot
from feedback_guard.store.database import Store
from tests.learning.cutting import cut, one, policy, put

LABELS = ("a", "b", "c")
Votes = tuple[str | None, ...]


def elected(votes: Sequence[str | None], labels: Sequence[str]) -> str | None:
    """The winner, by definition: most votes, then first in order."""
    counts = Counter(vote for vote in votes if vote is not None)
    return max(labels, key=lambda label: (counts[label], -labels.index(label))) if counts else None


def reachable(votes: Votes, changed: int, labels: Sequence[str]) -> Iterator[Votes]:
    """Every outcome of a vote in which so many voters say anything at all, or nothing."""
    for who in itertools.combinations(range(len(votes)), changed):
        for said in itertools.product((*labels, None), repeat=changed):
            other = list(votes)
            for place, vote in zip(who, said, strict=True):
                other[place] = vote
            yield tuple(other)


def resists(votes: Votes, labels: Sequence[str]) -> int:
    """How many voters can change without changing the winner: every change is tried."""
    winner, radius = elected(votes, labels), 0
    while radius < len(votes) and all(
        elected(other, labels) == winner for other in reachable(votes, radius + 1, labels)
    ):
        radius += 1
    return radius


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_no_radius_is_too_large_and_without_abstentions_none_is_too_small(n: int) -> None:
    for votes in itertools.product((*LABELS, None), repeat=n):
        found = tally(votes, labels=LABELS)
        assert found.label == elected(votes, LABELS)
        truth = resists(votes, LABELS) if found.label is not None else 0
        assert found.radius <= truth, votes
        if None not in votes:
            assert found.radius == truth, votes


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_a_label_that_nobody_knew_is_reckoned_with(n: int) -> None:
    for votes in itertools.product(("b", "d", None), repeat=n):
        found = tally(votes)
        # Hostile contributors may bring labels that stand before, between and after the known ones.
        assert found.radius <= (resists(votes, ("a", "b", "c", "d", "e")) if found.label is not None else 0), votes


def half_the_votes(votes: Sequence[str | None]) -> Certified:
    """Half of the winner's votes, whoever else was voted for."""
    found = tally(votes, labels=LABELS)
    return Certified(found.label, found.votes // 2, found.votes)


def one_too_many(votes: Sequence[str | None]) -> Certified:
    """Rounded up instead of down."""
    found = tally(votes, labels=LABELS)
    others = [sum(vote == label for vote in votes) for label in LABELS if label != found.label]
    return Certified(found.label, (found.votes - max(others) + 1) // 2, found.votes)


def ties_forgotten(votes: Sequence[str | None]) -> Certified:
    """Whoever comes first in order wins a tie, and that is not reckoned with."""
    found = tally(votes, labels=LABELS)
    others = [sum(vote == label for vote in votes) for label in LABELS if label != found.label]
    return Certified(found.label, (found.votes - max(others)) // 2, found.votes)


@pytest.mark.parametrize("rule", [half_the_votes, one_too_many, ties_forgotten])
def test_trying_every_change_finds(rule: Callable[[Sequence[str | None]], Certified]) -> None:
    every = (votes for n in range(1, 6) for votes in itertools.product((*LABELS, None), repeat=n))
    assert any((found := rule(votes)).label is not None and found.radius > resists(votes, LABELS) for votes in every), (
        "a radius that is too large"
    )


def majority(examples: Sequence[Example]) -> str:
    """A learner that answers everything with its heaviest label."""
    weights: dict[str, float] = {}
    for example in examples:
        label = str(example.contribution.label)
        weights[label] = weights.get(label, 0.0) + example.weight
    return max(sorted(weights), key=lambda label: weights[label])


def nearest(examples: Sequence[Example]) -> tuple[tuple[int, str], ...]:
    """A learner that looks up what stands nearest: every example matters, not only their sum."""
    return tuple((int(example.contribution.input), str(example.contribution.label)) for example in examples)


def look_up(model: tuple[tuple[int, str], ...], inputs: Sequence[int]) -> list[str]:
    return [min(model, key=lambda point: (abs(point[0] - value), point))[1] for value in inputs]


Taught = tuple[tuple[str, str], ...]
"""What one contributor sends: texts with labels."""


def ensemble(people: Mapping[str, Taught], deal: Partitions, learner: str) -> list[Certified]:
    """Train on what people sent, as `train` does, and answer two inputs."""
    parts: list[list[Example]] = [[] for _ in range(deal.count)]
    for who in sorted(people):
        for text, label in people[who]:
            item = Contribution(f"{who}-{text}", 0, who, Kind.LABEL, text, label=label)
            parts[deal.of(who)].append(Example(item, 1.0))
    if learner == "majority":
        heaviest = tuple(majority(part) if part else None for part in parts)
        return Ensemble[str, int](heaviest, lambda label, inputs: [label] * len(inputs), LABELS).certify([0, 9])
    points = Ensemble(tuple(nearest(part) if part else None for part in parts), look_up, LABELS)
    return points.certify([0, 9])


ANYTHING: tuple[Taught, ...] = ((), (("0", "a"),), (("0", "b"),), (("9", "c"),), (("0", "c"), ("9", "a")))
"""All that a hostile contributor can send in the exhaustive test, the empty hand included."""


@pytest.mark.parametrize("learner", ["majority", "nearest"])
@pytest.mark.parametrize(("n_people", "partitions"), [(4, 3), (6, 5), (5, 9)])
def test_no_choice_of_hostile_people_and_lessons_changes_a_certified_answer(
    learner: str, n_people: int, partitions: int
) -> None:
    deal = Partitions(partitions, b"a key of this test")
    honest = {f"u{n}": (("0", "a"), ("9", "b")) if n % 4 else (("0", "c"), ("9", "b")) for n in range(n_people)}
    before = ensemble(honest, deal, learner)
    # Somebody new may come too; which partition her name falls into is hers to find out by trying.
    names = [*honest, *(f"new{n}" for n in range(3))]
    for radius in (1, 2):
        for hostile in itertools.combinations(names, radius):
            for lessons in itertools.product(ANYTHING, repeat=radius):
                after = ensemble({**honest, **dict(zip(hostile, lessons, strict=True))}, deal, learner)
                for one_before, one_after in zip(before, after, strict=True):
                    if one_before.radius >= radius:
                        assert one_after.label == one_before.label, (hostile, lessons)


def test_own_weights_do_not_depend_on_others_and_capped_weights_do() -> None:
    caps = [Cap("contributor", Fraction(1, 4), 6_000_000)]

    def given(extra: int) -> dict[tuple[str, int], tuple[int, int]]:
        rows = [(f"u{n}", k) for n in range(5) for k in range(2 * n + 1)] + [("x", k) for k in range(extra)]
        allotment = Allotment(caps)
        for who, _ in rows:
            allotment.add(Teacher(who, {}), 1_000_000)
        allotment.settle()
        out = {}
        for who, k in rows:
            found = allotment.give(Teacher(who, {}), 1_000_000)
            assert found is not None
            out[who, k] = (found.weight, found.own)
        return out

    alone, beside = given(0), given(6)
    honest = [key for key in alone if key[0] != "x"]
    assert all(alone[key][1] == beside[key][1] for key in honest)
    # This is why a certificate on the capped weights would be false: one contributor moves everybody's.
    assert any(alone[key][0] != beside[key][0] for key in honest)


def test_models_are_trained_on_the_partitions_of_a_snapshot(sqlite_store: Store, tmp_path: Path) -> None:
    deal = Partitions(4, b"a key of this test")
    put(sqlite_store, *[one(f"c{n}", f"u{n % 30}", weight=0.5) for n in range(60)])
    cut(sqlite_store, tmp_path / "s", policy(), partitions=deal)
    seen: list[set[str]] = []

    def fit(examples: Sequence[Example]) -> str:
        seen.append({example.contribution.contributor for example in examples})
        assert {example.weight for example in examples} == {0.5}
        return "x"

    def predict(model: str, inputs: Sequence[str]) -> list[str]:
        return [model for _ in inputs]

    found = train(Snapshot.open(tmp_path / "s"), fit, predict).certify(["?"])
    assert [{deal.of(who) for who in people} for people in seen] == [{0}, {1}, {2}, {3}]
    assert found == [Certified("x", 1, 4)]
    cut(sqlite_store, tmp_path / "t", policy())
    with pytest.raises(SnapshotError, match="has no partitions"):
        train(Snapshot.open(tmp_path / "t"), fit, predict)


def test_wrong_uses_are_refused() -> None:
    with pytest.raises(UsageError, match="not among the labels"):
        tally(["z"], labels=LABELS)
    with pytest.raises(UsageError, match="did not give one label for each"):
        Ensemble[str, int](("m",), lambda _model, _inputs: ["a"]).certify([1, 2])
    with pytest.raises(UsageError, match="one expected label"):
        certified_accuracy([], [], 0)
    assert tally([None, None]) == Certified(None, 0, 0)
    # With a single label the last voter counts: without her there is no answer.
    assert tally(["a", "a", "a"], labels=["a"]) == Certified("a", 2, 3)
