"""What counts among the many that are looked at: tests whose contents could convince somebody, and no others."""

from __future__ import annotations

import math

import numpy as np
import pytest

from feedback_guard.contribution import Kind
from feedback_guard.evidence.book import Book
from feedback_guard.evidence.counting import LEAST_MEMBERS
from feedback_guard.evidence.facets import Facets
from feedback_guard.evidence.tally import LOOKED_AT, Facet, Tally
from feedback_guard.signals.lesson import Lesson, two_way_log_ratio

RATE = 0.1
WORD = 0x9E3779B97F4A7C15


def lesson(q: float, which: int) -> Lesson:
    shares = np.array([1.0 - q, q])
    return Lesson(f"label '{which}'", which, two_way_log_ratio(float(shares[which])), shares, comparable=True)


def phrase(key: int = WORD) -> Facets:
    keys = np.array([key], dtype=np.uint64)
    return Facets((), keys, ("word",), ("word",), n_trusted=np.zeros(1, np.int64))


class Counting:
    """A tally, and what it says of one word."""

    def __init__(self) -> None:
        self.told: list[tuple[Facet, int, float]] = []
        self.tally = Tally(Book(1_000), RATE, {}, {("word", WORD)}, lambda *told: self.told.append(told))
        self.number = 0

    def add(self, n: int, q: float, which: int, key: int = WORD) -> None:
        for _ in range(n):
            self.number += 1
            self.tally.count(self.number, phrase(key), lesson(q, which), 1, Kind.LABEL)

    @property
    def looked_at(self) -> int:
        return self.tally._found["word"].n - LOOKED_AT


@pytest.mark.parametrize("which", [0, 1])
def test_a_test_whose_contents_could_convince_nobody_is_not_counted_whatever_is_taught(which: int) -> None:
    """Contents that speak for class 1: nobody could be convinced that class 1 is taught against them."""
    counting = Counting()
    counting.add(LEAST_MEMBERS - 1, 0.98, which)
    assert counting.looked_at == 0
    counting.add(20, 0.98, which)
    assert counting.looked_at == 1, "the test of class 0 alone"


def test_a_test_counts_from_when_its_contents_could_convince_and_once_only() -> None:
    counting, counts = Counting(), []
    for _ in range(30):
        counting.add(1, 0.5, 1)
        counts.append(counting.looked_at)
    first = math.ceil(math.log(LOOKED_AT / RATE) / math.log(2.0))
    assert counts == [0] * (first - 1) + [2] * (30 - first + 1)


def test_nothing_is_said_of_a_test_before_its_contents_could_convince() -> None:
    counting = Counting()
    counting.add(LEAST_MEMBERS, 0.3, 1)
    assert (counting.looked_at, counting.told) == (0, [])
    counting.add(3, 0.3, 1)
    assert (counting.looked_at, {test for _, test, _ in counting.told}) == (1, {1})


def test_a_facet_that_begins_anew_counts_anew() -> None:
    counting = Counting()
    counting.tally = Tally(Book(1_000), RATE, {}, set(), lambda *told: None)
    for _ in range(12):
        counting.add(10, 0.9, 1)
        counting.add(10, 0.1, 0)
    assert counting.looked_at >= 4


def test_the_line_is_never_below_what_is_asked_of_contents() -> None:
    """A few of the first facets look bad by chance: at the beginning none is believed for that."""
    counting = Counting()
    counting.add(LEAST_MEMBERS, 0.2, 1)
    assert list(counting.tally.news()) == []
    assert counting.looked_at >= 1
    assert max(e for _, _, e in counting.told) > math.log(1 / RATE)
    counting.add(10, 0.2, 1)
    assert (("word", WORD), 1) in list(counting.tally.news())


def test_preferences_have_no_such_line() -> None:
    """Nobody chooses among classes there: the contradiction test alone asks about rare phrases."""
    counting = Counting()
    for number in range(6):
        told = Lesson("the first", 1, 3.0, None, comparable=True, kind=Kind.PREFERENCE)
        counting.tally.count(number + 1, phrase(), told, 1, Kind.PREFERENCE)
    assert counting.tally._found["word"].n == 1
