"""The one place that decides whether what a model returned may be used, and how it is rounded."""

from __future__ import annotations

import numpy as np

from feedback_guard.embedding.interface import Vectors
from feedback_guard.errors import EmbeddingError

NORM_TOLERANCE = 1e-3
"""How far the length of a vector may be from 1: room for models that compute in half precision."""


def require_unit(vectors: object, *, n: int, dimension: int) -> Vectors:
    """Return the vectors if they are what the contract says, as float32.

    Parameters
    ----------
    vectors
        What an embedder returned.
    n
        How many texts went in.
    dimension
        Length that each vector must have.

    Raises
    ------
    EmbeddingError
        If the shape is another one, or a vector is not finite or not of length 1 (within `NORM_TOLERANCE`).

    Examples
    --------
    >>> require_unit(np.eye(2), n=2, dimension=2).dtype
    dtype('float32')
    """
    if not isinstance(vectors, np.ndarray) or vectors.shape != (n, dimension):
        found = f"an array of shape {vectors.shape}" if isinstance(vectors, np.ndarray) else type(vectors).__name__
        raise EmbeddingError(f"the model returned {found} for {n} texts; it must be an array of shape {(n, dimension)}")
    if not np.issubdtype(vectors.dtype, np.floating):
        raise EmbeddingError(f"the model returned numbers of type {vectors.dtype}; they must be floating point")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused below
        result: Vectors = vectors.astype(np.float32, copy=False)
    if not bool(np.isfinite(result).all()):
        raise EmbeddingError("the model returned a vector that is not finite")
    norms = np.linalg.norm(result.astype(np.float64), axis=1)
    if n and float(np.abs(norms - 1.0).max()) > NORM_TOLERANCE:
        raise EmbeddingError(
            f"the model returned a vector of length {float(norms[np.argmax(np.abs(norms - 1.0))]):.4g}"
        )
    return result


def round_half(vectors: Vectors) -> Vectors:
    """Round to half precision and back, so that a vector that was stored equals the one that was scored.

    Rounding moves no component of a unit vector by more than 2.5e-4, which is below what batch-mates and padding
    change. The result is a copy.

    Examples
    --------
    >>> once = round_half(np.asarray([[0.1, 0.995]], dtype=np.float32))
    >>> bool((round_half(once) == once).all())
    True
    """
    return vectors.astype(np.float16).astype(np.float32)
