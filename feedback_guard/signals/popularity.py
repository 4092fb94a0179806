"""How often honest people send almost the same text, and how surprising a number of them is.

Honest texts repeat: "where is my card" comes from many people, most texts from one. Let q be the probability that
another honest contribution is almost the same as a given text. Over texts, q is taken to follow a Beta(a, b)
distribution. The trusted set says which (a, b) are plausible, and, by counting m almost equal texts among its n, what
is plausible for this text: Beta(a + m, b + n - m). The number of almost equal ones among N further contributions is
then beta-binomial, and p = P(K >= k).

The trusted set rarely pins (a, b) down: p is the largest over all pairs whose likelihood is within a factor of about
20 of the best. A text that is popular among the trusted is forgiven, one that nobody trusted ever sent is not.

References
----------
Skellam, J. G. (1948). A probability distribution derived from the binomial distribution by regarding the probability
of success as variable between the sets of trials. JRSS B 10.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SMALLEST = 1e-9
"""Smallest p-value that is given: below it, rounding decides."""
PLAUSIBLE = 3.0
"""Pairs with a log-likelihood within this of the best are plausible (about 95 % for two parameters)."""
_SHAPES = np.geomspace(0.003, 3.0, 13)
_MEANS = np.geomspace(1e-8, 0.3, 61)


@dataclass(frozen=True, slots=True)
class Popularity:
    """Plausible pairs of the Beta distribution of q: for each shape a, the largest b that need be feared.

    Parameters
    ----------
    a, b
        Shape (n_pairs,).
    """

    a: Floats
    b: Floats

    @classmethod
    def fit(cls, alike: NDArray[np.int64], among: NDArray[np.int64]) -> Self:
        """Find the plausible pairs.

        Parameters
        ----------
        alike
            For each trusted text, how many of the others are almost the same.
        among
            How many others there were, each at least 1.
        """
        from scipy.special import betaln

        pairs, times = np.unique(np.stack([alike, among]), axis=1, return_counts=True)
        m, n = pairs[0][:, None, None].astype(np.float64), pairs[1][:, None, None].astype(np.float64)
        a = _SHAPES[:, None]
        b = a * (1.0 - _MEANS) / _MEANS
        likelihood = np.tensordot(times.astype(np.float64), betaln(a + m, b + n - m) - betaln(a, b), axes=(0, 0))
        plausible = likelihood >= likelihood.max() - PLAUSIBLE
        rows = np.flatnonzero(plausible.any(axis=1))
        largest_mean = _MEANS[[int(np.flatnonzero(plausible[row])[-1]) for row in rows]]
        shapes = _SHAPES[rows]
        return cls(shapes, shapes * (1.0 - largest_mean) / largest_mean)

    def expected(self, m: int, n: int, others: int) -> float:
        """How many almost equal texts are to be expected among `others`, at most."""
        return float(others * ((self.a + m) / (self.a + self.b + n)).max())

    def p_value(self, k: int, others: int, m: int, n: int) -> float:
        """P(K >= k): so many or more of `others` contributions being almost the same, for the worst plausible pair.

        Parameters
        ----------
        k
            How many were, 0..others.
        others
            How many contributions there were.
        m, n
            How many of the n trusted texts are almost the same.
        """
        if k <= 0:
            return 1.0
        alpha, beta = self.a + m, self.b + (n - m)
        j = np.arange(k - 1, dtype=np.float64)
        steps = np.log((others - j) / (j + 1.0)) + np.log((alpha[:, None] + j) / (beta[:, None] + others - j - 1.0))
        first = np.array([_log_none(x, y, others) for x, y in zip(alpha.tolist(), beta.tolist(), strict=True)])
        logs = np.concatenate([first[:, None], first[:, None] + np.cumsum(steps, axis=1)], axis=1)
        fewer = np.exp(logs).sum(axis=1)
        return min(1.0, max(SMALLEST, float((1.0 - fewer).max())))


def _log_none(alpha: float, beta: float, n: int) -> float:
    """Logarithm of the beta-binomial probability of none among n."""
    return math.lgamma(beta + n) - math.lgamma(beta) + math.lgamma(alpha + beta) - math.lgamma(alpha + beta + n)
