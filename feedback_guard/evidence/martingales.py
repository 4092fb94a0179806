"""Two tests of what a facet's members teach, as sums that may be looked at after every contribution.

Each adds the logarithm of a likelihood ratio for every member. Under its null the ratio's running product is a test
martingale or less: its mean never exceeds 1, whenever one stops, so the chance that it ever exceeds 1/a is at most a
(Ville 1939).

**Contradiction.** Do members contradict their content? For a member whose contradiction is r times as likely from a
liar as from an honest person (`Lesson.log_ratio`), a facet of which a share s contradicts gives it the likelihood
1 + s (r - 1). The null: s is a small share, drawn as `HONEST` says; honest people err, new words mislead the model that
reads the content, and a whole facet may share such an error. The alternative: s is one of `CONTRARY`.

**Shift.** Do members teach one class whatever they say? Of a class that fits a member's content with chance q, the
null says that it is meant with chance sigma(logit q + d), for one d of the facet: a word may speak for a class, and
the model that reads the content may not know it. d is drawn from a normal distribution as wide as what the trusted
set leaves open about the word (`Honest.width`): this forgives honest new vocabulary, which agrees with its content.
Besides, whoever is honest makes a mistake with a chance of `MISTAKES`, and teaches any other class then: without that,
two mistakes among the first five members of a common word would be a campaign. The alternative: the class is taught
with one of the chances `WHATEVER`.

**Potential.** How high the evidence for a class could be by now follows from what members say, whatever they teach: as
high as if all had taught it. A shift test whose potential is low cannot convince anybody, so it need not count among
the many that are looked at. Given all contents, the ratio has a mean of at most 1 under the null, so choosing tests by
their contents is free.

The shares, shifts and chances that are named here, and the arithmetic, stand in `counting`.

What the nulls assume: the trusted set's chances hold for honest members (but for s and d), members err independently of
each other given s and d, and no more of them make a mistake than `MISTAKES`.

References
----------
Ville, J. (1939). Étude critique de la notion de collectif.
Ramdas, A., Grünwald, P., Vovk, V., Shafer, G. (2023). Game-theoretic statistics and safe anytime-valid inference.
Statistical Science 38.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from feedback_guard.evidence import counting
from feedback_guard.evidence.counting import MOST_SHIFT, SHARES, SHIFTS, WHATEVER
from feedback_guard.signals.lesson import ENOUGH, LEAST_CHANCE

Floats = NDArray[np.float64]
Chances = TypeVar("Chances", float, NDArray[np.float64])

MISTAKES: Final = 0.05
"""Share of honest contributions that teach another class than their author means. Of vetted ones hardly any do, so the
trusted set cannot tell."""
SHIFT_WIDTH: Final = 0.6
"""Standard deviation of the shift of a phrase that the trusted set does not know. On 5,000 sentences of films without
poison, and a trusted set of 1,000, words, pairs and shapes had 0.7, 0.6 and 0.5 (the likeliest normal distribution)."""
MANY_OF_A_CLASS: Final = 56
"""Trusted contributions of a class below which the shifts are wider, and so they are below `lesson.ENOUGH` in all: the
variance grows as the number falls. On questions of bank customers, words, pairs and shapes had 1.2, 1.0 and 0.6 with
two classes and a trusted set of 300, and phrases 1.25 with four to thirteen questions of a class."""
WIDEST: Final = 2.0
"""The most that the standard deviation may be."""
INFORMATION: Final = 0.15
"""What one trusted contribution with the word says about its shift: a little below the most that it can, 1/4."""
_MOST_TRUSTED: Final = 4_095
_SPACING: Final = np.log(np.gradient(SHIFTS))


def contradiction_step(log_ratio: float) -> Floats:
    """What one member adds to a facet's log-likelihoods, shape (len(SHARES),).

    Parameters
    ----------
    log_ratio
        `Lesson.log_ratio`.
    """
    return np.asarray(np.log1p(SHARES * np.expm1(log_ratio)), dtype=np.float64)


def contradiction_evidence(sums: Floats) -> Floats:
    """Logarithm of the e-value of facets, from their summed steps of shape (n, len(SHARES)).

    Examples
    --------
    >>> liar, honest = (np.sum([contradiction_step(r)] * 12, axis=0) for r in (1.5, -1.5))
    >>> [bool(value > 3) for value in contradiction_evidence(np.stack([liar, honest]))]
    [True, False]
    """
    return counting.contradiction_evidence(sums)


def contrary_share(sums: Floats) -> Floats:
    """Likeliest share of contradictions in each facet, one of `SHARES`."""
    return np.asarray(SHARES[np.argmax(sums, axis=1)], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Honest:
    """What is expected of honest people who choose among classes.

    Parameters
    ----------
    n_classes
        How many there are to choose from.
    width
        Standard deviation of the shift of a phrase that the trusted set does not know.

    Examples
    --------
    >>> [round(Honest.of(*known).width, 2) for known in ((2, 5_000), (2, 300), (77, 2_310))]
    [0.6, 1.1, 0.82]
    >>> Honest(2, 0.6).erring(np.array([0.0, 1.0])).tolist()
    [0.05, 0.95]
    """

    n_classes: int
    width: float

    @classmethod
    @lru_cache(maxsize=16)
    def of(cls, n_classes: int, n_known: int) -> Self:
        """What is expected if the classes' model was fitted on so many trusted contributions."""
        few = max(1.0, ENOUGH / max(1, n_known), MANY_OF_A_CLASS * n_classes / max(1, n_known))
        return cls(n_classes, min(WIDEST, SHIFT_WIDTH * math.sqrt(few)))

    @property
    def most_shift(self) -> float:
        """Log-odds by which a phrase hardly ever speaks for a class by more: `counting.MOST_SHIFT`, and in proportion
        to the width more where few contributions are trusted.
        """
        return MOST_SHIFT * self.width / SHIFT_WIDTH

    @property
    def other(self) -> float:
        """Chance of teaching a certain class by mistake."""
        return MISTAKES / max(1, self.n_classes - 1)

    @property
    def sure(self) -> float:
        """By how much more likely whoever means a class teaches it."""
        return 1.0 - MISTAKES - self.other

    def erring(self, chances: Chances) -> Chances:
        """Chances of teaching a class, of any shape, from those of meaning it: some make mistakes."""
        return self.other + self.sure * chances

    def shifted(self, odds: Floats) -> Floats:
        """Chances of teaching a class, shape (n, len(SHIFTS)), from the log-odds of the content, shape (n,)."""
        return self.erring(1.0 / (1.0 + np.exp(-(odds[:, None] + SHIFTS))))

    def priors(self) -> Floats:
        """How likely each shift of a phrase and each alternative is beforehand, as a logarithm.

        Returns
        -------
        ndarray of shape (n, POTENTIAL)
            A row for each number of trusted contributions in which the phrase stands: the more, the narrower. With the
            last row even the smallest shift is out of the question, so it stands for all larger numbers.
        """
        return _priors(self.width)

    def prior(self, n_trusted: int) -> Floats:
        """How likely each shift of a phrase is beforehand, as a logarithm.

        Parameters
        ----------
        n_trusted
            In how many trusted contributions it stands: the more, the narrower.
        """
        return np.asarray(self.priors()[min(n_trusted, _MOST_TRUSTED), : len(SHIFTS)])


