"""From a nonconformity score to a p-value: conformal prediction with conservative ties.

Let s_1..s_n be the scores of trusted contributions, each computed without having seen that contribution, and s the
score of a new one. If the new contribution is exchangeable with the trusted ones, then

    p = (1 + #{i : s_i >= s}) / (n + 1)

satisfies P(p <= a) <= a for every a. Nothing is assumed about the distribution of the scores. The smallest p-value
that n trusted contributions can give is 1 / (n + 1): the resolution.

References
----------
Vovk, V., Gammerman, A., Shafer, G. (2005). Algorithmic Learning in a Random World. Springer, chapter 2; section 4.5
for Mondrian (per-class) conformal predictors.
Vovk, V. (2015). Cross-conformal predictors. Annals of Mathematics and Artificial Intelligence 74, 9-28.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from feedback_guard.compiled import compiled
from feedback_guard.errors import BaselineError, SignalError


@dataclass(frozen=True, slots=True)
class Calibration:
    """Scores of trusted contributions, sorted: the ruler that turns a score into a p-value.

    Parameters
    ----------
    scores
        Finite scores in ascending order, float64, shape (n,). Higher is odder.

    Examples
    --------
    >>> ruler = Calibration.of([0.1, 0.2, 0.3, 0.4])
    >>> ruler.p_value(0.35), ruler.p_value(9.0), ruler.p_value(0.0)
    (0.4, 0.2, 1.0)
    """

    scores: NDArray[np.float64]

    @classmethod
    def of(cls, scores: ArrayLike) -> Self:
        """Make a ruler from scores in any order.

        Raises
        ------
        BaselineError
            If there are none, or one is not finite.
        """
        array = np.sort(np.asarray(scores, dtype=np.float64).ravel())
        if not len(array):
            raise BaselineError("there is no trusted contribution to calibrate on; add some to the trusted set")
        if not np.isfinite(array).all():
            raise BaselineError("a calibration score is not finite; the trusted set holds something that has no score")
        return cls(array)

    @property
    def n(self) -> int:
        """How many trusted contributions it rests on."""
        return len(self.scores)

    @property
    def resolution(self) -> float:
        """The smallest p-value that it can give."""
        return 1.0 / (self.n + 1)

    def p_value(self, score: float) -> float:
        """The share of honest contributions that look at least as odd, in (0, 1]; a tie counts as odder.

        Raises
        ------
        SignalError
            If the score is not finite.
        """
        if not math.isfinite(score):
            raise SignalError(f"a score of {score} cannot be calibrated; the contribution counts as not scored")
        n = len(self.scores)
        return (1 + n - _below(self.scores, score)) / (n + 1)


@compiled("int64(Array(float64, 1, 'C', readonly=True), float64)")
def _below(scores: NDArray[np.float64], score: float) -> int:
    """How many scores are smaller."""
    low, high = 0, len(scores)
    while low < high:
        middle = (low + high) // 2
        if scores[middle] < score:
            low = middle + 1
        else:
            high = middle
    return low


@dataclass(frozen=True, slots=True)
class Mondrian:
    """One ruler for each class that has enough trusted contributions, and one for all the others together.

    The classes are divided before any score is looked at, by their counts alone, and each contribution is compared
    with its own division only. So the p-value is valid within each large class, not just on average.

    Parameters
    ----------
    rest
        Ruler of the classes that are too small for one of their own; None when there are no such classes.
    by_class
        Ruler of each large class.

    Examples
    --------
    >>> ruler = Mondrian.of([0.1, 0.2, 0.3, 0.9], ["a", "a", "a", "b"], minimum=3)
    >>> ruler.p_value(0.25, "a"), ruler.p_value(0.25, "b")
    (0.5, 1.0)
    """

    rest: Calibration | None
    by_class: Mapping[str, Calibration]

    @classmethod
    def of(cls, scores: ArrayLike, classes: Iterable[str], *, minimum: int) -> Self:
        """Divide scores by class; a class with fewer than `minimum` scores goes to the rest.

        A rest of fewer than `minimum` scores has a coarse ruler. It stays one: joining it to a large class would
        compare like with unlike.
        """
        array = np.asarray(scores, dtype=np.float64).ravel()
        names = np.asarray(list(classes), dtype=object)
        found: dict[str, Calibration] = {}
        rest = np.ones(len(array), dtype=bool)
        for name in sorted(set(names.tolist())):
            mask = names == name
            if int(mask.sum()) >= minimum:
                found[name] = Calibration.of(array[mask])
                rest &= ~mask
        return cls(Calibration.of(array[rest]) if rest.any() else None, found)

    def of_class(self, name: str) -> Calibration:
        """The ruler that a class is measured with.

        Raises
        ------
        SignalError
            If the class was not in the trusted set and there is no rest.
        """
        ruler = self.by_class.get(name, self.rest)
        if ruler is None:
            raise SignalError("no trusted contribution is of this class, so there is nothing to calibrate it by")
        return ruler

    def p_value(self, score: float, name: str) -> float:
        """As `Calibration.p_value`, within the class."""
        return self.of_class(name).p_value(score)
