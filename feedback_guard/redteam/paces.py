"""How fast an attacker goes: evenly, or slowly at first and faster as long as it works."""

from __future__ import annotations

from typing import ClassVar, Final

from feedback_guard.redteam.interface import Pace

_FIRST: Final = 0.1
_FASTER: Final = 1.0025
_SLOWER: Final = 0.8
_LEAST: Final = 0.05
_MOST: Final = 5.0


class Steady(Pace):
    """The same rate all the time."""

    name: ClassVar[str] = "steady"

    def rate(self, usual: float) -> float:
        """As usual."""
        return usual


class Ramp(Pace):
    """A tenth of the usual rate at first, a quarter of a percent more with each honest contribution that arrives.

    Each refusal lowers it by a fifth.
    """

    name: ClassVar[str] = "ramp"

    def __init__(self) -> None:
        self._factor = _FIRST

    def rate(self, usual: float) -> float:
        """A little faster than the last time."""
        self._factor = min(_MOST, self._factor * _FASTER)
        return usual * self._factor

    def told(self, accepted: bool) -> None:
        """Slow down when refused."""
        if not accepted:
            self._factor = max(_LEAST, self._factor * _SLOWER)
