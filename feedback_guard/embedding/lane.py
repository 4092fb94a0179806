"""One model, the batches on their way through it, and what is tried again one by one after a batch failed."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from feedback_guard.clock import Clock
from feedback_guard.embedding.batches import Batch
from feedback_guard.embedding.interface import Embedder, Pipelined, Readiness, Vectors
from feedback_guard.embedding.vectors import require_unit

logger = logging.getLogger(__name__)

AHEAD: Final = 2
"""Batches that are sent before the first is answered: one that is read, and one that lies ready."""


class Direct:
    """Lets an embedder that only knows `encode` be used like one that is sent batches: it reads when it is asked."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._texts: Sequence[str] = ()

    def prepare(self) -> Readiness:
        """Always ready."""
        return Readiness.READY

    def begin(self, texts: Sequence[str]) -> None:
        """Keep the texts."""
        self._texts = texts

    def finish(self) -> Vectors:
        """Read them."""
        return self._embedder.encode(self._texts)

    def fileno(self) -> None:
        """Nothing is waited for."""

    def left_seconds(self) -> None:
        """Nothing is waited for."""


class Lane:
    """Sends batches to one model and hands their vectors over. What fails is tried again, by the same model.

    By the same, because a text that ends the process of one model would end those of the others as well.

    Parameters
    ----------
    model
        Where batches go.
    ahead
        Most batches under way.
    dimension
        Length of its vectors.
    wanted
        Asked before a text of a batch that failed is tried by itself.
    report
        Told the number of windows and the seconds of each batch.
    handed
        Called when answers have been given.
    clock
        Where durations come from.
    """

    def __init__(
        self,
        model: Pipelined,
        *,
        ahead: int,
        dimension: int,
        wanted: Callable[[], bool],
        report: Callable[[int, float], None],
        handed: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._model = model
        self._ahead = ahead
        self._dimension = dimension
        self._wanted = wanted
        self._report = report
        self._handed = handed
        self._clock = clock
        self._under_way: deque[tuple[Batch, float]] = deque()
        self._singles: deque[Batch] = deque()
        self._readiness = Readiness.READY

    def __len__(self) -> int:
        """Batches under way."""
        return len(self._under_way)

    @property
    def readiness(self) -> Readiness:
        """Whether the model can be sent a batch; as `look` found it."""
        return self._readiness

    @property
    def is_busy(self) -> bool:
        """Whether something will come of it that is worth waiting for."""
        return bool(self._under_way or self._singles) or self._readiness is Readiness.LOADING

    @property
    def is_full(self) -> bool:
        """Whether no batch may be sent now."""
        return len(self._under_way) >= self._ahead or bool(self._singles) or self._readiness is Readiness.LOADING

    @property
    def largest(self) -> int:
        """Windows in the largest batch under way."""
        return max((len(batch) for batch, _ in self._under_way), default=0)

    @property
    def is_due(self) -> bool:
        """Whether `land` need not wait: there will be no answer, or it is late."""
        left = self._model.left_seconds()
        return self.is_busy and (self._model.fileno() is None or (left is not None and left <= 0.0))

    def fileno(self) -> int | None:
        """What can be read once `land` need not wait."""
        return self._model.fileno() if self.is_busy else None

    def left_seconds(self) -> float | None:
        """For how much longer the model is waited for."""
        return self._model.left_seconds() if self.is_busy else None

    def look(self) -> None:
        """See whether the model is ready; one that ended is started anew."""
        self._readiness = self._model.prepare()

    def send(self, batch: Batch) -> Exception | None:
        """Put a batch into the model; returns why it could not be: then no part of it was read."""
        began = self._clock.monotonic()
        try:
            self._model.begin(_texts(batch))
        except Exception as error:  # noqa: BLE001 - whatever an embedder raises becomes an error of ours
            return error
        self._under_way.append((batch, began))
        return None

    def land(self) -> None:
        """Wait for the oldest batch that is under way and hand its vectors over; then try what is to be tried alone."""
        if self._under_way:
            batch, began = self._under_way.popleft()
            self._settle(batch, began)
            if self._under_way:  # it begins to be read only now
                self._under_way[0] = (self._under_way[0][0], self._clock.monotonic())
        self.look()
        while self._singles and not self._under_way and self._readiness is not Readiness.LOADING:
            single = self._singles.popleft()
            if self._wanted() and not single[0][0].waiting.over and (error := self.send(single)) is not None:
                self.lose(single, error)

    def lose(self, batch: Batch, error: Exception) -> None:
        """Put the windows of a batch that failed down to be tried one by one, so that one fails alone."""
        if len(batch) == 1:
            batch[0][0].fail(error)
            self._handed()
            return
        logger.warning("a batch of %d failed (%s); trying one by one", len(batch), type(error).__name__)
        self._singles += [[single] for single in batch]

    def _settle(self, batch: Batch, began: float) -> None:
        try:
            rows = require_unit(self._model.finish(), n=len(batch), dimension=self._dimension)
        except Exception as error:  # noqa: BLE001 - as above
            self.lose(batch, error)
            return
        self._report(len(batch), self._clock.monotonic() - began)
        for (item, number), row in zip(batch, rows, strict=True):
            item.rows[number] = row
            if item.is_done and not item.waiting.over:
                item.waiting.complete(item)
        self._handed()


def _texts(batch: Batch) -> list[str]:
    return [(item.pieces or [])[number] for item, number in batch]
