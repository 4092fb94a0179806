"""The open connections of one worker: when there are too many, who waits longest makes room."""

from __future__ import annotations

from typing import Protocol


class Member(Protocol):
    """A connection."""

    def evict(self) -> None:
        """Close it now."""


class Crowd:
    """Connections in two groups: those with a request in progress, and those without one.

    Only the latter may be closed for others. A thousand sockets that send nothing, or send it slowly, are all of that
    kind, so they take one another's places and not those of clients with something to say.

    Parameters
    ----------
    most
        Connections at a time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._busy: set[Member] = set()
        self._waiting: dict[Member, None] = {}

    def __len__(self) -> int:
        return len(self._busy) + len(self._waiting)

    def enter(self, member: Member) -> bool:
        """Let a new connection in; False if everybody else is busy."""
        if len(self) >= self._most:
            if not self._waiting:
                return False
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest.evict()
        self._waiting[member] = None
        return True

    def busy(self, member: Member) -> None:
        """Note that a request is in progress."""
        if member in self._waiting:
            del self._waiting[member]
            self._busy.add(member)

    def idle(self, member: Member) -> None:
        """Note that its request is answered; it goes to the end of those that wait."""
        if member in self._busy:
            self._busy.discard(member)
            self._waiting[member] = None

    def leave(self, member: Member) -> None:
        """Forget a connection."""
        self._busy.discard(member)
        self._waiting.pop(member, None)
