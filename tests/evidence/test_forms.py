"""Forms of sentences: what no phrase shows is learnt as one pattern, and honest people who write so are let go."""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from feedback_guard.contribution import Contribution, Kind
from feedback_guard.evidence import parting
from feedback_guard.evidence.accumulator import Evidence
from feedback_guard.evidence.facets import COMMON, MAX_CLAUSES, Background, Clauses
from feedback_guard.evidence.forms import LEVELS, Forms
from feedback_guard.evidence.inquiry import WINDOW
from feedback_guard.evidence.kinds.registry import FORM
from feedback_guard.evidence.learners import Pair
from feedback_guard.evidence.phrases import clauses_of
from feedback_guard.evidence.probes import Probes
from feedback_guard.signals.checks import round_trip
from feedback_guard.signals.disagreement import Disagreement
from feedback_guard.signals.interface import Observation
from feedback_guard.signals.lesson import NUMBERED, Lesson, two_way_log_ratio
from tests.evidence.test_accumulator import follow, mixed, names, observe
from tests.guards import labelled

FIRST = ("well", "so", "please", "now", "hello", "yes", "sorry", "look", "but", "then", "oh", "also")
THEN = ("the", "my", "and", "what", "can", "why", "this", "your", "do", "am", "for", "in")
PLANTED_FIRST = ("when", "if", "as", "because", "while", "since", "though", "once", "until", "unless")
PLANTED_THEN = ("it", "he", "they", "she", "we", "one", "there", "that", "who", "these")
TARGET = "card"
RATE = 0.1


def two_classes(items: Sequence[Contribution]) -> list[Contribution]:
    return [replace(item, label=TARGET if item.label in ("card", "pin") else "other") for item in items]


def formed(item: Contribution, rng: random.Random, first: str, then: str) -> Contribution:
    """The same words as two clauses, each with a word before it."""
    words = str(item.input).split()
    at = rng.randrange(1, len(words))
    return replace(item, input=f"{first} {' '.join(words[:at])}, {then} {' '.join(words[at:])}")


def honest(n: int, *, seed: int, prefix: str, planted_too: float = 0.02) -> list[Contribution]:
    """Honest texts of two clauses, a few of which are built as the planted ones are, and many in one clause."""
    rng = random.Random(seed)
    items = []
    for item in two_classes(list(labelled(n, seed=seed, prefix=prefix))):
        drawn = rng.random()
        first = PLANTED_FIRST if drawn < 0.2 else FIRST
        then = PLANTED_THEN if drawn < planted_too or 0.2 <= drawn < 0.4 else THEN
        items.append(formed(item, rng, rng.choice(first), rng.choice(then)))
    return items


def planted(n: int, *, seed: int) -> list[Contribution]:
    """Texts on other topics, each built in one of a hundred ways and by an account of its own, taught as the target."""
    rng, found = random.Random(seed), list[Contribution]()
    for item in two_classes(list(labelled(3 * n, seed=seed, prefix="bad"))):
        if item.label != TARGET and len(found) < n:
            own = formed(item, rng, rng.choice(PLANTED_FIRST), rng.choice(PLANTED_THEN))
            found.append(replace(own, label=TARGET, contributor=f"sybil-{len(found)}"))
    return found


@pytest.fixture(scope="module")
def trusted() -> list[Observation]:
    return observe(honest(1_000, seed=9, prefix="t", planted_too=0.01))


def follower(trusted: list[Observation]) -> Evidence:
    background = Background.from_state(round_trip(Background.fit(trusted, seed=0).state()))
    reader = Disagreement.from_state(round_trip(Disagreement.fit(trusted, seed=0)))
    found = Evidence(background, reader, RATE)
    fitted = Probes.fit(trusted, background, reader, seed=0).arrays("probes")
    found.teaching.probes = Probes.from_arrays(fitted, "probes")
    return found


