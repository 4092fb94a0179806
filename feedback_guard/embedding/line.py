"""Batches on their way through one model, or through several. While one is read, the next may already lie before it.

A model in a process of its own has nothing to do from the moment when it answers until the guard has come round to
sending more, and the guard, woken by the answers, has the most to do just then. So the next batch is sent ahead, once
enough texts wait for it to be worth a batch of their own.

Clients that send their next text when they have an answer would all wait for one batch, and then the model for all of
them: it and the guard would take turns, and leave cores idle. So where enough for two batches waits, it is divided, and
the guard works on the first half while the model reads the second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

from feedback_guard.clock import Clock
from feedback_guard.embedding.batches import Batch
from feedback_guard.embedding.bell import readable
from feedback_guard.embedding.interface import Embedder, Pipelined, Readiness
from feedback_guard.embedding.lane import AHEAD, Direct, Lane

WORTH: Final = 12
"""Fewest windows that are sent ahead, or to a model beside one that reads: smaller batches cost more than the idle
moment."""
IDLE_SECONDS: Final = 0.05
"""Longest time that a text waits for so many others while a model has nothing to do."""
HALF: Final = 12
"""Fewest texts in each part of what is divided: at this size a text costs little more than in a larger batch."""


class Line:
    """Sends batches through an embedder and hands their vectors over. Used by the embedder's owner alone.

    Parameters
    ----------
    embedder
        If it is `Pipelined`, the next batch is sent ahead. If it has `models`, which are, each batch goes to the one
        that has the least to do, and whichever answers first is heard first.
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
        models, ahead = _models(embedder)
        self._ahead = ahead
        self._lanes = [
            Lane(
                model, ahead=ahead, dimension=embedder.dimension,
                wanted=wanted, report=report, handed=handed, clock=clock,
            )
            for model in models
        ]  # fmt: skip

    def __len__(self) -> int:
        """Models from which something is to come."""
        return sum(lane.is_busy for lane in self._lanes)

    @property
    def is_full(self) -> bool:
        """Whether no batch may be sent before something is answered."""
        return all(lane.is_full for lane in self._usable())

    def worth(self, waited: float) -> int:
        """Fewest windows that are to be sent now, if the first has waited so many seconds.

        Any, if no model reads anything; enough for a batch beside one that does, though not for long.
        """
        lane = self._freest()
        if len(lane):
            return max(WORTH, lane.largest)
        return WORTH if waited < IDLE_SECONDS and any(map(len, self._lanes)) else 1

    def soon_seconds(self, waited: float) -> float | None:
        """How long it is until `worth` grows less by itself; None if it does not."""
        return IDLE_SECONDS - waited if not len(self._freest()) and waited < IDLE_SECONDS else None

    def portion(self, waiting: int) -> int | None:
        """Most windows to send now, if so many texts wait; None for as many as a batch has room for."""
        usable = self._usable()
        idle = sum(not lane.is_full and not len(lane) for lane in usable)
        # Several models leave the guard something to do. With one, it has a part while the model reads the other.
        parts = min(idle if len(usable) > 1 else idle * self._ahead, waiting // HALF)
        return waiting // parts if parts > 1 else None  # what is left for other parts is no less, and so worth it

    def files(self) -> list[int] | None:
        """What can be read once something is answered; None if `land` has something to do without waiting."""
        busy = [lane for lane in self._lanes if lane.is_busy]
        if any(lane.is_due for lane in busy):
            return None
        return [file for lane in busy if (file := lane.fileno()) is not None]

    def left_seconds(self) -> float | None:
        """For how long an answer is worth waiting for; None: for ever."""
        return min((left for lane in self._lanes if (left := lane.left_seconds()) is not None), default=None)

    def send(self, batch: Batch) -> None:
        """Put a batch into the model that has the least to do; into another if that one was found to have ended."""
        if not batch:
            return
        lane = self._freest()
        error = lane.send(batch)
        for _ in self._lanes[1:]:
            if error is None or (other := self._freest()).is_full:
                break
            lane, error = other, other.send(batch)
        if error is not None:
            lane.lose(batch, error)

    def land(self) -> None:
        """Hand over whatever is answered or late; this waits for nothing."""
        waiting = {file: lane for lane in self._lanes if lane.is_busy and (file := lane.fileno()) is not None}
        answered = readable(waiting, 0.0) if waiting else set()
        for lane in self._lanes:
            if lane.is_due or lane.fileno() in answered:
                lane.land()

    def _usable(self) -> list[Lane]:
        """Those that are ready or will be; if there are none, all: then what is sent fails, and says why."""
        for lane in self._lanes:
            lane.look()
        return [lane for lane in self._lanes if lane.readiness is not Readiness.RESTING] or self._lanes

    def _freest(self) -> Lane:
        usable = self._usable()
        return min([lane for lane in usable if not lane.is_full] or usable, key=len)


def _models(embedder: Embedder) -> tuple[list[Pipelined], int]:
    """The models of an embedder, and how many batches each may have under way."""
    if models := getattr(embedder, "models", None):
        return list(models), AHEAD
    return ([cast("Pipelined", embedder)], AHEAD) if hasattr(embedder, "begin") else ([Direct(embedder)], 1)
