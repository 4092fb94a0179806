"""From a policy to an embedder."""

from __future__ import annotations

from pathlib import Path

from feedback_guard.embedding.digest import BUILTIN_DIGEST, builtin_model
from feedback_guard.embedding.hashing import UnsafeHashingEmbedder
from feedback_guard.embedding.interface import Embedder
from feedback_guard.embedding.sentence_transformer import SentenceTransformerEmbedder
from feedback_guard.errors import EmbeddingError
from feedback_guard.policy.embedding import Backend, EmbeddingPolicy

BUILTIN = "builtin"


def make_embedder(policy: EmbeddingPolicy) -> Embedder:
    """Make the embedder that a policy asks for. It checks the model's files and loads nothing yet.

    Raises
    ------
    ModelDigestError
        If the model directory is not the pinned one, or holds what is refused.
    EmbeddingError
        If there is no such model.
    """
    match policy.backend:
        case Backend.UNSAFE_HASHING:
            return UnsafeHashingEmbedder()
        case Backend.TORCH | Backend.ONNX | Backend.OPENVINO as backend:
            pass
    builtin = policy.model == BUILTIN
    digest = policy.digest or (BUILTIN_DIGEST if builtin else None)
    if digest is None:
        raise EmbeddingError(f"the model {policy.model} is not pinned; set `embedding.digest`")
    directory = builtin_model() if builtin else Path(policy.model)
    return SentenceTransformerEmbedder(
        directory, digest=digest, backend=backend.value, precision=policy.precision.value, threads=policy.threads
    )
