"""Regions of embedding space: where the trusted set lies, cut into a few parts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from feedback_guard.embedding.interface import Vectors

ROUNDS = 25
"""Iterations of Lloyd's algorithm; the shares of the regions matter, not the last decimal of their centres."""


def make_regions(points: Vectors, k: int, rng: np.random.Generator) -> Vectors:
    """Centres of k regions of unit vectors, by spherical k-means with farthest-first seeding by chance (k-means++).

    Parameters
    ----------
    points
        Unit vectors, shape (n, d), n >= k.
    k
        Number of regions.
    rng
        Where chance comes from: the same generator gives the same centres.

    Returns
    -------
    ndarray of shape (k, d), float32
        Unit vectors.

    References
    ----------
    Arthur, D., Vassilvitskii, S. (2007). k-means++. SODA. Dhillon, I. S., Modha, D. S. (2001). Concept
    decompositions for large sparse text data using clustering. Machine Learning 42.
    """
    from scipy.sparse import csr_matrix

    centres, exact, one_each = _seeds(points, k, rng), points.astype(np.float64), np.ones(len(points))
    for _ in range(ROUNDS):
        nearest = region_of(points, centres)
        # Row by row in order, as `np.add.at` does it, in a fiftieth of the time.
        totals = csr_matrix((one_each, (nearest, np.arange(len(points)))), shape=(k, len(points))) @ exact
        lengths = np.linalg.norm(totals, axis=1, keepdims=True)
        moved = np.where(lengths > 1e-9, totals / np.maximum(lengths, 1e-9), centres).astype(np.float32)
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres


def region_of(points: Vectors, centres: Vectors) -> NDArray[np.intp]:
    """Index of the nearest centre of each point, shape (n,)."""
    return np.asarray(np.argmax(points @ centres.T, axis=1))


def _seeds(points: Vectors, k: int, rng: np.random.Generator) -> Vectors:
    chosen = [int(rng.integers(len(points)))]
    best = points @ points[chosen[0]]
    for _ in range(k - 1):
        distance = np.maximum(1.0 - best.astype(np.float64), 0.0)
        total = float(distance.sum())
        if total > 0.0:
            chosen.append(int(rng.choice(len(points), p=distance / total)))
        else:  # every point coincides with a seed
            chosen.append(int(rng.integers(len(points))))
        best = np.maximum(best, points @ points[chosen[-1]])
    return points[chosen].astype(np.float32)
