"""E-detectors: alarms on a stream that may be looked at after every observation and still keep their run length.

A channel bets against "the stream still is what it was". A bet is a number e >= 0 whose mean, given the past, is at
most 1 as long as that is true. The detector of Shiryaev-Roberts type

    M_t = (M_{t-1} + 1) * e_t,    M_0 = 0

then has E[M_t - t] <= 0 at every stopping time, so the average run length until M first reaches A is at least A.
Nothing else is assumed about the data. A weighted average of such channels is one again. There is no window, no guess
at when a change began, and a quiet past does not hold the evidence back: M never falls below 0.

Each channel here bets that one event (falling into a region, lying farther out than some distance) has become more
frequent. How frequent it is on the honest stream is known from a finite calibration sample only, so an upper
confidence bound takes its place. Without that, luck in the calibration sample would look like drift, and every long
stream would raise the alarm. With it, the run length holds for all calibration samples but a stated share.

Everything is in logarithms of M + 1, which are finite and at least 0.

References
----------
Shin, J., Ramdas, A., Rinaldo, A. (2022). E-detectors: a nonparametric framework for sequential change detection.
arXiv:2203.03532.
Clopper, C. J., Pearson, E. S. (1934). The use of confidence or fiducial limits. Biometrika 26.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from feedback_guard.compiled import compiled

Floats = NDArray[np.float64]

GROWTHS = (0.03, 0.1, 0.25, 0.5)
"""Alternatives that are bet on: by which part of the rest of the stream an event has grown. Small ones find a small
change late, large ones a large change early; the average is nearly as quick as the best of them."""
LEVEL_CAP = 60.0
"""Most that log(M + 1) may reach. Cutting M is always valid, and a long alarm does not grow for ever."""


def upper_bounds(counts: NDArray[np.int64], n: int, error: float) -> Floats:
    """Upper Clopper-Pearson bounds on the frequencies of several events, all true at once but for a share `error`.

    Valid for events that were fixed before the calibration sample was looked at, and for events "more than v" where v
    is a value of that sample (the coverage of order statistics, Wilks 1941).

    Parameters
    ----------
    counts
        How many of the calibration sample fell into each event.
    n
        Size of the calibration sample.
    error
        Share of calibration samples for which a bound may be too low, 0..1.

    Examples
    --------
    >>> upper_bounds(np.array([0, 50, 100]), 100, 0.05).round(3).tolist()
    [0.04, 0.61, 1.0]
    """
    from scipy.stats import beta

    high = beta.isf(error / max(len(counts), 1), counts + 1, np.maximum(n - counts, 1))
    return np.where(counts >= n, 1.0, high).astype(np.float64)


def growth_bets(bounds: Floats) -> tuple[Floats, Floats]:
    """Logarithms of the bets that events have become more frequent than their bounds.

    Against an alternative q above the bound b it is the likelihood ratio: q/b when the event happens and (1-q)/(1-b)
    when it does not. Its mean is at most 1 for every frequency up to b.

    Returns
    -------
    tuple of two ndarrays of shape (n_events, len(GROWTHS))
        What the bets give when the event happens, and when it does not.

    Examples
    --------
    >>> happens, fails = growth_bets(np.array([0.2]))
    >>> mean = 0.2 * np.exp(happens) + 0.8 * np.exp(fails)
    >>> mean.round(12).tolist()
    [[1.0, 1.0, 1.0, 1.0]]
    """
    base = np.minimum(bounds, 1.0 - 1e-9)[:, None]
    raised = base + np.array(GROWTHS) * (1.0 - base)
    return np.log(raised / base), np.log((1.0 - raised) / (1.0 - base))


@compiled("float64(float64[:, :], boolean[:], float64[:, :], float64[:, :])")
def step(levels: Floats, events: NDArray[np.bool_], happens: Floats, fails: Floats) -> float:
    """Advance channels by one observation.

    Parameters
    ----------
    levels
        log(M + 1) of each channel, shape (n_events, n_bets); zeros at the start. Changed here.
    events
        Which events happened, shape (n_events,).
    happens, fails
        As `growth_bets` returned them.

    Returns
    -------
    float
        The highest level.

    Examples
    --------
    >>> levels = np.zeros((2, 1))
    >>> highest = step(levels, np.array([True, False]), np.log([[3.0], [3.0]]), np.zeros((2, 1)))
    >>> levels.round(3).tolist(), round(highest, 3)
    ([[1.386], [0.693]], 1.386)
    """
    highest = 0.0
    for i in range(levels.shape[0]):
        bets = happens[i] if events[i] else fails[i]
        for j in range(levels.shape[1]):
            log_m = levels[i, j] + bets[j]
            level = max(log_m, 0.0) + math.log1p(math.exp(-abs(log_m)))
            levels[i, j] = min(level, LEVEL_CAP)
            highest = max(highest, levels[i, j])
    return highest


def average(levels: Floats, weights: Floats) -> Floats:
    """log(M + 1) of the weighted average of the channels on the last axis; the weights add up to 1.

    Examples
    --------
    >>> float(average(np.log([1.0, 5.0]), np.array([0.5, 0.5])).round(6)) == round(float(np.log(3.0)), 6)
    True
    """
    top = levels.max(axis=-1, keepdims=True)
    mixed: Floats = top[..., 0] + np.log(np.exp(levels - top) @ weights)
    return np.maximum(mixed, 0.0)
