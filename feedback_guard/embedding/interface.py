"""What an embedder is: the seam between the guard and a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
"""Unit vectors, one a row: shape (n, d), float32."""


class Embedder(Protocol):
    """Turns texts into unit vectors. It is owned and called by exactly one thread.

    Every implementation passes `feedback_guard.embedding.checks`.
    """

    @property
    def fingerprint(self) -> str:
        """Names model, weights, pooling and dimension; state made with another fingerprint is refused."""
        ...

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        ...

    def split(self, text: str) -> list[str]:
        """Cut a text into pieces that the model reads whole, so that no tail goes unread.

        Returns
        -------
        list of str
            At least one piece; their concatenation covers the text. At most `settings.MAX_WINDOWS`.
        """
        ...

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Embed texts that each fit the model's window.

        Returns
        -------
        ndarray of shape (n, d), float32
            Unit vectors, in the order of `texts`.

        Raises
        ------
        EmbeddingError
            If the model fails or returns anything but finite unit vectors.
        """
        ...