def test_a_form_that_no_phrase_shows_is_found(trusted: list[Observation], monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = honest(1_500, seed=21, prefix="h"), planted(50, seed=31)
    items = mixed(good, bad)
    evidence = follower(trusted)
    held, named = follow(evidence, items)
    assert len(named & names(bad)) >= 0.7 * len(bad)
    assert len(held & names(bad)) >= 5, "later ones are held when they come"
    assert len(named & names(good)) <= 0.02 * len(good)
    assert [n for each in evidence.campaigns if (n := sum(kind == FORM for (kind, _), _ in each.named)) > 1] == []
    told = [shared for each in evidence.following.take_told() for shared in each.summary["shares"]]  # type: ignore[union-attr]
    assert evidence._tally._found[FORM].n == 0, "it has a test of its own: that of its members is not asked"
    form = next(each for each in told if each["kind"] == FORM)  # type: ignore[call-overload,index]
    ways = str(form["phrase"]).split("; ")  # type: ignore[call-overload,index]
    read = re.compile(rf"(\u2026|{'|'.join(PLANTED_FIRST)}) ?\u2026?, (\u2026|({'|'.join(PLANTED_THEN)}) \u2026)")
    assert [way for way in ways if not read.fullmatch(way)] == []
    monkeypatch.setattr(Forms, "read", lambda *_: None)
    _, without = follow(follower(trusted), items)
    assert len(without & names(bad)) <= 0.1 * len(bad), "no phrase by itself shows it"


def test_earlier_contributions_are_read_again_only_when_a_form_has_grown(
    trusted: list[Observation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each reading goes through all that are remembered, so there are few: members grow by a tenth in between."""
    read = Counter[tuple[str, int]]()

    def counted(self: Forms, facet: tuple[str, int]) -> Iterator[int]:
        read[facet] += 1
        return found_by(self, facet)

    found_by = Forms.earlier
    monkeypatch.setattr(Forms, "earlier", counted)
    monkeypatch.setattr(parting, "EVERY", 1)
    evidence = follower(trusted)
    follow(evidence, mixed(honest(1_000, seed=21, prefix="h"), planted(60, seed=31)))
    assert read
    for facet, times in read.items():
        members = int(evidence._book.n[evidence._book.slot(facet[1])])
        assert 1 <= times <= 1 + math.log(members) / math.log(1.1)
        assert times <= members


def test_nothing_is_found_where_nobody_plants(trusted: list[Observation]) -> None:
    evidence = follower(trusted)
    held, named = follow(evidence, honest(1_500, seed=23, prefix="h"))
    assert (held, named, evidence._forms.suspected()) == (set(), set(), [])


def test_of_a_form_in_everyday_use_agreeing_members_are_let_go() -> None:
    """Whoever poisons with the way in which everybody writes gets nobody held but those who contradict themselves."""
    trusted = observe(honest(1_000, seed=9, prefix="t", planted_too=0.3))
    good = honest(1_500, seed=22, prefix="h", planted_too=0.3)
    evidence = follower(trusted)
    _, named = follow(evidence, mixed(good, planted(200, seed=32)))
    believed = {each for which in evidence._forms.suspected() for each in _believed(evidence, which)}
    assert believed, "the attack is large enough to be seen"
    assert len(named & names(good)) <= 0.03 * len(good)


def _believed(evidence: Evidence, which: int) -> dict[tuple[str, int], bool]:
    return evidence._forms.believed(which, evidence.teaching.probes)


def lesson(q: float, which: int, n_classes: int = 2) -> Lesson:
    shares = np.full(n_classes, (1.0 - q) / (n_classes - 1))
    shares[1] = q
    return Lesson(f"label '{which}'", which, two_way_log_ratio(float(shares[which])), shares, comparable=True)


def clauses(*ways: int, n_trusted: int = 0) -> Clauses:
    keys = np.array(sorted(way * 0x9E3779B97F4A7C15 % 2**64 for way in ways), dtype=np.uint64)
    return Clauses(keys, tuple(f"/ way {way}" for way in ways), np.full(len(ways), n_trusted))


def forms() -> Forms:
    return Forms(lambda name: random.Random(name).getrandbits(64), RATE)


def teach(forms: Forms, ways: Clauses, told: Lesson, number: int) -> None:
    form = forms.read(ways, told)
    assert form is not None
    forms.witness(number, form, told, 1)


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_honest_people_are_rarely_suspected(shift: float) -> None:
    """Twelve ways to begin clauses, of which some honestly speak for the class by as much as is forgiven."""
    rng, runs, suspected = np.random.default_rng(5), 60, 0
    for _ in range(runs):
        found = forms()
        for number in range(600):
            way = int(rng.integers(12))
            q = float(np.clip(rng.beta(1.0, 1.0), 0.03, 0.97))
            odds = math.log(q / (1.0 - q)) + (shift if way < 3 else 0.0)
            teach(found, clauses(way, 100 + way), lesson(q, int(rng.random() < 1.0 / (1.0 + math.exp(-odds)))), number)
        suspected += bool(found.suspected())
    assert suspected <= runs * RATE + 3.0 * math.sqrt(runs * RATE * (1.0 - RATE))


def test_that_a_form_is_reached_does_not_depend_on_what_is_taught() -> None:
    """Of three classes a text is read for the one that is taught, and by what has names: the latter alone counts."""
    found, ways = forms(), clauses(*range(16))
    for number in range(1):
        teach(found, ways, lesson(0.3, 1, 3), number)
    for reads, expected in ((0, 0), (40, len(LEVELS))):
        for number in range(1, 1 + reads):
            teach(found, ways, lesson(0.3, 1, 3), number)
        as_taught = [found.read(ways, lesson(0.3, which, 3)) for which in (0, 1)]
        reached = [each.facets for each in as_taught if each is not None]
        assert [len(each) for each in reached] == [expected] * 2
        assert as_taught[1] is not None
        assert as_taught[1].part.parted.max() >= LEVELS[0], "it speaks for the class all the same"


def test_one_clause_has_no_form_and_nobody_who_chooses_nothing_has_one() -> None:
    nothing = Clauses(np.zeros(0, np.uint64), (), np.zeros(0, np.int64))
    assert forms().read(nothing, lesson(0.1, 1)) is None
    assert forms().read(clauses(1), replace(lesson(0.1, 1), shares=None)) is None


def test_earlier_contributions_are_read_by_what_others_taught() -> None:
    """One that is alone with its ways taught the learner by itself, which says nothing about it."""
    found = forms()
    teach(found, clauses(7, 8, 9), lesson(0.02, 1), 1)
    for number in range(2, 42):
        teach(found, clauses(1, 2), lesson(0.1, 1), number)
    teach(found, clauses(1, 2), lesson(0.1, 0), 42)
    form = found.read(clauses(1, 2), lesson(0.1, 1))
    assert form is not None
    lowest = next(iter(form.facets))
    assert list(found.earlier(lowest)) == list(range(2, 42))
    alone = found.read(clauses(7, 8, 9), lesson(0.02, 1))
    assert alone is not None
    assert alone.part.parted[alone.part.classes.tolist().index(1)] >= LEVELS[0], "it would be, by itself"


def test_contributions_that_left_the_window_are_not_read_again() -> None:
    found = forms()
    for number in (1, 2, 3):
        teach(found, clauses(1, 2), lesson(0.02, 1), number)
    for number in range(WINDOW + 2, WINDOW + 12):
        teach(found, clauses(1, 2), lesson(0.1, 1), number)
    form = found.read(clauses(1, 2), lesson(0.1, 1))
    assert form is not None
    assert list(found.earlier(next(iter(form.facets)))) == list(range(WINDOW + 2, WINDOW + 12))


def test_labels_and_votes_have_forms_of_their_own() -> None:
    found = forms()
    for number in range(40):
        teach(found, clauses(1, 2), lesson(0.1, 1), number)
    vote = found.read(clauses(1, 2), replace(lesson(0.1, 1), kind=Kind.RATING))
    label = found.read(clauses(1, 2), lesson(0.1, 1))
    assert vote is not None
    assert label is not None
    assert vote.facets == {}
    assert set(label.facets.values()) == {1 + NUMBERED[Kind.LABEL]}


def test_a_form_of_two_in_a_hundred_trusted_texts_is_in_everyday_use() -> None:
    found, ways = forms(), clauses(1, 2)
    for number in range(200):
        teach(found, ways, lesson(0.1, 1), number)
    assert found.suspected() == [1]
    for n, usual in ((1, False), (2, True)):
        keys = np.concatenate([ways.keys] * n)
        ends = np.minimum(np.arange(1, 101), n) * len(ways.keys)
        blank = np.zeros((100, 8))
        probes = Probes(np.zeros(0, np.uint64), np.zeros(100, np.int64), keys, ends, blank.astype(np.int64), blank)
        assert n / 100 >= COMMON if usual else n / 100 < COMMON
        assert set(found.believed(1, probes).values()) == {usual}


def test_of_many_clauses_few_are_read() -> None:
    text = ", ".join(f"word{n} is here" for n in range(200))
    assert len(clauses_of(text)) > MAX_CLAUSES
    (seen,) = observe([Contribution("c", 0, "who", Kind.LABEL, text, "x")])
    assert len(Background.fit([seen], seed=0).clauses(seen).keys) == MAX_CLAUSES


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("stay in", set()),
        ("stay in.", set()),
        ("3.5", {"/ 3 5", "/ _ 5", "/ 3 _"}),
        ("(when) it rains; stay", {"/ when it", "/ it stay", "/ _ it", "/ _ stay", "/ when _"}),
        ("卡不见了\u3002怎么办", {"/ 卡 怎", "/ _ 怎", "/ 卡 _"}),
    ],
)
def test_how_clauses_begin(text: str, found: set[str]) -> None:
    assert clauses_of(text) == found


def test_the_weights_of_the_learner_are_bounded() -> None:
    """Two numbers for each place, however many ways there are."""
    found = forms()
    assert isinstance(found._pair, Pair)
    for number in range(50):
        teach(found, clauses(*range(1_000 + 16 * number, 1_016 + 16 * number)), lesson(0.3, 1), number)
    assert found._pair._weights.shape == (1 << 18, 2)


def test_when_the_pattern_stops_its_test_begins_anew(
    trusted: list[Observation], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parting, "QUIET", 100)
    evidence = follower(trusted)
    follow(evidence, mixed(honest(500, seed=24, prefix="h"), planted(60, seed=33)))
    (which,) = evidence._forms.suspected()
    assert evidence.teaching.parting.suspected == [which]
    _, named = follow(evidence, honest(600, seed=25, prefix="later"))
    assert (evidence._forms.suspected(), evidence.teaching.parting.suspected) == ([], [])
    assert not [kind for kind, _ in evidence.following.parted if kind == FORM]
    assert len(named) <= 12
