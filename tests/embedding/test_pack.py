"""Vectors as bytes, and what is made of bytes that were damaged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from feedback_guard.embedding.hashing import UnsafeHashingEmbedder
from feedback_guard.embedding.pack import pack, unpack
from feedback_guard.embedding.vectors import round_half
from feedback_guard.errors import EmbeddingError


def vectors(*texts: str) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return round_half(UnsafeHashingEmbedder(64).encode(texts))


def test_what_is_stored_equals_what_was_scored() -> None:
    before = {"output": vectors("a", "b", "c"), "input": vectors("d")}
    after = unpack(pack(before))
    assert list(after) == ["input", "output"]
    for name, array in before.items():
        assert after[name].dtype == np.float32
        assert np.array_equal(after[name], array)


def test_the_same_vectors_give_the_same_bytes() -> None:
    one, two = vectors("a"), vectors("b")
    assert pack({"input": one, "output": two}) == pack({"output": two, "input": one.copy(order="F")})


def test_half_precision_takes_half_the_room() -> None:
    assert len(pack({"input": vectors("a")})) < 64 * 2 + 128


def test_nothing_is_nothing() -> None:
    assert pack({}) == b""
    assert unpack(b"") == {}


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(4, dtype=np.float16),
        np.zeros((1, 4), dtype=np.float32),
        np.full((1, 4), np.nan, dtype=np.float16),
        np.full((1, 4), np.inf, dtype=np.float16),
    ],
    ids=["one-dimensional", "float32", "nan", "infinite"],
)
def test_other_arrays_are_refused(array: np.ndarray[tuple[int, ...], np.dtype[np.floating]]) -> None:
    with pytest.raises(EmbeddingError, match="row in the store is damaged"):
        unpack(save({"input": array}))


@given(st.binary(min_size=1, max_size=200))
def test_arbitrary_bytes_are_refused_with_our_error(data: bytes) -> None:
    with pytest.raises(EmbeddingError):
        unpack(data)


@given(st.integers(0, 200), st.integers(1, 255))
def test_a_flipped_byte_is_refused_or_still_vectors(at: int, mask: int) -> None:
    data = bytearray(pack({"input": vectors("a")}))
    data[at % len(data)] ^= mask
    try:
        after = unpack(bytes(data))
    except EmbeddingError:
        return
    assert all(array.ndim == 2 and np.isfinite(array).all() for array in after.values())
