"""Places are bounded, and a flood of facets pushes out nothing that matters."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from feedback_guard.evidence.book import KEEP_ABOVE, LOOKS_EVERY, Book, Floats
from feedback_guard.evidence.index import Slots
from feedback_guard.evidence.martingales import contradiction_step


def place(book: Book, *keys: int) -> list[int]:
    placed = book.place(np.array(sorted(keys), dtype=np.uint64), np.zeros(len(keys), dtype=np.int64), n_two=len(keys))
    return [int(slot) for slot in placed]


def slots_of(book: Book) -> dict[int, int]:
    """Where each facet is."""
    keys, slots = book._index.items()
    return dict(zip(keys.tolist(), slots.tolist(), strict=True))


def add(book: Book, slots: list[int], member: int, step: Floats) -> None:
    at = np.array(slots)
    before = book.n[at].astype(np.int64)
    book.columns.first[at[before == 0]] = member
    book.n[at] += 1
    book.columns.contradiction[at] += step.astype(np.float32)
    book.join(at, before, member)


def test_a_facet_keeps_its_place_and_its_members() -> None:
    book = Book(16)
    first = place(book, 7)
    add(book, first, 1, contradiction_step(1.0))
    assert place(book, 7, 8)[0] == first[0]
    assert (book.n[first[0]], book.members(first[0]), len(book)) == (1, [1], 2)


def test_members_that_nobody_asks_for_any_more_are_forgotten() -> None:
    window, n, often = 1_000, 20_000, 3
    book = Book(16, window)
    frequent, seldom, rare = place(book, 1, 2, 3)
    for member in range(n):
        for slot, every in ((frequent, often), (seldom, 100), (rare, 5_000)):
            if member % every == 0:
                add(book, [slot], member, contradiction_step(0.0))
    for slot, every in ((frequent, often), (seldom, 100), (rare, 5_000)):
        members = book.members(slot)
        assert [each for each in members if each > n - window] == list(range(n))[-window + 1 :][
            (-(n - window + 1)) % every :: every
        ]
        assert members == sorted(members)
        assert len(members) <= window // every + LOOKS_EVERY + 1
    assert len(book.members(frequent)) < book.n[frequent] / 5


def test_a_flood_of_facets_pushes_out_only_its_like() -> None:
    """One facet with evidence, one with many members: 10,000 facets of one member each cannot reach either."""
    book = Book(400)
    (suspect,), (popular,) = place(book, 1), place(book, 2)
    for member in range(12):
        add(book, [suspect], member, contradiction_step(2.0))
        add(book, [popular], member, contradiction_step(-2.0))
    before = book.contradiction_evidence(np.array([suspect, popular])).tolist()
    for flood in range(10_000):
        add(book, place(book, 100 + flood), flood, contradiction_step(0.0))
    assert len(book) <= 400
    assert (book.slot(1), book.slot(2)) == (suspect, popular)
    assert book.contradiction_evidence(np.array([suspect, popular])).tolist() == before


@pytest.mark.parametrize("seed", range(4))
def test_nothing_with_many_members_is_pushed_out(seed: int) -> None:
    """The stated error, whenever room is made: uneven facets, some with evidence, floods in between."""
    rng = np.random.default_rng(seed)
    book, made = Book(256), 0
    counted: Counter[int] = Counter()

    def make_room(keep: Slots) -> None:
        nonlocal made
        before = {key: int(book.n[slot]) for key, slot in slots_of(book).items()}
        real(keep)
        kept = {int(book.keys[slot]) for slot in keep.tolist() if int(book.keys[slot]) in before}
        passed = [n for key, n in before.items() if key not in kept]
        gone = [n for key, n in before.items() if key not in slots_of(book)]
        assert gone
        assert max(gone) <= 4 * sum(passed) / len(passed)
        made += 1

    real, book._make_room = book._make_room, make_room  # type: ignore[method-assign]
    for member in range(3_000):
        popular = rng.zipf(1.3, size=int(rng.integers(1, 12))) % 2_000
        flood = 10_000 + member * 40 + np.arange(int(rng.integers(0, 30)))
        keys = sorted({*popular.tolist(), *(flood.tolist() if member % 7 == 0 else [])})
        slots = place(book, *keys)
        add(book, slots, member, contradiction_step(float(rng.normal(1.0 if member % 3 else -1.0, 2.0))))
        counted.update(keys)
    assert made > 50
    for key, slot in slots_of(book).items():
        assert book.n[slot] <= counted[key], "never more than there were"
    often = [key for key, n in counted.most_common(12)]
    assert all(book.slot(key) is not None for key in often)


def test_many_facets_with_evidence_do_not_push_out_the_popular_one() -> None:
    """Three quarters of the places are filled with what contradicts itself: the rest is not all that may go."""
    book = Book(64)
    for key in range(48):
        slots = place(book, key)
        for member in range(3):
            add(book, slots, member, contradiction_step(6.0))
    assert (book.contradiction_evidence(np.arange(48)) > KEEP_ABOVE).all()
    (popular,) = place(book, 100)
    for member in range(1_000):
        add(book, [popular], member, contradiction_step(-1.0))
    for key in range(200, 216):
        add(book, place(book, key), key, contradiction_step(0.0))
    assert book.slot(200) is None, "room was made"
    assert book.slot(100) == popular


def test_what_was_pushed_out_begins_anew() -> None:
    book = Book(4)
    (gone,) = place(book, 1)
    add(book, [gone], 1, contradiction_step(0.5))
    for key in range(2, 40):
        slots = place(book, key)
        add(book, slots, key, contradiction_step(0.0))
        add(book, slots, key, contradiction_step(0.0))
    assert book.slot(1) is None
    (again,) = place(book, 1)
    assert book.n[again] == 0
    assert book.contradiction_evidence(np.array([again]))[0] == 0.0
    assert book.members(again) == []


def test_facets_that_come_together_never_share_a_place() -> None:
    """Even where each of them would be the first to make room for the next."""
    book = Book(32)
    for first in range(0, 4_000, 7):
        slots = place(book, *range(first, first + 8))  # the first of them is known from before
        assert len(set(slots)) == 8
        assert [book.slot(key) for key in range(first, first + 8)] == slots
        add(book, slots, first, contradiction_step(0.0))
    assert len(book) <= 32


def test_members_are_remembered_from_the_first() -> None:
    book = Book(8)
    slots = place(book, 3)
    assert book.members(slots[0]) == []
    for member in (5, 9, 12):
        add(book, slots, member, contradiction_step(0.0))
    assert book.members(slots[0]) == [5, 9, 12]


@pytest.mark.parametrize("two", [True, False], ids=["two classes", "more"])
def test_a_facet_that_begins_anew_has_nothing_of_its_past(two: bool) -> None:
    book = Book(8)
    keys, known = np.array([3, 4], dtype=np.uint64), np.array([7, 7])
    old, fresh = book.place(keys, known, n_two=2 * two).tolist()
    add(book, [old], 1, contradiction_step(1.0))
    add(book, [old], 2, contradiction_step(1.0))
    for column in (book.columns.shift, book.columns.targets, book.columns.hot):
        column[old] = 1
    book.renew(old, two=two)
    for name in ("n", "n_trusted", "targets", "hot", "contradiction", "shift"):
        column = getattr(book.columns, name)
        np.testing.assert_array_equal(column[old], column[fresh], err_msg=name)
    assert book.members(old) == []
