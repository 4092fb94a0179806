"""Batches on their way through the model. While it reads one, the next may already lie before it.

A model in a process of its own has nothing to do from the moment when it answers until the guard has come round to
sending more, and the guard, woken by the answers, has the most to do just then. So the next batch is sent ahead, once
enough texts wait for it to be worth a batch of their own.

Clients that send their next text when they have an answer would all wait for one batch, and then the model for all of
them: it and the guard would take turns, and leave cores idle. So where enough for two batches waits, it is divided, and
the guard works on the first half while the model reads the second.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol, cast

from feedback_guard.clock import Clock
from feedback_guard.embedding.batches import Batch
from feedback_guard.embedding.interface import Embedder, Vectors
from feedback_guard.embedding.vectors import require_unit

logger = logging.getLogger(__name__)

AHEAD: Final = 2
"""Batches that are sent before the first is answered: one that is read, and one that lies ready."""
WORTH: Final = 8
"""Fewest windows that are sent ahead: smaller batches cost more than the model's idle moment."""
HALF: Final = 12
"""Fewest texts in each half of what is divided: at this size a text costs little more than in a larger batch."""


class Pipelined(Protocol):
    """An embedder that takes the next batch before it has answered the last."""

    def begin(self, texts: Sequence[str]) -> None:
        """Send a batch; raises as `Embedder.encode` does."""
        ...

    def finish(self) -> Vectors:
        """Wait for the vectors of the oldest batch that was begun; raises as `Embedder.encode` does."""
        ...

    def fileno(self) -> int | None:
        """What can be read once `finish` need not wait; None if it would not wait now either."""
        ...


class Line:
    """Sends batches through an embedder and hands their vectors over. Used by the embedder's owner alone.

    Parameters
    ----------
    embedder
        If it has `begin`, `finish` and `fileno`, as `Pipelined` says, the next batch is sent ahead.
    wanted
        Asked after a batch failed, before its windows are tried one by one.
    report
        Told the number of windows and the seconds of each batch.
    handed
        Called when the answers of a batch have been given.
    clock
        Where durations come from.
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        wanted: Callable[[], bool],
        report: Callable[[int, float], None],
        handed: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._embedder = embedder
        self._pipelined = cast("Pipelined", embedder) if hasattr(embedder, "begin") else None
        self._wanted = wanted
        self._report = report
        self._handed = handed
        self._clock = clock
        self._under_way: deque[tuple[Batch, float]] = deque()

    def __len__(self) -> int:
        return len(self._under_way)

    @property
    def is_full(self) -> bool:
        """Whether no batch may be sent before one is answered."""
        return len(self._under_way) >= AHEAD

    @property
    def worth(self) -> int:
        """Fewest windows that are to be sent now: any, if the model has nothing to do."""
        return max([WORTH, *(len(batch) for batch, _ in self._under_way)]) if self._under_way else 1

    def portion(self, waiting: int) -> int | None:
        """Most windows to send now, if so many texts wait; None for as many as a batch has room for."""
        if self._pipelined is None or self._under_way or waiting < 2 * HALF:
            return None
        return waiting // 2  # what is left is no less, and so worth being sent ahead

    def fileno(self) -> int | None:
        """What can be read once the oldest batch is answered; None if there is none."""
        return self._pipelined.fileno() if self._pipelined is not None and self._under_way else None

    def send(self, batch: Batch) -> None:
        """Put a batch into the model. One that cannot be sent ahead is read, and handed over, before this returns."""
        if not batch:
            return
        began = self._clock.monotonic()
        if self._pipelined is None:
            self._settle(batch, began, lambda: self._embedder.encode(_texts(batch)))
            return
        try:
            self._pipelined.begin(_texts(batch))
        except Exception as error:  # noqa: BLE001 - whatever an embedder raises becomes an error of ours
            self._fail(batch, error)
            return
        self._under_way.append((batch, began))

    def land(self) -> None:
        """Wait for the oldest batch that is under way and hand its vectors over."""
        if self._pipelined is None or not self._under_way:
            return
        batch, began = self._under_way.popleft()
        self._settle(batch, began, self._pipelined.finish)
        if self._under_way:  # it begins to be read only now
            self._under_way[0] = (self._under_way[0][0], self._clock.monotonic())

    def _settle(self, batch: Batch, began: float, vectors: Callable[[], Vectors]) -> None:
        try:
            rows = require_unit(vectors(), n=len(batch), dimension=self._embedder.dimension)
        except Exception as error:  # noqa: BLE001 - whatever an embedder raises becomes an error of ours
            self._fail(batch, error)
            return
        self._report(len(batch), self._clock.monotonic() - began)
        for (item, number), row in zip(batch, rows, strict=True):
            item.rows[number] = row
            if item.is_done and not item.waiting.over:
                item.waiting.complete(item)
        self._handed()

    def _fail(self, batch: Batch, error: Exception) -> None:
        """Try the windows of a batch that failed one by one, so that one fails alone."""
        if len(batch) == 1:
            batch[0][0].fail(error)
            self._handed()
            return
        while self._under_way:  # what one by one is answered would otherwise be taken for their answers
            self.land()
        logger.warning("a batch of %d failed (%s); trying one by one", len(batch), type(error).__name__)
        for single in batch:
            if self._wanted() and not single[0].waiting.over:
                self.send([single])
                self.land()


def _texts(batch: Batch) -> list[str]:
    return [(item.pieces or [])[number] for item, number in batch]
