"""Embedders that fail, hang or lie on command; they hash instead of embedding, so they are instant."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np

from feedback_guard.embedding.hashing import UnsafeHashingEmbedder
from feedback_guard.embedding.interface import Vectors
from tests.patience import PATIENCE_SECONDS


class Recorder(UnsafeHashingEmbedder):
    """Notes what it is asked, and by which thread."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[str]] = []
        self.threads: set[int] = set()

    def load(self) -> None:
        self.threads.add(threading.get_ident())

    def split(self, text: str) -> list[str]:
        self.threads.add(threading.get_ident())
        return super().split(text)

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.threads.add(threading.get_ident())
        self.batches.append(list(texts))
        return super().encode(texts)


class Gated(Recorder):
    """Stops in the model at every batch while the gate is shut."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.gate = threading.Event()

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.entered.set()
        if not self.gate.wait(PATIENCE_SECONDS):
            raise TimeoutError("the test never opened the gate")
        return super().encode(texts)


class Poisoned(Recorder):
    """Misbehaves whenever one of its texts holds the word."""

    def __init__(self, harm: Callable[[Vectors], Vectors], word: str = "poison") -> None:
        super().__init__()
        self._harm = harm
        self._word = word

    def encode(self, texts: Sequence[str]) -> Vectors:
        vectors = super().encode(texts)
        return self._harm(vectors) if any(self._word in text for text in texts) else vectors


def raises(vectors: Vectors) -> Vectors:
    raise RuntimeError("secret text in a message")


def returns_nan(vectors: Vectors) -> Vectors:
    vectors[0, 3] = np.nan
    return vectors


def returns_too_few(vectors: Vectors) -> Vectors:
    return vectors[:-1]


def returns_wrong_dimension(vectors: Vectors) -> Vectors:
    return vectors[:, :-1]


def returns_long_vectors(vectors: Vectors) -> Vectors:
    return vectors * np.float32(2.0)


def returns_zeros(vectors: Vectors) -> Vectors:
    return np.zeros_like(vectors)


def returns_a_list(vectors: Vectors) -> Vectors:
    return vectors.tolist()  # type: ignore[no-any-return]


HARMS = (
    raises,
    returns_nan,
    returns_too_few,
    returns_wrong_dimension,
    returns_long_vectors,
    returns_zeros,
    returns_a_list,
)
