"""What may pass for vectors."""

from __future__ import annotations

import numpy as np
import pytest

from feedback_guard.embedding.vectors import require_unit, round_half
from feedback_guard.errors import EmbeddingError

GOOD = np.eye(3, 4, dtype=np.float32)


def changed(value: float) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    array = GOOD.copy()
    array[1, 1] = value
    return array


def test_good_vectors_pass_unchanged() -> None:
    assert np.array_equal(require_unit(GOOD, n=3, dimension=4), GOOD)
    assert require_unit(GOOD.astype(np.float16), n=3, dimension=4).dtype == np.float32
    assert require_unit(np.empty((0, 4), dtype=np.float32), n=0, dimension=4).shape == (0, 4)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (GOOD[:2], "array of shape"),
        (GOOD[:, :3], "array of shape"),
        (GOOD[0], "array of shape"),
        (GOOD.tolist(), "returned list for 3 texts"),
        (None, "returned NoneType"),
        (GOOD.astype(np.int64), "int64"),
        (changed(np.nan), "not finite"),
        (changed(np.inf), "not finite"),
        (changed(0.0), "length 0"),
        (changed(1.1), "length 1.1"),
        (changed(1e30), "length 1e[+]30"),
        (GOOD.astype(np.float64) * 1e300, "not finite"),
    ],
)
def test_anything_else_is_refused(bad: object, message: str) -> None:
    with pytest.raises(EmbeddingError, match=message):
        require_unit(bad, n=3, dimension=4)


def test_rounding_is_small_done_once_and_a_copy() -> None:
    rng = np.random.default_rng(0)
    array = rng.normal(size=(50, 384)).astype(np.float32)
    array /= np.linalg.norm(array, axis=1, keepdims=True)
    rounded = round_half(array)
    assert rounded is not array
    assert 0.0 < float(np.abs(rounded - array).max()) < 2.5e-4
    assert np.array_equal(round_half(rounded), rounded)
    assert np.array_equal(rounded.astype(np.float16).astype(np.float32), rounded)
