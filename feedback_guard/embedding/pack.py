"""Vectors as bytes for the store: half precision, in the safetensors format. It holds data and never code."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from feedback_guard.embedding.interface import Vectors
from feedback_guard.errors import EmbeddingError


def pack(vectors: Mapping[str, Vectors]) -> bytes:
    """Write the vectors of each field as bytes; the same vectors always give the same bytes.

    Parameters
    ----------
    vectors
        By field, each of shape (n_windows, d). They are rounded to half precision, which changes nothing for what
        comes from `Batcher`.

    Returns
    -------
    bytes
        Empty if there are no vectors.

    Examples
    --------
    >>> unpack(pack({"input": np.eye(2, dtype=np.float32)}))["input"].shape
    (2, 2)
    """
    if not vectors:
        return b""
    return save({name: np.ascontiguousarray(vectors[name], dtype=np.float16) for name in sorted(vectors)})


def unpack(data: bytes) -> dict[str, Vectors]:
    """Read what `pack` wrote.

    Raises
    ------
    EmbeddingError
        If the bytes are not vectors: the row in the store was damaged.
    """
    if not data:
        return {}
    try:
        arrays = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise EmbeddingError(f"stored vectors cannot be read: {error}; the row in the store is damaged") from None
    for name, array in arrays.items():
        if array.dtype != np.float16 or array.ndim != 2 or not bool(np.isfinite(array).all()):
            raise EmbeddingError(
                f"stored vectors of {name!r} are {array.dtype} of shape {array.shape}; they must be finite float16 "
                f"of shape (n_windows, d); the row in the store is damaged"
            )
    return {name: arrays[name].astype(np.float32) for name in sorted(arrays)}
