"""When a request is given to the application again without anybody being asked: only where the policy says that a
second time does no harm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retries:
    """Exponential backoff with jitter, bounded in count and in time.

    Parameters
    ----------
    routes
        Names of the routes whose application is declared idempotent; nothing else is ever retried.
    attempts
        Most attempts in all, the first one included.
    first_us
        Wait after the first attempt, in microseconds; it doubles with each further one.
    longest_us
        Longest wait, in microseconds.
    within_us
        No attempt begins later than so long after the first one, in microseconds.
    random
        Returns a number in [0, 1); half of each wait is drawn with it, so that what failed together does not come
        back together.

    Examples
    --------
    >>> retries = Retries(frozenset({"rate"}), 3, 1_000_000, 60_000_000, 3_600_000_000, lambda: 0.0)
    >>> retries.due_us("rate", attempts=2, since_us=0, now_us=10_000_000)
    11000000
    >>> retries.due_us("rate", attempts=3, since_us=0, now_us=10_000_000) is None
    True
    """

    routes: frozenset[str]
    attempts: int
    first_us: int
    longest_us: int
    within_us: int
    random: Callable[[], float]

    def due_us(self, route: str, *, attempts: int, since_us: int, now_us: int) -> int | None:
        """When the next attempt is due, in microseconds since the epoch; None if there is none.

        Parameters
        ----------
        route
            Name of the request's route.
        attempts
            How many there were, at least one.
        since_us
            When the first of them began.
        now_us
            When the last of them ended.
        """
        if route not in self.routes or attempts >= self.attempts:
            return None
        # The exponent is bounded, so that the power stays small whatever the row says.
        wait_us = min(self.longest_us, self.first_us * 2 ** min(max(attempts - 1, 0), 60))
        due_us = now_us + wait_us // 2 + int(self.random() * (wait_us - wait_us // 2))
        return due_us if due_us <= since_us + self.within_us else None