def shift_steps(chances: Floats, taught: NDArray[np.bool_], honest: Honest) -> Floats:
    """What one member adds for some classes, shape (n, N_SHIFT): to the log-likelihoods, nulls first; to the potential.

    Parameters
    ----------
    chances
        Calibrated chance of each class given the content, shape (n,).
    taught
        Which of them the member teaches, shape (n,).
    honest
        What is expected of honest members.
    """
    chances = np.minimum(np.maximum(chances, LEAST_CHANCE), 1.0 - LEAST_CHANCE)
    return counting.shift_steps(chances, taught, honest.other, honest.sure)


def shift_evidence(sums: Floats, n_trusted: NDArray[np.integer[Any]], honest: Honest) -> Floats:
    """Logarithm of the e-value of facets and classes, from their summed steps of shape (n, N_SHIFT).

    Parameters
    ----------
    n_trusted
        In how many trusted contributions each facet stands, shape (n,): the more, the less is forgiven.
    honest
        What is expected of honest members.
    """
    return counting.shift_evidence(sums, n_trusted.astype(np.int64), honest.priors())


def _log_mean(logs: Floats, weights: Floats | float) -> Floats:
    """Logarithm of the weighted sum of exponentials, row by row."""
    weighted = logs + weights
    top = np.maximum.reduce(weighted, axis=1, keepdims=True)
    return np.asarray((top + np.log(np.add.reduce(np.exp(weighted - top), axis=1, keepdims=True)))[:, 0])


@lru_cache(maxsize=16)
def _priors(width: float) -> Floats:
    """`Honest.priors`."""
    precision = 1.0 / width**2 + INFORMATION * np.arange(_MOST_TRUSTED + 1)
    prior = -0.5 * precision[:, None] * SHIFTS**2 + _SPACING
    nulls = prior - _log_mean(prior, 0.0)[:, None]
    return np.concatenate([nulls, np.full((len(nulls), len(WHATEVER)), -np.log(len(WHATEVER)))], axis=1)
