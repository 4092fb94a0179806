"""The real embedding model for tests that need it; loaded once, in about eight seconds."""

from __future__ import annotations

import functools
import importlib.util

import pytest

from feedback_guard.embedding import sentence_transformer
from feedback_guard.embedding.factory import make_embedder
from feedback_guard.embedding.loading import computes_bfloat16
from feedback_guard.embedding.sentence_transformer import SentenceTransformerEmbedder
from feedback_guard.policy.embedding import Backend, EmbeddingPolicy, Precision

_PACKAGES = {Backend.ONNX: ("onnx", "onnxruntime"), Backend.OPENVINO: ("onnx", "openvino")}


@functools.cache
def load(backend: Backend = Backend.TORCH, precision: Precision = Precision.FULL) -> SentenceTransformerEmbedder:
    """The default model with a backend; the test is skipped where packages are missing, or the processor cannot."""
    for package in _PACKAGES.get(backend, ()):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"backend {backend} needs {package}: pip install 'feedback-guard[{backend}]'")
    imitated = precision is Precision.BFLOAT16 and not computes_bfloat16()
    if imitated and backend is not Backend.TORCH:
        pytest.skip("this processor does not compute in bfloat16, and only torch imitates it")
    with pytest.MonkeyPatch.context() as patch:
        if imitated:  # slowly, which is why a guard refuses it, but so that the tests run on every machine
            patch.setattr(sentence_transformer, "computes_bfloat16", lambda: True)
        embedder = make_embedder(EmbeddingPolicy(backend=backend, precision=precision))
        assert isinstance(embedder, SentenceTransformerEmbedder)
        embedder.load()
    return embedder


@pytest.fixture(scope="session")
def real_embedder() -> SentenceTransformerEmbedder:
    """all-MiniLM-L6-v2 with torch."""
    return load()
