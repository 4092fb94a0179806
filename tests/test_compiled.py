"""Compiled functions do what they do uncompiled, for the types that they were made for, wherever their source lies."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from feedback_guard.evidence import counting
from feedback_guard.evidence.book import TARGETS, Book
from feedback_guard.evidence.counting import N_SHIFT, SHARES
from feedback_guard.evidence.martingales import Honest, contradiction_step, shift_evidence, shift_steps

HONEST = Honest.of(3, 3_000)
LINE = 4.0

NOWHERE = """
import numpy as np
from feedback_guard.compiled import compiled

@compiled("float64(float64[:])")
def total(numbers):
    all_ = 0.0
    for number in numbers:
        all_ += number
    return all_

print(total(np.array([0.5, 1.5])))
"""


def test_what_cannot_be_kept_is_compiled_anew() -> None:
    """Source that comes from nowhere has no place for compiled code beside it."""
    done = subprocess.run([sys.executable, "-c", NOWHERE], capture_output=True, text=True, check=False, timeout=120)
    assert (done.stdout, done.stderr, done.returncode) == ("2.0\n", "", 0)


def test_other_types_are_refused() -> None:
    with pytest.raises(TypeError, match="No matching definition"):
        counting.contradiction_evidence(np.zeros((2, len(SHARES)), dtype=np.complex128))


class Stream:
    """Members of facets of three classes: what each has in common and teaches is drawn."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.book = Book(1_000)

    def add(self, number: int, count: Any) -> tuple[Any, ...]:
        """Count a member, and say what came of it."""
        rng = self.rng
        keys = np.sort(rng.choice(40, 12, replace=False)).astype(np.uint64)
        slots = self.book.place(keys, keys.astype(np.int64) % 7, n_two=0)
        shares, which = rng.dirichlet(np.full(3, 0.6)), int(rng.integers(3))
        before, looks, past = np.empty((3, 12), dtype=np.int64)
        told, evidence = np.empty((12 * (1 + TARGETS), 2), dtype=np.int64), np.empty(12 * (1 + TARGETS))
        n_told, n_looks, n_past = count(
            *self.book.columns, slots, number, 9, 1 + number % 2, np.array([True, False, True] * 4), np.full(12, 0.3),
            contradiction_step(float(rng.normal(0.0, 2.0))), shares, 0.02, which, HONEST.other, HONEST.sure,
            HONEST.priors(), LINE, 1.0, before, looks, told, evidence, past,
        )  # fmt: skip
        return (
            before.tolist(), looks.tolist() if n_looks else [], told[:n_told].tolist(), past[:n_past].tolist(),
            [float(f"{each:.9g}") for each in evidence[:n_told]],
        )  # fmt: skip


def test_counting_is_the_same_uncompiled() -> None:
    compiled, plain = Stream(5), Stream(5)
    told = 0
    for number in range(300):
        one = compiled.add(number, counting.count)
        two = plain.add(number, counting.count.py_func)  # type: ignore[attr-defined]
        assert one == two
        told += len(one[2])
    assert told > 100
    for name, column in compiled.book.columns._asdict().items():
        np.testing.assert_allclose(column, getattr(plain.book.columns, name), rtol=1e-5, atol=1e-5)


def test_a_facets_shift_test_is_the_sum_of_its_members_steps() -> None:
    """By the functions of a single test, member by member, from the one on that follows the first to teach a class."""
    rng, book = np.random.default_rng(3), Book(16)
    (slot,) = book.place(np.array([1], dtype=np.uint64), np.array([2]), n_two=0).tolist()
    sums: dict[int, np.ndarray[Any, Any]] = {}
    for number in range(40):
        shares, which = rng.dirichlet(np.ones(3)), int(rng.integers(3))
        for known, so_far in sums.items():
            so_far += shift_steps(shares[[known]], np.array([known == which]), HONEST)[0]
        sums.setdefault(which, np.zeros(N_SHIFT))
        before, looks, past = np.empty((3, 1), dtype=np.int64)
        told, evidence = np.empty((1 + TARGETS, 2), dtype=np.int64), np.empty(1 + TARGETS)
        n_told, _, _ = counting.count(
            *book.columns, np.array([slot]), number, 1, 1, np.zeros(1, dtype=np.bool_), np.zeros(1),
            contradiction_step(0.0), shares, 0.02, which, HONEST.other, HONEST.sure, HONEST.priors(), LINE, -1e9,
            before, looks, told, evidence, past,
        )  # fmt: skip
        for test, said in zip(told[:n_told, 1].tolist(), evidence[:n_told].tolist(), strict=True):
            so_far = sums[int(book.targets[slot, test])]
            assert said == pytest.approx(shift_evidence(so_far[None], np.array([2]), HONEST)[0], abs=1e-3)
    assert n_told == 3
    assert book.n[slot] == 40
