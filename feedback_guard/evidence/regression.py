"""The arithmetic of the learner that follows the stream, compiled: see `learners`."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedback_guard.compiled import compiled

Floats = NDArray[np.float64]
Weights = NDArray[np.float32]
Slots = NDArray[np.int64]
Keys = NDArray[np.uint64]

_STRETCH: Final = np.uint64(0xD6E8FEB86659FD93)
_CLASS: Final = np.uint64(0xBF58476D1CE4E5B9)
_LEAST_OPEN: Final = 0.01
"""Least variance of what is taught: where the learner is sure, a contribution moves it no further than this lets it."""


@compiled()
def _slot(key: np.uint64, of: int, shift: np.uint64) -> np.int64:
    return np.int64(((key ^ (np.uint64(of + 1) * _CLASS)) * _STRETCH) >> shift)


@compiled("void(uint64[:], int64[:], uint64, int64[:])")
def place_pairs(keys: Keys, classes: Slots, shift: np.uint64, slots: Slots) -> None:
    """Find where the weights of phrases are, each for a class of its own; otherwise like `place`."""
    for i in range(len(keys)):
        slots[i] = _slot(keys[i], classes[i], shift)


@compiled("void(uint64[:], int64[:], uint64, int64[:, :])")
def place(keys: Keys, classes: Slots, shift: np.uint64, slots: Slots) -> None:
    """Find where the weights of phrases for classes are.

    Parameters
    ----------
    keys, classes
        Shapes (n,) and (m,).
    shift
        64 less the logarithm to base 2 of the number of weights.
    slots
        Takes the places, shape (m, n).
    """
    for row in range(len(classes)):
        for i in range(len(keys)):
            slots[row, i] = _slot(keys[i], classes[row], shift)


@compiled("void(float32[:, :], int64[:, :], float32[:, :, :], float64[:])")
def read(weights: Weights, slots: Slots, found: Weights, sums: Floats) -> None:
    """Read the weights in some places.

    Parameters
    ----------
    weights
        Mean and spread of all of them.
    slots
        Shape (m, n).
    found
        Takes mean and spread of each, shape (m, n, 2).
    sums
        Takes the sums of the means, shape (m,).
    """
    for row in range(slots.shape[0]):
        sums[row] = 0.0
        for i in range(slots.shape[1]):
            found[row, i, 0] = weights[slots[row, i], 0]
            found[row, i, 1] = weights[slots[row, i], 1]
            sums[row] += found[row, i, 0]


@compiled("void(float32[:, :], uint64[:], int64[:], int64[:, :], uint64, float64[:, :])")
def read_texts(weights: Weights, keys: Keys, ends: Slots, classes: Slots, shift: np.uint64, sums: Floats) -> None:
    """Read the weights of many texts' phrases for some classes of each.

    Parameters
    ----------
    weights
        Mean and spread of all of them.
    keys, ends
        Phrases of all texts, one after the other, and where those of each of n texts end.
    classes
        Shape (n, m), below 0 for none.
    shift
        As for `place`.
    sums
        Takes the sums of the means, shape (n, m); 0 for no class.
    """
    begin = 0
    for text in range(len(ends)):
        for column in range(classes.shape[1]):
            sums[text, column] = 0.0
            if classes[text, column] >= 0:
                for i in range(begin, ends[text]):
                    sums[text, column] += weights[_slot(keys[i], classes[text, column], shift), 0]
        begin = ends[text]


@compiled(
    "UniTuple(float64, 2)(float32[:, :], int32[:], int64[:, :], float32[:, :, :], int64[:], float64[:], float64[:], "
    "int64, int64, float64, float64)"
)
def learn(
    weights: Weights,
    counts: NDArray[np.int32],
    slots: Slots,
    before: Weights,
    known: NDArray[np.int64],
    chances: Floats,
    parted: Floats,
    taught: int,
    nth: int,
    precision: float,
    information: float,
) -> tuple[float, float]:
    """Learn from a contribution: a step of logistic regression for each class that it was read for.

    Parameters
    ----------
    weights, counts
        Mean and spread of all weights, and how many contributions taught each; changed here.
    slots, before
        Where those of the contribution's phrases are, shape (m, n), and what they are, shape (m, n, 2).
    known
        In how many trusted contributions each phrase stands, shape (n,).
    chances, parted
        What the anchored learner says of each class, and by how many log-odds the other one differs, shape (m,).
    taught
        Row of the class that is taught.
    nth
        It is the n-th near copy.
    precision, information
        One over the variance that a weight has beforehand, and what each trusted contribution adds to it.

    Returns
    -------
    tuple of two float
        By how many log-odds the learner moved towards what is taught, and the greatest weight now.
    """
    moved, loudest = 0.0, -np.inf
    n_classes, n = slots.shape
    spreads = np.empty(n)
    for row in range(n_classes):
        total = 0.0
        for i in range(n):
            spread = np.float64(before[row, i, 1])
            spreads[i] = 1.0 / (precision + information * known[i]) if spread == 0.0 else spread
            total += spreads[i]
        odds = math.log(chances[row] / (1.0 - chances[row])) + parted[row]
        p = 1.0 / (1.0 + math.exp(-odds))
        open_ = max(p * (1.0 - p), _LEAST_OPEN)
        off = ((1.0 if row == taught else 0.0) - p) / open_
        for i in range(n):
            gain = spreads[i] / (1.0 / open_ + total) / nth
            mean = before[row, i, 0] + np.float32(gain * off)
            weights[slots[row, i], 0] = mean
            weights[slots[row, i], 1] = spreads[i] * (1.0 - gain)
            loudest = max(loudest, mean)
            if row == taught:
                moved += gain * off
                counts[slots[row, i]] += 1
    return moved, loudest
