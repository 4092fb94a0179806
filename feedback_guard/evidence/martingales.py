"""Two tests of what a facet's members teach, as sums that may be looked at after every contribution.

Each adds the logarithm of a likelihood ratio for every member. Under its null the ratio's running product is a test
martingale or less: its mean never exceeds 1, whenever one stops, so the chance that it ever exceeds 1/a is at most a
(Ville 1939).

**Contradiction.** Do members contradict their content? For a member whose contradiction is r times as likely from a
liar as from an honest person (`Lesson.log_ratio`), a facet of which a share s contradicts gives it the likelihood
1 + s (r - 1). The null: s is a small share, drawn as `HONEST` says; honest people err, new words mislead the model that
reads the content, and a whole facet may share such an error. The alternative: s is one of `CONTRARY`.

**Shift.** Do members teach one class whatever they say? Of a class that fits a member's content with chance q, the
null says that it is taught with chance sigma(logit q + d), for one d of the facet: a word may speak for a class, and
the model that reads the content may not know it. d is drawn from a normal distribution as wide as what the trusted
set leaves open about the word, and is never beyond `MOST_SHIFT`: this forgives honest new vocabulary, which agrees with
its content. The alternative: the class is taught with one of the chances `WHATEVER`.

What the nulls assume: the trusted set's chances hold for honest members (but for s and d), and members err
independently of each other given s and d.

References
----------
Ville, J. (1939). Étude critique de la notion de collectif.
Ramdas, A., Grünwald, P., Vovk, V., Shafer, G. (2023). Game-theoretic statistics and safe anytime-valid inference.
Statistical Science 38.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from feedback_guard.signals.lesson import LEAST_CHANCE

Floats = NDArray[np.float64]

HONEST: Final = np.array([0.01, 0.05, 0.10, 0.15, 0.20, 0.30])
"""Shares of contradictions in honest facets."""
HONEST_PRIOR: Final = np.log(np.array([0.45, 0.30, 0.14, 0.06, 0.035, 0.015]))
CONTRARY: Final = np.array([0.50, 0.70, 0.90, 0.98])
"""Shares of contradictions in facets that somebody uses to teach falsehoods."""
SHARES: Final = np.concatenate([HONEST, CONTRARY])
MOST_SHIFT: Final = 1.5
"""Log-odds by which an honest word may speak for a class at most: 4.5 to 1."""
SHIFTS: Final = np.linspace(-MOST_SHIFT, MOST_SHIFT, 13)
SHIFT_WIDTH: Final = 0.5
"""Standard deviation of the shift of a word that the trusted set does not know."""
INFORMATION: Final = 0.15
"""What one trusted contribution with the word says about its shift: a little below the most that it can, 1/4."""
WHATEVER: Final = np.array([0.80, 0.95])
"""Chances with which a class is taught, whatever the content, by somebody who plants a trigger."""
N_SHIFT: Final = len(SHIFTS) + len(WHATEVER)
_FEWEST: Final = 1e-4
_LEAST_LOGIT: Final = np.log(_FEWEST / (1.0 - _FEWEST))
_WHATEVER_TAUGHT: Final = np.log(WHATEVER)
_WHATEVER_NOT: Final = np.log1p(-WHATEVER)


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
    return _log_ratio(sums + _CONTRADICTION_PRIOR, len(HONEST))


def contrary_share(sums: Floats) -> Floats:
    """Likeliest share of contradictions in each facet, one of `SHARES`."""
    return np.asarray(SHARES[np.argmax(sums, axis=1)], dtype=np.float64)


def shift_steps(chances: Floats, taught: NDArray[np.bool_]) -> Floats:
    """What one member adds to the log-likelihoods of some classes, shape (n, N_SHIFT): nulls first.

    Parameters
    ----------
    chances
        Calibrated chance of each class given the content, shape (n,).
    taught
        Which of them the member teaches, shape (n,).
    """
    chances = np.minimum(np.maximum(chances, LEAST_CHANCE), 1.0 - LEAST_CHANCE)
    logits = np.log(chances / (1.0 - chances))[:, None] + SHIFTS
    np.minimum(np.maximum(logits, _LEAST_LOGIT, out=logits), -_LEAST_LOGIT, out=logits)
    np.negative(logits, out=logits, where=taught[:, None])
    steps = np.empty((len(chances), N_SHIFT))
    np.negative(np.log1p(np.exp(logits, out=logits), out=logits), out=steps[:, : len(SHIFTS)])
    steps[:, len(SHIFTS) :] = _WHATEVER_NOT
    steps[taught, len(SHIFTS) :] = _WHATEVER_TAUGHT
    return steps


def shift_evidence(sums: Floats, n_trusted: NDArray[np.integer[Any]]) -> Floats:
    """Logarithm of the e-value of facets and classes, from their summed steps of shape (n, N_SHIFT).

    Parameters
    ----------
    n_trusted
        In how many trusted contributions each facet stands, shape (n,): the more, the less is forgiven.
    """
    return _log_ratio(sums + _PRIORS[np.minimum(n_trusted, len(_PRIORS) - 1)], len(SHIFTS))


def _log_ratio(weighted: Floats, n: int) -> Floats:
    """Logarithm of the sum of the exponentials from the n-th on less that of the first n, row by row."""
    top = np.maximum.reduceat(weighted, (0, n), axis=1)
    weighted[:, :n] -= top[:, :1]
    weighted[:, n:] -= top[:, 1:]
    np.exp(weighted, out=weighted)
    total = np.empty_like(top)
    np.add.reduce(weighted[:, :n], axis=1, out=total[:, 0])
    np.add.reduce(weighted[:, n:], axis=1, out=total[:, 1])
    top += np.log(total, out=total)
    return np.asarray(top[:, 1] - top[:, 0])


def _log_mean(logs: Floats, weights: Floats | float) -> Floats:
    """Logarithm of the weighted sum of exponentials, row by row."""
    weighted = logs + weights
    top = np.maximum.reduce(weighted, axis=1, keepdims=True)
    return np.asarray((top + np.log(np.add.reduce(np.exp(weighted - top), axis=1, keepdims=True)))[:, 0])


def _priors() -> Floats:
    """How likely each shift and each alternative is beforehand, as a logarithm, by the number of trusted contributions.

    With the last row even the smallest shift is out of the question, so it stands for all larger numbers.
    """
    precision = 1.0 / SHIFT_WIDTH**2 + INFORMATION * np.arange(4_096)
    prior = -0.5 * precision[:, None] * SHIFTS**2
    nulls = prior - _log_mean(prior, 0.0)[:, None]
    return np.concatenate([nulls, np.full((len(nulls), len(WHATEVER)), -np.log(len(WHATEVER)))], axis=1)


_CONTRADICTION_PRIOR: Final = np.concatenate([HONEST_PRIOR, np.full(len(CONTRARY), -np.log(len(CONTRARY)))])
_PRIORS: Final = _priors()
