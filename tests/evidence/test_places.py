"""The second look at phrases: words of topics that are misread whole keep the rate, and planted ones are found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from feedback_guard.contribution import Contribution, Kind
from feedback_guard.evidence import places
from feedback_guard.evidence.book import Book
from feedback_guard.evidence.facets import Facets
from feedback_guard.evidence.kinds.gather import Gathered, Kinds
from feedback_guard.evidence.kinds.region import Region
from feedback_guard.evidence.martingales import SHIFT_WIDTH, Honest
from feedback_guard.evidence.places import MOST, NOWHERE, WINDOW, Places
from feedback_guard.evidence.tally import Facet, Tally
from feedback_guard.signals.interface import Observation
from feedback_guard.signals.lesson import Lesson, two_way_log_ratio

EXPECTED = Honest(2, SHIFT_WIDTH)
WORD = 0x9E3779B97F4A7C15
LEVEL = 0.01
RUNS, MEMBERS = 1_500, 20
TOGETHER = 0.7
"""Share of the members in a place that are misread with it, or read rightly with it."""


def lesson(q: float, which: int) -> Lesson:
    shares = np.array([1.0 - q, q])
    return Lesson(f"label '{which}'", which, two_way_log_ratio(float(shares[which])), shares, comparable=True)


def highest(where: Sequence[int], chances: Sequence[float], taught: Sequence[bool]) -> float:
    """The most evidence for class 1 that a word ever has, by its members' places, chances and classes."""
    seen, most = Places(), 0.0
    for n, (place, q, so) in enumerate(zip(where, chances, taught, strict=True), start=1):
        seen.remember(n, place, lesson(q, int(so)), 1)
        most = max(most, seen.evidence(range(1, n + 1), 1, 0, EXPECTED))
    return most


def honest_word(rng: np.random.Generator, n_places: int) -> float:
    """A word of a few places. What a member teaches fits its content as stated, but in a place it goes one way."""
    where = rng.integers(1, n_places + 1, MEMBERS)
    common = rng.random(n_places + 1)
    luck = np.where(rng.random(MEMBERS) < TOGETHER, common[where], rng.random(MEMBERS))
    q = np.clip(rng.beta(1.0, 1.0, MEMBERS), 0.03, 0.97)
    return highest(where.tolist(), q.tolist(), (luck < q).tolist())


def too_often(rng: np.random.Generator, n_places: int) -> bool:
    """Whether honest words reach evidence of 1/LEVEL more often than promised, beyond what chance explains."""
    rate = np.mean([honest_word(rng, n_places) >= np.log(1.0 / LEVEL) for _ in range(RUNS)])
    return bool(rate > LEVEL + 3.0 * np.sqrt(LEVEL * (1.0 - LEVEL) / RUNS))


@pytest.mark.parametrize("n_places", [1, 2, 4])
def test_honest_words_of_topics_that_are_misread_rarely_have_evidence(n_places: int) -> None:
    assert not too_often(np.random.default_rng(n_places), n_places)


def test_if_places_were_not_looked_at_it_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "shares_of", lambda where: np.ones(len(where)))
    assert too_often(np.random.default_rng(1), 1)


def test_of_a_word_that_is_planted_everywhere_nothing_is_lost() -> None:
    rng = np.random.default_rng(5)
    q = rng.uniform(0.05, 0.4, 10).tolist()
    apart, known = highest(range(1, 11), q, [True] * 10), highest([NOWHERE] * 10, q, [True] * 10)
    assert apart == pytest.approx(known)
    assert apart > np.log(1_000.0)


def test_of_many_members_the_latest_are_counted_once_more() -> None:
    seen = Places()
    for n in range(1, 2 * MOST + 1):
        seen.remember(n, n % 7, lesson(0.3, int(n % 3 == 0)), 1)
    every, latest = range(1, 2 * MOST + 1), range(MOST + 1, 2 * MOST + 1)
    assert seen.evidence(every, 1, 0, EXPECTED) == seen.evidence(latest, 1, 0, EXPECTED)
    assert seen.evidence(every, 1, 0, EXPECTED) != seen.evidence(latest[1:], 1, 0, EXPECTED)


