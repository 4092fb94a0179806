"""Time is injected: nothing in the guard asks the operating system what time it is except here."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

MICROSECONDS = 1_000_000
"""Microseconds in a second. Every stored time is an integer of microseconds since the epoch, UTC."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC; arithmetic and writing take half as long without saying so


class Clock(Protocol):
    """Where the guard gets the time from."""

    def now_us(self) -> int:
        """Microseconds since 1970-01-01T00:00:00Z."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards, for durations."""
        ...


class SystemClock:
    """The operating system's clock."""

    def now_us(self) -> int:
        """Wall time in microseconds since the epoch."""
        return time.time_ns() // 1_000

    def monotonic(self) -> float:
        """Seconds from the monotonic clock."""
        return time.monotonic()


@dataclass
class ManualClock:
    """A clock that is moved by hand: for tests, and for `replay`, where `at` is the clock.

    Examples
    --------
    >>> clock = ManualClock(us=1_000_000)
    >>> clock.advance(2.5)
    >>> clock.now_us()
    3500000
    """

    us: int = 0

    def now_us(self) -> int:
        """The time it was last set to, in microseconds since the epoch."""
        return self.us

    def monotonic(self) -> float:
        """The same time, in seconds."""
        return self.us / MICROSECONDS

    def advance(self, seconds: float) -> None:
        """Move the clock; negative values move it back, as a stepped system clock would."""
        self.us += round(seconds * MICROSECONDS)


def parse_iso8601(text: str) -> int:
    """Read an ISO 8601 time with an offset as microseconds since the epoch.

    Raises
    ------
    ValueError
        If the text is not ISO 8601 or has no offset: local time is never guessed.

    Examples
    --------
    >>> parse_iso8601("1970-01-01T00:00:01+00:00")
    1000000
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no offset; write it as 2026-03-02T00:01:43+00:00 or with a Z")
    # A time that is before the first year in UTC cannot be written, and is refused here, by OverflowError.
    delta = (moment if moment.tzinfo is UTC else moment.astimezone(UTC)) - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * MICROSECONDS + delta.microseconds


def format_iso8601(us: int) -> str:
    """Write microseconds since the epoch as ISO 8601 in UTC.

    Raises
    ------
    ValueError
        If there is no such year.

    Examples
    --------
    >>> format_iso8601(1_500_000)
    '1970-01-01T00:00:01.500000+00:00'
    """
    try:
        moment = _NAIVE_EPOCH + timedelta(0, 0, us)
    except OverflowError:
        raise ValueError(f"{us} microseconds since 1970 lie beyond the years 1 to 9999") from None
    return f"{moment.isoformat()}+00:00"
