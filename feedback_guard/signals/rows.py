"""Vectors of an observation, checked before any arithmetic: finite, of the right shape, of length 1."""

from __future__ import annotations

import numpy as np

from feedback_guard.embedding.interface import Vectors
from feedback_guard.errors import SignalError
from feedback_guard.signals.interface import Observation

TOLERANCE = 0.01
"""How far the length of a vector may be from 1; rounding to half precision moves it by less than 0.001."""


def unit_rows(observation: Observation, field: str, dimension: int | None = None) -> Vectors:
    """The vectors of one text.

    Parameters
    ----------
    observation
        What is looked at.
    field
        Name of the text.
    dimension
        Length that the vectors must have; None takes any.

    Returns
    -------
    ndarray of shape (n_windows, d), float32
        Not a copy: do not write to it.

    Raises
    ------
    SignalError
        If they are missing, misshapen, not finite or not unit vectors: nothing can be said about such a text.
    """
    rows = observation.vectors.get(field)
    if rows is None:
        raise SignalError(f"{field} has no vectors; it was not embedded")
    if rows.ndim != 2 or not rows.shape[0] or not rows.shape[1] or dimension not in (None, rows.shape[1]):
        raise SignalError(f"{field} has vectors of shape {rows.shape}, not (1 or more, {dimension or 'd'})")
    if len(rows) == 1:  # nearly always, and several times as fast this way
        row = rows[0].astype(np.float64)
        fine = abs(float(row.dot(row)) - 1.0) <= 2 * TOLERANCE
    else:
        lengths = np.einsum("ij,ij->i", rows, rows, dtype=np.float64).tolist()
        fine = all(abs(length - 1.0) <= 2 * TOLERANCE for length in lengths)
    if not fine:
        raise SignalError(f"{field} has vectors that are not finite unit vectors; the embedder is broken")
    return rows
