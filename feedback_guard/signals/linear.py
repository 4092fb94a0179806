"""A linear classifier on dense and hashed features together: fitted once with SciPy, scored with numpy alone.

Multinomial logistic regression with an L2 penalty, the same model as scikit-learn's `LogisticRegression`. The dense
part (vectors) and the sparse part (n-grams) keep their own matrices, which makes fitting several times faster than
one sparse matrix of both, and the weights are plain arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from feedback_guard.compiled import compiled
from feedback_guard.errors import BaselineError
from feedback_guard.signals.interface import Array

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Floats = NDArray[np.float32]

STRENGTH = 10.0
"""Inverse strength of the penalty (scikit-learn's C). Between 3 and 30 little changes."""
MAX_STEPS = 100
"""Most steps of the optimiser; what is gained after them is below what another trusted set would change."""


@dataclass(frozen=True, slots=True)
class Linear:
    """Weights of a fitted classifier.

    Parameters
    ----------
    dense
        Weights of the dense features, shape (n_classes, d).
    sparse
        Weights of the hashed features, shape (n_buckets, n_classes); no bucket if there are none. A bucket is a row,
        so that the few that a text falls into are read without touching the others.
    intercept
        Shape (n_classes,).
    """

    dense: Floats
    sparse: Floats
    intercept: Floats

    def logits(self, rows: Floats, buckets: NDArray[np.int64], weights: Floats) -> NDArray[np.float64]:
        """Unnormalised log-probabilities.

        Parameters
        ----------
        rows
            Dense features, shape (n_windows, d).
        buckets, weights
            Hashed features that all rows share: which, and how strong; shape (m,) each.

        Returns
        -------
        ndarray of shape (n_windows, n_classes), float64
        """
        shared = self.intercept.astype(np.float64)
        if len(buckets):
            shared += weights @ self.sparse.take(buckets, axis=0)
        return np.asarray(rows @ self.dense.T + shared, dtype=np.float64)

    def arrays(self, prefix: str) -> dict[str, Array]:
        """The weights as named arrays."""
        return {f"{prefix}.dense": self.dense, f"{prefix}.sparse": self.sparse, f"{prefix}.intercept": self.intercept}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], prefix: str) -> Self:
        """Read what `arrays` wrote; the arrays are copied.

        Raises
        ------
        BaselineError
            If they do not fit each other, or are not finite.
        """
        parts = [np.array(arrays[f"{prefix}.{name}"], dtype=np.float32) for name in ("dense", "sparse", "intercept")]
        dense, sparse, intercept = parts
        fits = dense.ndim == sparse.ndim == 2 and intercept.shape == (len(dense),) == sparse.shape[1:]
        if not fits or not all(np.isfinite(part).all() for part in parts):
            raise BaselineError(f"the weights of {prefix} are of no one classifier; build the baseline again")
        return cls(dense, sparse, intercept)


@compiled("float64[::1](float64[:, ::1], int64)")
def log_odds_against(logits: NDArray[np.float64], taught: int) -> NDArray[np.float64]:
    """How much better the best other class fits than the one that is taught, as log-odds; one value per row.

    Examples
    --------
    >>> log_odds_against(np.asarray([[2.0, 5.0, 1.0]]), 0).tolist()
    [3.0]
    """
    against = np.empty(len(logits))
    for row in range(len(logits)):
        best = -np.inf
        for j in range(logits.shape[1]):
            if j != taught:
                best = max(best, logits[row, j])
        against[row] = best - logits[row, taught]
    return against


def fit_linear(
    dense: Floats,
    sparse: csr_matrix | None,
    classes: NDArray[np.int64],
    n_classes: int,
    *,
    intercept: bool = True,
    strength: float = STRENGTH,
) -> Linear:
    """Fit by L-BFGS.

    Parameters
    ----------
    dense
        Shape (n, d).
    sparse
        Hashed features, a SciPy CSR matrix of shape (n, n_buckets), or None.
    classes
        Index of the class of each row.
    n_classes
        How many classes there are; one without a row gets a low probability everywhere.
    intercept
        False forces a decision of 1/2 at the origin, for classifiers of differences.
    strength
        Inverse strength of the penalty.

    Raises
    ------
    BaselineError
        If the weights do not come out finite.

    References
    ----------
    Liu, D. C., Nocedal, J. (1989). On the limited memory BFGS method. Mathematical Programming 45, 503-528.
    """
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    n, d = dense.shape
    buckets = 0 if sparse is None else sparse.shape[1]
    shape = (n_classes, d + buckets + 1)
    rows = np.arange(n)

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = flat.reshape(shape).astype(np.float32)
        logits = dense @ weights[:, :d].T
        if sparse is not None:
            logits = logits + sparse @ np.ascontiguousarray(weights[:, d:-1].T)
        if intercept:
            logits = logits + weights[:, -1]
        logits = logits.astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        odds = np.exp(logits)
        total = odds.sum(axis=1, keepdims=True)
        cost = float((np.log(total[:, 0]) - logits[rows, classes]).mean())
        error = odds / total
        error[rows, classes] -= 1.0
        error32 = (error / n).astype(np.float32)
        gradient = np.zeros(shape)
        gradient[:, :d] = error32.T @ dense
        if sparse is not None:
            gradient[:, d:-1] = (sparse.T @ error32).T
        if intercept:
            gradient[:, -1] = error.mean(axis=0)
        full = flat.reshape(shape)
        penalty = 1.0 / (strength * n)
        cost += 0.5 * penalty * float(np.sum(full[:, :-1] ** 2))
        gradient[:, :-1] += penalty * full[:, :-1]
        return cost, gradient.ravel()

    options = {"maxiter": MAX_STEPS, "gtol": 1e-5}
    # One thread: the matrices are small, threads that wait for each other cost more than they bring on a busy machine,
    # and the sums come out the same however many cores there are.
    with threadpool_limits(limits=1, user_api="blas"):
        found: Any = minimize(loss, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options=options)
    weights = np.asarray(found.x, dtype=np.float32).reshape(shape)
    if not np.isfinite(weights).all():
        raise BaselineError("the classifier's weights are not finite; look for broken vectors in the trusted set")
    # no views: a slice would keep the whole matrix alive, and could not be written as it stands
    return Linear(*(np.ascontiguousarray(part) for part in (weights[:, :d], weights[:, d:-1].T, weights[:, -1])))


def stratified_folds(classes: NDArray[np.int64], n_folds: int, *, seed: int) -> NDArray[np.int64]:
    """Deal the members of each class out to folds in turn, after a shuffle: the fold of each row.

    Examples
    --------
    >>> folds = stratified_folds(np.asarray([0, 0, 1, 1]), 2, seed=0)
    >>> sorted(folds[:2].tolist()), sorted(folds[2:].tolist())
    ([0, 1], [0, 1])
    """
    rng = np.random.default_rng(seed)
    folds = np.zeros(len(classes), dtype=np.int64)
    start = 0
    for name in np.unique(classes):
        members = rng.permutation(np.flatnonzero(classes == name))
        folds[members] = (start + np.arange(len(members))) % n_folds
        start += len(members)
    return folds


def each_fold(folds: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """For each fold: the rows to fit on, and the rows left out."""
    for fold in np.unique(folds):
        yield np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
