"""The time that budgets and leases are counted by: one clock for all processes, whatever their hosts' clocks say.

A level of a budget carries the time it holds for, so a clock that runs ahead would refill it early. SQLite serves one
host, and that host's clock counts. On PostgreSQL the server's counts: it is asked once in every write transaction, and
in between it is carried on by a clock that nobody can set.
"""

from __future__ import annotations

import threading
from typing import Final

from sqlalchemy import Connection, text

from feedback_guard.clock import MICROSECONDS, Clock, SystemClock

_SERVER_TIME: Final = text("SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint")


def store_time(connection: Connection, clock: Clock) -> int:
    """The time by the store's clock, in microseconds since the epoch.

    SQLite serves one host, so that is its clock. On PostgreSQL the hosts' clocks may differ, and the server's
    counts; a clock that was injected goes before it.
    """
    if connection.dialect.name == "postgresql" and isinstance(clock, SystemClock):
        return int(connection.execute(_SERVER_TIME).scalar_one())
    return clock.now_us()


class StoreTime:
    """What time it is by the store's clock, without asking the store. Any thread may use it.

    Parameters
    ----------
    clock
        This host's.

    Examples
    --------
    >>> from feedback_guard.clock import ManualClock
    >>> clock = ManualClock(us=5)
    >>> StoreTime(clock).now_us()
    5
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._noted: tuple[int, float] | None = None

    def note(self, server_us: int, monotonic: float) -> None:
        """Remember what the server's clock said at a moment of this host's monotonic one."""
        with self._lock:
            if self._noted is None or monotonic >= self._noted[1]:
                self._noted = server_us, monotonic

    def now_us(self) -> int:
        """The server's time if it was ever asked, or this host's."""
        with self._lock:
            noted = self._noted
        if noted is None:
            return self._clock.now_us()
        server_us, then = noted
        return server_us + max(0, round((self._clock.monotonic() - then) * MICROSECONDS))
