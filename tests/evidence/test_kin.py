"""Near copies are one family; strangers, short texts and texts of common phrases are none. Against a plain count."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from feedback_guard.evidence import kin
from feedback_guard.evidence.kin import ALIKE, LEAST_PHRASES, MAX_MEMBERS, Kin

Keys = NDArray[np.uint64]


def text(rng: np.random.Generator, n: int = 40) -> Keys:
    return np.unique(rng.integers(0, 2**64, size=n, dtype=np.uint64))


def edited(rng: np.random.Generator, keys: Keys, share: float) -> Keys:
    """A copy in which so large a share of the phrases is another."""
    kept = rng.permutation(keys)[round(share * len(keys)) :]
    return np.unique(np.concatenate([kept, text(rng, round(share * len(keys)))]))


def jaccard(one: Keys, other: Keys) -> float:
    common = len(set(one.tolist()) & set(other.tolist()))
    return common / (len(one) + len(other) - common)


def test_copies_are_counted_and_strangers_are_not() -> None:
    rng = np.random.default_rng(1)
    known, leaders = Kin(7), [text(rng) for _ in range(50)]
    for number, leader in enumerate(leaders):
        assert known.of(leader, number) == [number]
    missed = 0
    for number, leader in enumerate(leaders):
        copy = edited(rng, leader, 0.12)
        assert jaccard(copy, leader) > 0.7
        members = known.of(copy, 1_000 + number)
        assert members in ([number, 1_000 + number], [1_000 + number])
        missed += len(members) == 1
    assert missed <= 5, "two in a hundred are missed on average"


@pytest.mark.parametrize("share", [0.5, 0.7])
def test_what_is_less_alike_is_no_copy(share: float) -> None:
    rng = np.random.default_rng(2)
    known = Kin(7)
    for number in range(0, 200, 2):
        leader = text(rng)
        other = edited(rng, leader, share)
        assert jaccard(leader, other) < ALIKE
        known.of(leader, number)
        assert known.of(other, number + 1) == [number + 1]


def test_texts_that_meet_in_a_band_by_chance_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """All bands of all texts meet; what they say decides all the same."""
    monkeypatch.setattr(kin, "hash", lambda _: 0, raising=False)
    rng = np.random.default_rng(3)
    known, one, other = Kin(7), text(rng), text(rng)
    assert known.of(one, 1) == [1]
    assert known.of(other, 2) == [2]
    assert known.of(other, 3) == [2, 3]


def test_a_text_of_few_phrases_is_nobodys_copy() -> None:
    known = Kin(7)
    few = text(np.random.default_rng(4), LEAST_PHRASES - 1)
    assert [known.of(few, number) for number in range(3)] == [[0], [1], [2]]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kin, "CAPACITY", 20)
    rng = np.random.default_rng(5)
    known, first = Kin(7), text(rng)
    known.of(first, 0)
    for number in range(1, 200):
        known.of(text(rng), number)
    assert len(known._families) == 20
    assert len(known._family_of) <= 20 * kin.BANDS
    assert known.of(first, 1_000) == [1_000], "it was forgotten"
    for number in range(2 * MAX_MEMBERS):
        members = known.of(first, 2_000 + number)
    assert len(members) == MAX_MEMBERS
    assert members[-1] == 2_000 + 2 * MAX_MEMBERS - 1
