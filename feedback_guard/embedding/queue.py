"""The bounded queue between callers and the thread that owns the model."""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

from feedback_guard.clock import Clock
from feedback_guard.embedding.batches import Pool
from feedback_guard.embedding.requests import Request
from feedback_guard.errors import EmbeddingError, EmbeddingOverloadError

_NEVER: Final = 1 << 62


class Queue:
    """Takes requests from any thread and gives their texts to one.

    Parameters
    ----------
    size
        Most texts of live requests that wait or are in the model.
    enough
        How many waiting texts end the wait for more.
    max_wait
        Seconds that the first text of a batch waits for more.
    clock
        Where durations come from.
    """

    def __init__(self, *, size: int, enough: int, max_wait: float, clock: Clock) -> None:
        self._size = size
        self._enough = enough
        self._max_wait = max_wait
        self._clock = clock
        self._changed = threading.Condition()
        # All below belongs to the condition's lock.
        self._running = False
        self._open: dict[Request, int] = {}  # how much of the queue each open request takes
        self._depth = 0
        self._arrivals: list[Request] = []
        self._jobs: deque[Request] = deque()
        self._wake_at = _NEVER

    @property
    def running(self) -> bool:
        """Whether requests are taken."""
        return self._running

    @property
    def depth(self) -> int:
        """Texts of live requests that wait or are in the model."""
        return self._depth

    def open(self) -> None:
        """Take requests from now on."""
        with self._changed:
            self._running = True

    def submit(self, request: Request) -> None:
        """Take a live request.

        Raises
        ------
        EmbeddingOverloadError
            If its texts do not fit.
        EmbeddingError
            If nobody works on the queue.
        """
        n = len(request.items)
        with self._changed:
            self._require_running()
            if self._depth + n > self._size:
                raise EmbeddingOverloadError(
                    f"{self._depth} texts wait for the model and {n} more exceed the queue of {self._size}"
                )
            self._open[request] = n
            self._depth += n
            self._arrivals.append(request)
            # While the owner computes or still has time to wait, waking it would only take the processor from it.
            if self._depth >= self._wake_at:
                self._changed.notify()

    def submit_job(self, request: Request) -> None:
        """Take a request that is not live: without a bound, and never in a batch with others.

        Raises
        ------
        EmbeddingError
            If nobody works on the queue.
        """
        with self._changed:
            self._require_running()
            self._open[request] = 0
            self._jobs.append(request)
            self._changed.notify()

    def release(self, request: Request) -> None:
        """Give back the room of a request; again has no effect."""
        with self._changed:
            self._depth -= self._open.pop(request, 0)

    def stop(self, why: str) -> None:
        """Take no more requests, and fail those that wait."""
        with self._changed:
            self._running = False
            waiting = list(self._open)
            self._arrivals.clear()
            self._jobs.clear()
            self._changed.notify_all()
        for request in waiting:
            request.fail(EmbeddingError(why))

    def gather(self, live: Pool, job: Pool) -> bool:
        """Wait for work and move it into the pools: for the owner's thread.

        The first text waits for others, unless the model was busy for so long that it has waited enough, or texts
        are left that the last batch had no room for.

        Returns
        -------
        bool
            False when the queue was stopped.
        """
        with self._changed:
            while self._running and not (self._arrivals or self._jobs or live or job):
                self._sleep(None, wake_at=1)
            leftovers = len(live) > 0
            self._collect(live, job)
            if live and not job and not leftovers:
                until = live.first_arrived + self._max_wait
                while self._running and len(live) < self._enough and self._sleep(until, wake_at=self._enough):
                    self._collect(live, job)
                self._collect(live, job)
            return self._running

    def _sleep(self, until: float | None, *, wake_at: int) -> bool:
        """Let go of the lock until so many texts wait or the time has come; False if it has."""
        left = None if until is None else until - self._clock.monotonic()
        if left is not None and left <= 0.0:
            return False
        self._wake_at = wake_at
        woken = self._changed.wait(left)
        self._wake_at = _NEVER
        return woken

    def _collect(self, live: Pool, job: Pool) -> None:
        for request in self._arrivals:
            live.add(request.items)
        self._arrivals.clear()
        live.drop_over()
        job.drop_over()
        if self._jobs and not job:
            job.add(self._jobs.popleft().items)

    def _require_running(self) -> None:
        if not self._running:
            raise EmbeddingError("the embedder does not run; call `start` first")
