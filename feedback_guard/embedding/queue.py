"""The bounded queue between callers and the thread that owns the model."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Final

from feedback_guard.clock import Clock
from feedback_guard.embedding.batches import Pool
from feedback_guard.embedding.bell import Bell, Heard
from feedback_guard.embedding.line import Line
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
        self._lock = threading.Lock()
        # All below belongs to the lock.
        self._bell: Bell | None = None
        self._running = False
        self._open: dict[Request, int] = {}  # how much of the queue each open request takes
        self._depth = 0
        self._arrivals: list[Request] = []
        self._n_arrived = 0
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
        """Take requests from now on, for the thread that calls this."""
        with self._lock:
            self._running, self._bell = True, Bell()

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
        with self._lock:
            self._require_running()
            if self._depth + n > self._size:
                raise EmbeddingOverloadError(
                    f"{self._depth} texts wait for the model and {n} more exceed the queue of {self._size}"
                )
            self._open[request] = n
            self._depth += n
            self._arrivals.append(request)
            self._n_arrived += n
            # While the owner computes or still has time to wait, waking it would only take the processor from it.
            if self._n_arrived >= self._wake_at:
                self._wake_at = _NEVER
                self._ring()

    def submit_job(self, request: Request) -> None:
        """Take a request that is not live: without a bound, and never in a batch with others.

        Raises
        ------
        EmbeddingError
            If nobody works on the queue.
        """
        with self._lock:
            self._require_running()
            self._open[request] = 0
            self._jobs.append(request)
            self._ring()

    def release(self, request: Request) -> None:
        """Give back the room of a request; again has no effect."""
        with self._lock:
            self._depth -= self._open.pop(request, 0)

    def stop(self, why: str) -> None:
        """Take no more requests, and fail those that wait."""
        with self._lock:
            self._running = False
            waiting = list(self._open)
            self._open.clear()  # whoever stops it once more, as the owner does in the end, finds nobody who waits
            self._depth = 0
            self._arrivals.clear()
            self._jobs.clear()
            self._ring()
        for request in waiting:
            request.fail(EmbeddingError(why))

    def end(self, why: str) -> None:
        """Stop, for the owner's thread, which waits no more."""
        self.stop(why)
        with self._lock:
            if self._bell is not None:
                self._bell.close()
                self._bell = None

    def gather(self, live: Pool, job: Pool, line: Line) -> bool:
        """Wait for work and move it into the pools: for the owner's thread.

        The first text waits for others, unless the model was busy for so long that it has waited enough, or texts
        are left that the last batch had no room for. While a model works, it waits until there is enough to be sent
        ahead, or a model has answered.

        Returns
        -------
        bool
            False when the queue was stopped.
        """
        with self._lock:
            while self._running and not (self._arrivals or self._jobs or live or job or line):
                self._sleep(None, enough=1)
            leftovers = len(live) > 0
            self._collect(live, job)
            if line:
                self._wait_for(line, live, job)
            elif live and not job and not leftovers:
                until = live.first_arrived + self._max_wait
                while self._running and len(live) < self._enough:
                    if self._sleep(until, enough=self._enough - len(live)) is Heard.NOTHING:
                        break
                    self._collect(live, job)
                self._collect(live, job)
            return self._running

    def _wait_for(self, line: Line, live: Pool, job: Pool) -> None:
        while self._running:
            now = self._clock.monotonic()
            waited = now - live.first_arrived if live else 0.0
            full, worth = line.is_full, line.worth(waited)
            if (not full and (job or len(live) >= worth)) or (files := line.files()) is None:
                return
            bounds = (line.left_seconds(), line.soon_seconds(waited) if live else None)
            until = min((now + left for left in bounds if left is not None), default=None)
            # While nothing can be sent, texts that come need wake nobody.
            enough = _NEVER if full else worth - len(live)
            heard = self._sleep(until, enough=enough, also=files)
            self._collect(live, job)
            if heard is Heard.FILE:
                return

    def _sleep(self, until: float | None, *, enough: int, also: Sequence[int] = ()) -> Heard:
        """Let go of the lock until so many texts have come, the time has, or one of `also` can be read."""
        left = None if until is None else until - self._clock.monotonic()
        bell = self._bell
        if bell is None or (left is not None and left <= 0.0):
            return Heard.NOTHING
        self._wake_at = enough
        if self._n_arrived >= enough or (self._jobs and enough != _NEVER):
            left = 0.0
        self._lock.release()
        try:
            return bell.wait(left, also=also)
        finally:
            self._lock.acquire()
            self._wake_at = _NEVER

    def _ring(self) -> None:
        if self._bell is not None:
            self._bell.ring()

    def _collect(self, live: Pool, job: Pool) -> None:
        for request in self._arrivals:
            live.add(request.items)
        self._arrivals.clear()
        self._n_arrived = 0
        live.drop_over()
        job.drop_over()
        if self._jobs and not job:
            job.add(self._jobs.popleft().items)

    def _require_running(self) -> None:
        if not self._running:
            raise EmbeddingError("the embedder does not run; call `start` first")
