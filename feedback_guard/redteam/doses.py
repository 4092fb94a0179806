"""How openly an attempt contradicts its content: wholly, or just as much as is accepted."""

from __future__ import annotations

from typing import ClassVar, Final

from feedback_guard.redteam.interface import Dose

_NARROW: Final = 0.06
_CREEP: Final = 0.03


class Plain(Dose):
    """Nothing is added."""

    name: ClassVar[str] = "plain"

    def share(self) -> float:
        """None."""
        return 0.0


class Bisect(Dose):
    """Halves the distance between a dose that was refused and one that was accepted; then stays on the safe side.

    When refusals come again, the boundary has moved, and the search begins anew from there.
    """

    name: ClassVar[str] = "bisect"

    def __init__(self) -> None:
        self._low, self._high = 0.0, 1.0
        self._share = 0.0

    def share(self) -> float:
        """Where the boundary is thought to be."""
        return self._share

    def told(self, accepted: bool) -> None:
        """Narrow the bracket, or move it."""
        if accepted:
            self._high = self._share
            if self._high - self._low <= _NARROW:
                self._low = max(0.0, self._low - _CREEP)
        else:
            self._low = self._share
            if self._high - self._low <= _NARROW:
                self._high = min(1.0, self._high + 4 * _CREEP)
        self._share = self._high if self._high - self._low <= _NARROW else (self._low + self._high) / 2.0
