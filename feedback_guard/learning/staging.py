"""Accepted contributions wait until they are mature; only then may anything learn from them."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass
class Staging(Generic[T]):
    """A waiting room in the order of time.

    Parameters
    ----------
    mature_after_us
        Microseconds between acceptance and maturity.
    capacity
        Most that wait. Beyond it the oldest leave without being learnt: what the guard learns for itself is a help,
        never a duty, and memory is bounded.

    Examples
    --------
    >>> room = Staging[str](mature_after_us=10)
    >>> room.add("a", 0, "first"); room.add("b", 5, "second"); room.withdraw("b")
    >>> room.mature(20)
    ['first']
    """

    mature_after_us: int
    capacity: int = 100_000
    _heap: list[tuple[int, int, str]] = field(default_factory=list)
    _waiting: dict[str, tuple[int, T]] = field(default_factory=dict)
    _count: int = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, ident: str, accepted_at_us: int, item: T) -> None:
        """Let an accepted contribution wait."""
        self._count += 1
        self._waiting[ident] = (self._count, item)
        heapq.heappush(self._heap, (accepted_at_us + self.mature_after_us, self._count, ident))
        while len(self._waiting) > self.capacity and self._heap:
            self._take(heapq.heappop(self._heap))

    def withdraw(self, ident: str) -> None:
        """Take back what a human denied; nothing happens if it is not waiting."""
        self._waiting.pop(ident, None)

    def mature(self, now_us: int) -> list[T]:
        """Remove and return what has waited long enough, oldest first."""
        out: list[T] = []
        while self._heap and self._heap[0][0] <= now_us:
            item = self._take(heapq.heappop(self._heap))
            if item is not None:
                out.append(item)
        return out

    def _take(self, entry: tuple[int, int, str]) -> T | None:
        """Give out an entry, unless it was withdrawn or replaced by a later one of the same name."""
        _, count, ident = entry
        waiting = self._waiting.get(ident)
        if waiting is None or waiting[0] != count:
            return None
        del self._waiting[ident]
        return waiting[1]
