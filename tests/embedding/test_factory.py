"""From a policy to an embedder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from feedback_guard.embedding.digest import BUILTIN_DIGEST, builtin_model, model_digest
from feedback_guard.embedding.factory import make_embedder
from feedback_guard.embedding.hashing import UnsafeHashingEmbedder
from feedback_guard.embedding.sentence_transformer import SentenceTransformerEmbedder
from feedback_guard.errors import EmbeddingError, ModelDigestError
from feedback_guard.policy.embedding import Backend, EmbeddingPolicy, Precision


@pytest.mark.parametrize(
    ("backend", "precision", "said"),
    [
        (Backend.TORCH, Precision.FULL, ""),
        (Backend.TORCH, Precision.BFLOAT16, ":bfloat16"),
        (Backend.ONNX, Precision.FULL, ""),
        # Once it meant whatever the processor computed in; a baseline of that time must fit neither.
        (Backend.OPENVINO, Precision.FULL, ":full"),
        (Backend.OPENVINO, Precision.BFLOAT16, ":bfloat16"),
    ],
)
def test_the_default_model_is_pinned_and_not_loaded(backend: Backend, precision: Precision, said: str) -> None:
    embedder = make_embedder(EmbeddingPolicy(backend=backend, precision=precision))
    assert isinstance(embedder, SentenceTransformerEmbedder)
    assert embedder.dimension == 384
    assert embedder.fingerprint == f"sentence-transformers:{backend}:{BUILTIN_DIGEST}:384:1{said}"
    assert embedder._loaded is None


def test_the_tests_embedder_has_to_be_named() -> None:
    assert isinstance(make_embedder(EmbeddingPolicy(backend=Backend.UNSAFE_HASHING)), UnsafeHashingEmbedder)


def test_a_wrong_digest_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(ModelDigestError, match="is pinned"):
        make_embedder(EmbeddingPolicy(digest="0" * 64))


def test_a_model_of_ones_own(tmp_path: Path) -> None:
    source, copy = builtin_model(), tmp_path / "model"
    (copy / "1_Pooling").mkdir(parents=True)
    for name in ("modules.json", "config.json", "1_Pooling/config.json"):
        (copy / name).write_bytes((source / name).read_bytes())
    (copy / "model.safetensors").write_bytes(b"not weights at all")
    digest = model_digest(copy)
    embedder = make_embedder(EmbeddingPolicy(model=str(copy), digest=digest))
    assert digest in embedder.fingerprint
    with pytest.raises(ModelDigestError, match="is pinned"):
        make_embedder(EmbeddingPolicy(model=str(copy), digest=BUILTIN_DIGEST))
    with pytest.raises(ModelDigestError, match="not a directory"):
        make_embedder(EmbeddingPolicy(model=str(tmp_path / "nothing"), digest=digest))


def test_a_model_that_nobody_pinned() -> None:
    unpinned = EmbeddingPolicy().model_copy(update={"model": "somewhere"})
    with pytest.raises(EmbeddingError, match="not pinned"):
        make_embedder(unpinned)


def test_an_unknown_backend() -> None:
    with pytest.raises(EmbeddingError, match="torch, onnx, openvino"):
        SentenceTransformerEmbedder(builtin_model(), backend="tensorflow")


@pytest.mark.parametrize(("backend", "device"), [("onnx", "cpu"), ("torch", "cuda")])
def test_bfloat16_where_it_cannot_be(backend: str, device: str) -> None:
    with pytest.raises(EmbeddingError, match="bfloat16 is for the backends torch and openvino on the processor"):
        SentenceTransformerEmbedder(builtin_model(), backend=backend, device=device, precision="bfloat16")


def test_an_unknown_precision() -> None:
    with pytest.raises(EmbeddingError, match="there is no precision 'int4'; it is one of full, bfloat16"):
        SentenceTransformerEmbedder(builtin_model(), precision="int4")


@pytest.mark.parametrize("backend", [Backend.ONNX, Backend.UNSAFE_HASHING])
def test_a_policy_asks_for_bfloat16_of_what_computes_in_it(backend: Backend) -> None:
    with pytest.raises(ValueError, match=f"backend '{backend}' does not compute in bfloat16; use `torch`"):
        EmbeddingPolicy(backend=backend, precision=Precision.BFLOAT16)


def test_making_an_embedder_imports_no_heavy_library() -> None:
    """Seconds of import belong to `load`; this runs in a fresh interpreter, because others have imported them here."""
    import subprocess

    code = (
        "import sys; from feedback_guard.embedding.factory import make_embedder;"
        "from feedback_guard.policy.embedding import EmbeddingPolicy; make_embedder(EmbeddingPolicy());"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'sentence_transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
