"""Planted members among honest ones: does a phrase have them, and which members are they?

**The test** of one phrase and class has the shift test's null (`martingales`): an honest word may speak for a class by
as much as the trusted set leaves open. Its alternatives are that all members teach the class with one of the chances
`WHATEVER`, or that one of the shares `CONTAMINATED` does whatever the content while the others follow it. Under the
null the likelihood ratio has a mean of at most 1, so one look finds it above 1/a with a chance of at most a (Markov).

**The members.** How many are planted is not known, nor by how much the honest ones speak for the class; every pair of
the two is as likely as what all members teach makes it.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedback_guard.evidence.counting import SHIFTS, WHATEVER
from feedback_guard.evidence.martingales import Honest

Floats = NDArray[np.float64]

CONTAMINATED: Final = np.array([0.05, 0.1, 0.2, 0.4, 0.8])
"""Shares of a phrase's members that teach a class whatever they say, if a campaign uses it."""
PLANTED: Final = np.array([0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
"""Shares of a phrase's members that may be planted, once it is believed."""
RATIOS: Final = np.linspace(-3.9, 3.9, 40)
"""Log-ratios that a member is let go below."""
SURE: Final = 0.98
"""Chance with which a planted contribution teaches what it is for."""


def phrase_evidence(
    chances: Floats, taught: NDArray[np.bool_], weights: NDArray[np.floating], n_trusted: int, expected: Honest
) -> float:
    """Logarithm of the e-value of one phrase and class: the shift test's null, against planted members.

    Parameters
    ----------
    chances
        Of the class given the content of each member, shape (n,).
    taught
        Which members teach it.
    weights
        1/n for the n-th near copy of a text.
    n_trusted
        In how many trusted contributions the phrase stands.
    expected
        What is expected of honest members.

    Examples
    --------
    >>> chances, whole, expected = np.full(12, 0.3), np.ones(12), Honest(2, 0.6)
    >>> planted, honest = (np.arange(12) < n for n in (12, 4))
    >>> [phrase_evidence(chances, taught, whole, 0, expected) > 4.0 for taught in (planted, honest)]
    [True, False]
    """
    shifted = expected.shifted(np.log(chances / (1.0 - chances)))
    whatever = np.broadcast_to(WHATEVER, (len(chances), len(WHATEVER)))
    own = expected.erring(chances)[:, None]
    mixed = own + CONTAMINATED * (1.0 - own)
    whole = np.clip(np.concatenate([shifted, whatever, mixed], axis=1), 1e-4, 1.0 - 1e-4)
    logs = np.log(np.where(taught[:, None], whole, 1.0 - whole)).T @ np.asarray(weights, dtype=np.float64)
    prior = expected.prior(n_trusted)
    n, m = len(SHIFTS), len(SHIFTS) + len(WHATEVER)
    planted = np.concatenate([logs[n:m] - math.log(2 * len(WHATEVER)), logs[m:] - math.log(2 * len(CONTAMINATED))])
    return float(np.logaddexp.reduce(planted) - np.logaddexp.reduce(logs[:n] + prior))


def planted_from(
    chances: Floats, taught: NDArray[np.bool_], weights: NDArray[np.floating], n_trusted: int, expected: Honest
) -> float:
    """From which log-ratio on a member of a phrase that teaches a class is more likely planted than honest.

    Whoever plants a phrase does not ask whether a text agrees with what it is to teach, so an agreeing one may be
    planted as well. How many of the members are planted, and by how much the honest ones speak for the class, is not
    known: every pair of `PLANTED` and `martingales.SHIFTS` is as likely as what all members teach makes it.

    Parameters
    ----------
    chances, taught, weights, n_trusted, expected
        As for `phrase_evidence`.

    Returns
    -------
    float
        Infinite if no member is.
    """
    honest = expected.shifted(np.log(chances / (1.0 - chances)))
    mixed = PLANTED[:, None, None] * SURE + (1.0 - PLANTED[:, None, None]) * honest
    mixed = np.clip(mixed, 1e-4, 1.0 - 1e-4)
    logs = np.log(np.where(taught[:, None], mixed, 1.0 - mixed)).transpose(0, 2, 1) @ np.asarray(weights, np.float64)
    logs += expected.prior(n_trusted)
    likely = np.exp(logs - logs.max())
    likely /= likely.sum()
    own = expected.shifted(-RATIOS)[:, None]
    share = PLANTED[:, None]
    chance = (likely * share * SURE / (share * SURE + (1.0 - share) * own)).sum(axis=(1, 2))
    enough = np.flatnonzero(chance >= 0.5)
    return float(RATIOS[enough[0]]) if len(enough) else math.inf
