"""When a slow client has had its time: a least rate, with some grace."""

from __future__ import annotations


class Pace:
    """A moment that bytes put off: whoever is slower than the rate for longer than the grace is too slow.

    Every byte buys `1 / bytes_per_second`; what is saved up is never more than the grace, so a fast beginning does not
    pay for a slow rest.

    Parameters
    ----------
    now
        The present moment, in seconds, of any monotonic clock.
    bytes_per_second
        The least rate.
    grace_seconds
        How far one may fall behind it.

    Examples
    --------
    >>> pace = Pace(100.0, bytes_per_second=10.0, grace_seconds=5.0)
    >>> pace.due
    105.0
    >>> pace.came(20, 104.0)
    >>> pace.due
    107.0
    >>> pace.came(1_000_000, 106.0)
    >>> pace.due
    111.0
    """

    def __init__(self, now: float, *, bytes_per_second: float, grace_seconds: float) -> None:
        self._seconds_per_byte = 1.0 / bytes_per_second
        self._grace = grace_seconds
        self.due = now + grace_seconds

    def came(self, n_bytes: int, now: float) -> None:
        """Note that so many bytes came."""
        self.due = min(now + self._grace, self.due + n_bytes * self._seconds_per_byte)

    def begin_again(self, now: float) -> None:
        """Note that the client was made to wait until now."""
        self.due = now + self._grace