@pytest.mark.parametrize("n", [0, 1, 2, 40])
def test_the_nth_in_a_place_counts_for_an_nth(n: int) -> None:
    rng = np.random.default_rng(n)
    for _ in range(50):
        where = rng.integers(0, 6, n).astype(np.uint64)
        known, wanted = Counter[int](), []
        for place in where.tolist():
            known[place] += 1
            wanted.append(1.0 if place == NOWHERE else 1.0 / known[place])
        assert places.shares_of(where).tolist() == wanted


def test_what_is_older_than_the_window_says_nothing() -> None:
    seen = Places()
    for n in range(1, 11):
        seen.remember(n, n, lesson(0.1, 1), 1)
    before = seen.evidence(range(1, 11), 1, 0, EXPECTED)
    seen.remember(WINDOW + 10, 77, lesson(0.9, 0), 1)
    assert before > 5.0
    assert seen.evidence(range(1, 11), 1, 0, EXPECTED) == 0.0


def test_near_copies_count_once_in_the_second_look_too() -> None:
    many, few = Places(), Places()
    for n in range(1, 11):
        many.remember(n, n, lesson(0.1, 1), n)
        few.remember(n, n, lesson(0.1, 1), 1)
    assert many.evidence(range(1, 11), 1, 0, EXPECTED) < 0.5 * few.evidence(range(1, 11), 1, 0, EXPECTED)


def test_of_a_class_that_is_not_the_likeliest_either_the_least_chance_is_taken() -> None:
    """With many classes only two chances of each contribution are kept; what is missing never speaks for a campaign."""
    shares = np.array([0.6, 0.3, 0.1])
    seen = Places()
    for n in range(1, 11):
        seen.remember(n, n, Lesson("label '0'", 0, -0.4, shares, comparable=True), 1)
    assert seen.evidence(range(1, 11), 2, 0, EXPECTED) <= seen.evidence(range(1, 11), 1, 0, EXPECTED) < 0.0


def counted(where: Sequence[int]) -> float:
    """What a tally tells of a word, all of whose members teach class 1 against their content."""
    told: list[float] = []

    def take(_facet: Facet, test: int, log_e: float) -> None:
        if test == 1:
            told.append(log_e)

    tally = Tally(Book(1_000), 0.1, {}, {("word", WORD)}, take)
    keys, nobody = np.array([WORD], dtype=np.uint64), np.zeros(0, np.uint64)
    for n, place in enumerate(where, start=1):
        shared = Gathered(nobody, np.zeros(0, np.int64), place=place)
        facets = Facets((), keys, ("word",), ("word",), shared, np.zeros(1, np.int64))
        tally.count(n, facets, lesson(0.1, 1), 1, Kind.LABEL)
    return told[-1]


def test_a_tally_believes_a_word_by_where_its_members_lie() -> None:
    assert counted(range(1, 13)) == pytest.approx(counted([NOWHERE] * 12), rel=1e-5)
    assert counted([9] * 12) < 0.5 * counted([NOWHERE] * 12)


def test_the_place_is_the_narrowest_region_of_what_is_asked_about() -> None:
    rng = np.random.default_rng(3)

    def observation(n: int, asked: np.ndarray[tuple[int], np.dtype[np.float32]]) -> Observation:
        vote = Contribution(f"v{n}", 0, "ann", Kind.RATING, "a", output="b", rating=1.0)
        answer = rng.standard_normal(8).astype(np.float32)
        unit = {name: (row / np.linalg.norm(row))[None] for name, row in (("input", asked), ("output", answer))}
        return Observation(vote, {}, unit)

    trusted = [observation(n, rng.standard_normal(8).astype(np.float32)) for n in range(400)]
    region = Region.from_state(Region.fit(trusted, seed=0))
    asked = rng.standard_normal(8).astype(np.float32)
    found = region.of(observation(0, asked))
    place = region.place(found)
    assert place is not None
    assert place.value.endswith(" of 16 of input")
    assert region.place([]) is None
    of = Kinds({"region": region})
    numbered = {text: n for n, text in enumerate((f"shared region {each.value}" for each in found), start=1)}
    gathered = of.of(observation(1, asked), lambda text: numbered.get(text, 99))
    assert gathered.place == numbered[f"shared region {place.value}"]
