"""Budgets on what is said, from the text to the verdict, against an oracle that only reads what was accepted.

Random streams of requests with one to three contributions, by a crowd of names, at times that stand still, jump and go
back. The oracle splits the accepted texts itself, and counts. Each planted bug must be seen.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

import pytest

from feedback_guard.assessment import Assessment, Content
from feedback_guard.contribution import Contribution, Kind
from feedback_guard.evidence.facets import Background
from feedback_guard.evidence.observe import canonical_texts
from feedback_guard.limits import plan
from feedback_guard.limits.checks import over_admitted
from feedback_guard.limits.contents import Contents
from feedback_guard.limits.interface import UNIT, Budget, Charge, Refusal
from feedback_guard.limits.memory import MemoryBudgets
from feedback_guard.limits.plan import budget_of
from feedback_guard.policy.limits import LimitPolicy
from feedback_guard.policy.routes import OnHold
from feedback_guard.settle import Settler
from feedback_guard.signals.interface import Observation
from feedback_guard.submission import Submission
from feedback_guard.verdict import Decision
from tests.limits.wrong_arithmetic import Stale, fixed_window, no_clamp

DAY = 86_400_000_000
VOCABULARY = [*"the card is here came".split(), *(f"zq{n}" for n in range(14))]
WORDS = LimitPolicy(name="words", facet="phrase", measure="count", amount=3, rare=2)
PAIRS = LimitPolicy(name="pairs", facet="pair", measure="count", amount=4, rare=1)
COPIES = LimitPolicy(name="copies", facet="family", measure="count", amount=2, per=7 * DAY)
LESSON = LimitPolicy(name="lesson", facet="target", measure="weight", amount=6, per=DAY, burst=3)
LIMITS = (WORDS, PAIRS, COPIES, LESSON)
TRUSTED = ("the card is here", "the card came", "the card is late", "is the transfer here")


def observed(item: Contribution) -> Observation:
    return Observation(item, canonical_texts(item), {})


BACKGROUND = Background.fit(
    [observed(Contribution(str(n), 0, "t", Kind.LABEL, text, "x")) for n, text in enumerate(TRUSTED)], seed=0
)


def rare(text: str) -> tuple[set[str], set[str]]:
    """The rare words and the rare pairs of a text, by the definition."""

    def times(found: Callable[[list[str]], Iterable[object]], thing: object) -> int:
        return sum(thing in set(found(one.split())) for one in TRUSTED)

    words = text.split()
    pairs = set(itertools.pairwise(words))
    return (
        {word for word in words if times(lambda w: w, word) < 2},
        {" ".join(pair) for pair in pairs if times(itertools.pairwise, pair) < 1},
    )


class Oracle:
    """What was accepted, and nothing else that the guard says."""

    def __init__(self) -> None:
        self.words: Counter[str] = Counter()
        self.pairs: Counter[str] = Counter()
        self.taught: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
        self.faults: list[str] = []

    def accepted(self, item: Contribution, weight: float, now_us: int) -> None:
        words, pairs = rare(item.input)
        self.words.update(words)
        self.pairs.update(pairs)
        self.taught["copies", item.input].append((now_us, UNIT))
        self.taught["lesson", str(item.label)].append((now_us, round(weight * UNIT)))

    def findings(self) -> list[str]:
        for counted, limit in ((self.words, WORDS), (self.pairs, PAIRS)):
            self.faults += [f"{n} times {what!r} ({limit.name})" for what, n in counted.items() if n > limit.amount]
        for (name, what), admitted in self.taught.items():
            if (found := over_admitted(budget_of({"copies": COPIES, "lesson": LESSON}[name]), admitted)) is not None:
                self.faults.append(f"{name} {what!r}: {found}")
        return self.faults

    def has_room(self, items: Sequence[tuple[Contribution, float]], now_us: int) -> bool:
        """Whether these would break nothing if they were accepted now."""
        after = Oracle()
        after.words, after.pairs = Counter(self.words), Counter(self.pairs)
        after.taught = defaultdict(list, {key: list(found) for key, found in self.taught.items()})
        for item, weight in items:
            after.accepted(item, weight, now_us)
        return after.findings() == []


def play(budgets: MemoryBudgets, seed: int, *, requests: int = 120) -> list[str]:
    """Offer a random stream; all that is wrong with what was accepted, and with what was not."""
    rng, oracle, reader = random.Random(seed), Oracle(), Contents(LIMITS, BACKGROUND)
    settler = Settler(LIMITS, "sha256:p", "sha256:b", observed=False)
    now, accepted = 10 * DAY, 0
    for number in range(requests):
        now += rng.choice([0, 0, DAY // 50, DAY // 4, DAY, -DAY // 3, 3 * DAY])
        items, proposals = [], []
        for place in range(rng.choice([1, 1, 1, 2, 3])):
            chosen = rng.choices(
                [*"the card is here came".split(), *(f"zq{n}" for n in range(14))], k=rng.randint(1, 4)
            )
            text, weight = " ".join(chosen), rng.choice([1.0, 1.0, 0.5, 0.300_001])
            item = Contribution(
                f"c{number}-{place}", now, f"u{rng.randrange(40)}", Kind.LABEL, text, rng.choice(["a", "b", "c"])
            )
            items.append(item)
            proposals.append(Assessment(Decision.ACCEPT, weight, 0.1, (), content=reader.of(observed(item))))
        on_hold = rng.choice(list(OnHold))
        verdicts = settler.settle(Submission("r", on_hold, tuple(items)), proposals, budgets, now).verdicts
        together = [(item, each.weight) for item, each in zip(items, proposals, strict=True)]
        if on_hold is OnHold.HOLD and any(each.decision is not Decision.ACCEPT for each in verdicts):
            if oracle.has_room(together, now):
                oracle.faults.append(f"request {number} was held and had room")
            continue
        for one, verdict in zip(together, verdicts, strict=True):
            if verdict.decision is Decision.ACCEPT:
                oracle.accepted(one[0], verdict.weight, now)
                accepted += 1
            elif oracle.has_room([one], now):
                oracle.faults.append(f"{one[0].id} was held and had room")
    if not accepted:
        oracle.faults.append("nothing was accepted at all")
    return oracle.findings()


@pytest.mark.parametrize("seed", range(12))
def test_nothing_that_is_said_is_learnt_too_often_and_nothing_waits_without_need(seed: int) -> None:
    assert play(MemoryBudgets(), seed) == []


def one_too_many(patch: pytest.MonkeyPatch) -> None:
    def wrong(limit: LimitPolicy) -> Budget:
        right = budget_of(limit)
        return replace(right, amount_micro=right.amount_micro + UNIT)

    patch.setattr(plan, "budget_of", wrong)


def reads_the_first_word_only(patch: pytest.MonkeyPatch) -> None:
    def of(self: Contents, observation: Observation) -> Content:
        found = right(self, observation)
        return replace(found, keys={**found.keys, "words": found.keys["words"][:1]})

    right = Contents.of
    patch.setattr(Contents, "of", of)


def a_counter_for_each_sender(patch: pytest.MonkeyPatch) -> None:
    def of(self: Contents, observation: Observation) -> Content:
        found, who = right(self, observation), observation.contribution.contributor
        keys: Mapping[str, tuple[str, ...]] = {
            name: tuple(f"{who} {key}" for key in values) for name, values in found.keys.items()
        }
        return replace(found, keys=keys)

    right = Contents.of
    patch.setattr(Contents, "of", of)


def a_request_counts_once(patch: pytest.MonkeyPatch) -> None:
    """Contributions of one request share a charge."""

    def merged(charges: Iterable[Charge], *, of: int = 2) -> list[Charge]:
        del of
        return list({(charge.budget.name, charge.key): charge for charge in charges}.values())

    patch.setattr("feedback_guard.room.merged", merged)


def what_is_held_is_charged(patch: pytest.MonkeyPatch) -> None:
    """All or none is forgotten: what was charged before the counter without room stays charged."""

    def charge(self: MemoryBudgets, charges: Sequence[Charge], now_us: int) -> Refusal | None:
        for each in charges:
            if (refusal := right(self, [each], now_us)) is not None:
                return refusal
        return None

    right = MemoryBudgets.charge
    patch.setattr(MemoryBudgets, "charge", charge)


BUGS = (
    fixed_window,
    no_clamp,
    one_too_many,
    reads_the_first_word_only,
    a_counter_for_each_sender,
    a_request_counts_once,
    what_is_held_is_charged,
)


@pytest.mark.parametrize("bug", BUGS)
def test_the_oracle_finds(bug: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)
    assert any(play(MemoryBudgets(), seed) for seed in range(12))


def test_the_oracle_finds_what_reads_before_it_writes() -> None:
    assert any(play(Stale(), seed) for seed in range(12))


def test_the_oracle_counts_by_the_definition() -> None:
    assert rare("the card zq1 came") == ({"zq1", "came"}, {"card zq1", "zq1 came"})
    assert budget_of(LESSON).burst_micro == 3 * UNIT
    assert Fraction(budget_of(LESSON).amount_micro, UNIT) == 6
