"""What an embedder is: the seam between the guard and a model."""

from __future__ import annotations

import enum
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


class Readiness(enum.Enum):
    """Whether a model in a process of its own can be sent a batch."""

    READY = enum.auto()
    LOADING = enum.auto()
    """Its process was started and is not ready yet."""
    RESTING = enum.auto()
    """Its process ended, and may not be started anew yet: what it is sent fails at once."""


class Pipelined(Protocol):
    """A model that takes the next batch before it has answered the last; its batches are answered in their order."""

    def prepare(self) -> Readiness:
        """Say whether it can be sent a batch. One that ended is started anew, if it may be; this waits for nothing."""
        ...

    def begin(self, texts: Sequence[str]) -> None:
        """Send a batch; raises as `Embedder.encode` does."""
        ...

    def finish(self) -> Vectors:
        """Wait for the vectors of the oldest batch that was begun; raises as `Embedder.encode` does."""
        ...

    def fileno(self) -> int | None:
        """What can be read once `finish` need not wait, or a model that loads has loaded; None if neither will come."""
        ...

    def left_seconds(self) -> float | None:
        """For how much longer `fileno` is worth waiting for: then `finish` fails, or `prepare` gives up; None: ever."""
        ...
