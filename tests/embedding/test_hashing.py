"""The embedder for tests says what it is, and is the same everywhere."""

from __future__ import annotations

import hashlib
import logging

import numpy as np
import pytest

from feedback_guard.embedding.hashing import UnsafeHashingEmbedder
from feedback_guard.errors import EmbeddingError


def test_it_warns(caplog: pytest.LogCaptureFixture) -> None:
    UnsafeHashingEmbedder()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "protects nothing" in record.message


@pytest.mark.parametrize("dimension", [0, 63, 257])
def test_other_dimensions_are_refused(dimension: int) -> None:
    with pytest.raises(EmbeddingError, match="64 to 256"):
        UnsafeHashingEmbedder(dimension)


def test_it_is_the_same_in_every_process() -> None:
    """A golden value: Python's own hash differs from process to process, and must not be used."""
    vector = UnsafeHashingEmbedder(64).encode(["where is my card"])
    digest = hashlib.sha256(np.round(vector * 1_000).astype(np.int32).tobytes()).hexdigest()
    assert digest[:16] == "e6238dacdea484ad"


def test_dimension_is_in_the_fingerprint() -> None:
    assert UnsafeHashingEmbedder(64).fingerprint != UnsafeHashingEmbedder(128).fingerprint


def test_near_duplicates_are_near_and_strangers_are_not() -> None:
    texts = ["please refund my transfer now", "please refund my transfer now!!", "which cards do you accept"]
    one, two, three = UnsafeHashingEmbedder().encode(texts)
    assert one @ two > 0.7
    assert one @ three < 0.4
