"""Tests of classes on the contributions that a learner of the stream speaks for: see `parting` for what they promise.

For each class and each of some levels: of the contributions on which the learner parts from the trusted set by at least
so many log-odds, do more teach the class than honest people could? Each test is a product of likelihood ratios with a
mean of at most 1 under its null, whatever the past; classes and levels are believed by e-BH (`discoveries`), and all of
them count from the first contribution of their kind.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedback_guard.contribution import Kind
from feedback_guard.evidence.counting import LEAST_MEMBERS
from feedback_guard.evidence.discoveries import Discoveries
from feedback_guard.evidence.inquiry import chance_of
from feedback_guard.evidence.learners import Part
from feedback_guard.evidence.martingales import Honest
from feedback_guard.evidence.planted import SURE
from feedback_guard.signals.lesson import NUMBERED, Lesson

Floats = NDArray[np.float64]

SHARES_PLANTED: Final = np.array([0.1, 0.3, 0.6, 0.9])
"""Shares of such contributions that teach a class whatever they say, if there is a campaign."""


class LevelTests:
    """The tests of all classes, each called by its class (`Lesson.number`) and the number of its level.

    Parameters
    ----------
    rate
        Chance that one of them is believed on a stream without a campaign, 0..1.
    levels
        Log-odds, ascending.
    """

    def __init__(self, rate: float, levels: tuple[float, ...]) -> None:
        self._levels = levels
        self._log_rate = math.log(rate)
        self._sums: dict[tuple[int, int], Floats] = {}
        self._taught: dict[tuple[int, int], int] = {}
        self._found = Discoveries[tuple[int, int]](rate)
        self._looked_at: set[Kind] = set()

    @property
    def statistic(self) -> float:
        """How near the strongest test is to being believed, 0..1."""
        strongest = max((float(evidence_of(sums)) for sums in self._sums.values()), default=0.0)
        line = math.log(max(1, self._found.n)) - self._log_rate
        return min(1.0, max(0.0, strongest) / max(line, 1.0))

    def witness(self, part: Part, lesson: Lesson, nth: int) -> None:
        """Take in a contribution before the learner learns from it; the n-th near copy counts for 1/n."""
        if lesson.kind not in self._looked_at:
            # All of them, from the beginning: which of them come to be asked depends on what is taught.
            self._looked_at.add(lesson.kind)
            self.look(lesson.n_classes * len(self._levels))
        expected = Honest.of(lesson.n_classes, lesson.n_known)
        for row in range(part.n_asked):
            which = int(part.classes[row]) + NUMBERED[lesson.kind]
            taught = which == lesson.number
            chance = chance_of(part, lesson, row) if taught else float(part.chances[row])
            for level, least in enumerate(self._levels):
                if part.parted[row] >= least:
                    self._bet((which, level), chance, taught, nth, expected)

    def believed(self) -> list[tuple[int, int]]:
        """The tests that are believed, strongest first."""
        return self._found.believed()

    def look(self, n: int) -> None:
        """Count so many further hypotheses."""
        self._found.look(n, n)

    def own(self, which: int) -> dict[int, Floats]:
        """Summed steps of a class's tests, by level."""
        return {level: self._sums[which, level] for level in range(len(self._levels)) if (which, level) in self._sums}

    def renew(self, which: int) -> None:
        """Forget the past of a class's tests: they begin anew, as further hypotheses."""
        own = self.own(which)
        for level in own:
            self._sums.pop((which, level), None)
            self._taught.pop((which, level), None)
            self._found.tell((which, level), -math.inf)
        self.look(len(own))

    def _bet(self, test: tuple[int, int], chance: float, taught: bool, nth: int, expected: Honest) -> None:
        meant = 1.0 / (1.0 + math.exp(-(math.log(chance / (1.0 - chance)) + expected.most_shift)))
        honest = expected.erring(meant)
        planted = np.maximum(honest, chance + SHARES_PLANTED * (SURE - chance))
        step = np.log(planted / honest) if taught else np.log((1.0 - planted) / (1.0 - honest))
        sums = self._sums.get(test)
        self._sums[test] = sums = step / nth if sums is None else sums + step / nth
        count = self._taught[test] = self._taught.get(test, 0) + taught
        if count >= LEAST_MEMBERS:
            self._found.tell(test, float(evidence_of(sums)))


def evidence_of(sums: Floats) -> float:
    """Logarithm of a test's e-value, from its summed steps of shape (len(SHARES_PLANTED),)."""
    return float(np.logaddexp.reduce(sums) - math.log(len(SHARES_PLANTED)))
