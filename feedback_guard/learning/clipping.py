"""How far rows that should not be there can move a model that learns by weighted, clipped steps.

A row moves the parameters by `size x weight x clip` at most, whatever stands in it. For a linear model with logistic
loss a step of a size up to `safe_size` brings two models no farther apart, so that later steps undo nothing of that
bound and add nothing to it: all rows of a contributor together move the *whole* training by at most what
`displacement` says. For losses that are not convex there is no such bound.

References
----------
Hardt, M., Recht, B., Singer, Y. (2016). Train faster, generalize better: stability of stochastic gradient descent.
ICML (updates that do not expand).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feedback_guard.errors import UsageError

Array = NDArray[np.floating[Any]]


def clipped(gradient: Array, clip: float) -> Array:
    """The gradient, shortened to a norm of `clip` if it is longer; its direction stays."""
    norm = float(np.linalg.norm(gradient))
    return gradient if norm <= clip else gradient * (clip / norm)


def step(theta: Array, gradient: Array, *, weight: float, size: float, clip: float) -> Array:
    """The parameters after learning from one row.

    Parameters
    ----------
    theta
        Parameters, shape (d,).
    gradient
        Of the row's loss there, without its weight: what is clipped must not depend on it.
    weight
        The row's weight in the snapshot, 0..1.
    size
        Step size.
    clip
        Longest gradient, in the parameters' norm. A smaller one bounds more and learns slower; the median length of
        the gradients of trusted rows at the start is a place to begin.

    Examples
    --------
    >>> step(np.zeros(2), np.array([30.0, 40.0]), weight=0.5, size=0.1, clip=1.0).round(9).tolist()
    [-0.03, -0.04]
    """
    return theta - size * weight * clipped(gradient, clip)


def displacement(weight: float, *, size: float, clip: float, passes: int = 1) -> float:
    """How far rows can move the parameters, added or left out: at most, and whatever they say.

    Parameters
    ----------
    weight
        Weight of all these rows together: of one contributor at most what the snapshot's caps leave her. Rows that are
        changed rather than added count twice, as they are and as they were.
    size, clip
        As `step` takes them; of several sizes the largest.
    passes
        How often training goes over the rows.

    Examples
    --------
    >>> displacement(25.0, size=0.01, clip=1.0, passes=3)
    0.75
    """
    if min(weight, size, clip, passes) < 0:
        raise UsageError("weight, step size, clip and passes are 0 or more")
    return size * clip * weight * passes


def safe_size(norm: float) -> float:
    """The largest step size at which logistic regression moves no two models apart.

    Parameters
    ----------
    norm
        Longest input, with the 1 of an intercept if there is one. Weights are at most 1.

    Examples
    --------
    >>> safe_size(2.0)
    2.0
    """
    if not norm > 0 or not math.isfinite(norm):
        raise UsageError(f"the longest input has a length above 0, not {norm}")
    return 8.0 / norm**2  # 2 over the smoothness, which is a quarter of the squared norm
