"""A circuit breaker: what failed some times in a row is left alone for a while."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Breaker:
    """Says whether something may be tried. Any thread may use it.

    Parameters
    ----------
    failures
        How many in a row open it.
    pause_seconds
        How long it stays open before `due` says that one more trial is due.
    monotonic
        Seconds that never run backwards.

    Examples
    --------
    >>> now = 0.0
    >>> breaker = Breaker(failures=2, pause_seconds=5.0, monotonic=lambda: now)
    >>> breaker.failed(), breaker.failed(), breaker.open
    (False, True, True)
    >>> breaker.wait
    5.0
    >>> breaker.worked(), breaker.open
    (True, False)
    """

    def __init__(self, *, failures: int, pause_seconds: float, monotonic: Callable[[], float]) -> None:
        self._failures = failures
        self._pause = pause_seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._until: float | None = None

    @property
    def open(self) -> bool:
        """Whether it is left alone now; only a trial that worked ends that."""
        return self._until is not None

    @property
    def wait(self) -> float:
        """Seconds until a trial is due; 0 when it is, or when nothing is wrong."""
        until = self._until
        return 0.0 if until is None else max(0.0, until - self._monotonic())

    def failed(self) -> bool:
        """Count a failure; True if it opened the breaker just now."""
        with self._lock:
            opened = False
            self._in_a_row += 1
            if self._in_a_row >= self._failures:
                opened = self._until is None
                self._until = self._monotonic() + self._pause
            return opened

    def worked(self) -> bool:
        """Say that it works; True if the breaker was open until now."""
        with self._lock:
            closed = self._until is not None
            self._in_a_row, self._until = 0, None
            return closed
