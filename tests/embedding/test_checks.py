"""Every embedder keeps the contract, and the suite notices when one does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from feedback_guard.embedding.checks import CHECKS, CheckFailedError
from feedback_guard.embedding.hashing import UnsafeHashingEmbedder
from feedback_guard.embedding.interface import Embedder, Vectors
from feedback_guard.embedding.sentence_transformer import SentenceTransformerEmbedder
from feedback_guard.policy.embedding import Backend, Precision
from tests import model

Check = Callable[[Embedder], None]
each_check = pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())


@each_check
@pytest.mark.parametrize("dimension", [64, 256])
def test_hashing_embedder_conforms(check: Check, dimension: int) -> None:
    check(UnsafeHashingEmbedder(dimension))


@each_check
@pytest.mark.model
def test_real_model_conforms(check: Check, real_embedder: SentenceTransformerEmbedder) -> None:
    check(real_embedder)


@each_check
@pytest.mark.model
@pytest.mark.parametrize("backend", [Backend.ONNX, Backend.OPENVINO])
def test_other_backends_conform(check: Check, backend: Backend) -> None:
    check(model.load(backend))


@each_check
@pytest.mark.model
@pytest.mark.parametrize("backend", [Backend.TORCH, Backend.OPENVINO])
def test_bfloat16_conforms(check: Check, backend: Backend) -> None:
    check(model.load(backend, Precision.BFLOAT16))


class _Longer(UnsafeHashingEmbedder):
    def encode(self, texts: Sequence[str]) -> Vectors:
        return super().encode(texts) * np.float32(1.5)


class _Truncates(UnsafeHashingEmbedder):
    """What most encoders do with a long text."""

    def split(self, text: str) -> list[str]:
        return super().split(text)[:1]

    def encode(self, texts: Sequence[str]) -> Vectors:
        return super().encode([text[:1_000] for text in texts])


class _Sorts(UnsafeHashingEmbedder):
    """Sorts by length and forgets to put the vectors back."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        return super().encode(sorted(texts, key=len))


class _SeesUnknown(UnsafeHashingEmbedder):
    """Takes a word with an unknown character for an unknown word, as WordPiece does."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        words = [text.split() for text in texts]
        return super().encode(
            [" ".join("[UNK]" if not word.isascii() or len(word) > 100 else word for word in text) for text in words]
        )


class _Shares(UnsafeHashingEmbedder):
    """Keeps its output for the next caller."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[tuple[str, ...], Vectors] = {}

    def encode(self, texts: Sequence[str]) -> Vectors:
        return self._kept.setdefault(tuple(texts), super().encode(texts))


class _Drifts(UnsafeHashingEmbedder):
    """Depends on what it saw before."""

    def __init__(self) -> None:
        super().__init__()
        self._calls = 0

    def encode(self, texts: Sequence[str]) -> Vectors:
        self._calls += 1
        return np.roll(super().encode(texts), self._calls, axis=1)


class _Unbounded(UnsafeHashingEmbedder):
    def split(self, text: str) -> list[str]:
        return [text[at : at + 20] for at in range(0, len(text), 20)] or [""]


class _Noise(UnsafeHashingEmbedder):
    """Deterministic, of length 1, and without any sense."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        rows = [np.random.default_rng(abs(len(text) * 7_919 + sum(map(ord, text)))).normal(size=128) for text in texts]
        return np.asarray([row / np.linalg.norm(row) for row in rows], dtype=np.float32).reshape(-1, 128)


@pytest.mark.parametrize(
    ("broken", "noticed_by"),
    [
        (_Longer, "unit_vectors"),
        (_Truncates, "windows_cover"),
        (_Truncates, "refuses_what_does_not_fit"),
        (_Truncates, "no_window_is_blind"),
        (_Sorts, "order"),
        (_SeesUnknown, "no_word_is_blind"),
        (_Shares, "output_is_not_shared"),
        (_Drifts, "deterministic"),
        (_Drifts, "batch_mates"),
        (_Unbounded, "number_of_windows_is_bounded"),
        (_Unbounded, "short_texts_stay_whole"),
        (_Noise, "likeness"),
    ],
)
def test_the_suite_notices(broken: Callable[[], Embedder], noticed_by: str) -> None:
    with pytest.raises(CheckFailedError):
        CHECKS[noticed_by](broken())
