"""What one would otherwise use: detectors that look at one example at a time, on the same vectors as the guard.

Each says of every contribution whether it is kept. Those that are fitted on the vetted set have their threshold where
they hold `HELD_OF_VETTED` of it, out of sample. Confident learning is what cleans a data set of its label errors
afterwards: it sees the whole stream at once, which nobody who decides online can.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Vectors = NDArray[np.float32]
Kept = NDArray[np.bool_]

HELD_OF_VETTED: Final = 0.01
"""Share of the vetted set that a rival holds."""
NEIGHBOURS: Final = 20
FOLDS: Final = 3


def threshold(scores: Floats) -> float:
    """The score that a share of `HELD_OF_VETTED` of the vetted set passes.

    Examples
    --------
    >>> threshold(np.arange(1_001.0))
    990.0
    """
    return float(np.quantile(scores, 1.0 - HELD_OF_VETTED))


def isolation_forest(vetted: Vectors, stream: Vectors) -> Kept:
    """Isolation forest (Liu, Ting, Zhou 2008); the threshold from a half that another forest has not seen."""
    from sklearn.ensemble import IsolationForest

    forest = IsolationForest(n_estimators=200, random_state=0)
    line = threshold(-forest.fit(vetted[::2]).score_samples(vetted[1::2]))
    return np.asarray(-forest.fit(vetted).score_samples(stream) <= line)


def local_outlier_factor(vetted: Vectors, stream: Vectors) -> Kept:
    """Local outlier factor (Breunig et al. 2000), with the threshold found like the forest's."""
    from sklearn.neighbors import LocalOutlierFactor

    factor = LocalOutlierFactor(n_neighbors=min(NEIGHBOURS, len(vetted) // 2 - 1), novelty=True)
    line = threshold(-factor.fit(vetted[::2]).score_samples(vetted[1::2]))
    return np.asarray(-factor.fit(vetted).score_samples(stream) <= line)


def neighbours(vetted: Vectors, stream: Vectors) -> Kept:
    """Mean cosine distance to the five nearest vetted texts; of a vetted one, to the others."""

    def distance(rows: Vectors, skip: int) -> Floats:
        return np.asarray(1.0 - np.sort(rows @ vetted.T, axis=1)[:, -5 - skip : -skip or None].mean(axis=1), np.float64)

    line = threshold(distance(vetted, 1))
    return np.asarray(distance(stream, 0) <= line)


def label_head(vetted: Vectors, labels: Sequence[str], stream: Vectors, taught: Sequence[str]) -> Kept:
    """Chance of the taught label by logistic regression on the vectors; a label that is new to it is kept."""
    classes = sorted(set(labels))
    known = {label: place for place, label in enumerate(classes)}
    truth = np.array([known[label] for label in labels])
    held_out = cross_fitted(vetted, truth, len(classes))
    line = threshold(1.0 - held_out[np.arange(len(truth)), truth])
    chances = _fit(vetted, truth, len(classes))(stream)
    places = [known.get(label) for label in taught]
    return np.array([at is None or 1.0 - row[at] <= line for row, at in zip(chances, places, strict=True)])


def confident_learning(vetted: Vectors, labels: Sequence[str], stream: Vectors, taught: Sequence[str]) -> Kept:
    """Label errors by confident learning: what stands off the diagonal of the confident joint goes.

    Cross-fitted chances on the vetted set and the whole stream; an example counts as of the class, among those whose
    chance is at least what it is on average where that class is given, that is likeliest.

    References
    ----------
    Northcutt, C., Jiang, L., Chuang, I. (2021). Confident learning. JAIR 70.
    """
    given = [*labels, *taught]
    known = {label: place for place, label in enumerate(sorted(set(given)))}
    truth = np.array([known[label] for label in given])
    chances = cross_fitted(np.concatenate([vetted, stream]), truth, len(known))
    own = chances[np.arange(len(truth)), truth]
    sums = np.bincount(truth, weights=own, minlength=len(known))
    lines = sums / np.maximum(np.bincount(truth, minlength=len(known)), 1)
    above = np.where(chances >= lines, chances, -1.0)
    confident = above.max(axis=1) >= 0.0
    return np.asarray(~confident | (above.argmax(axis=1) == truth))[len(labels) :]


def cross_fitted(rows: Vectors, truth: NDArray[np.int64], n_classes: int) -> Floats:
    """Chance of each class, shape (n, n_classes), by models that have not seen the row."""
    fold = np.random.default_rng(0).permutation(len(rows)) % FOLDS
    chances = np.zeros((len(rows), n_classes))
    for each in range(FOLDS):
        out = fold == each
        chances[out] = _fit(rows[~out], truth[~out], n_classes)(rows[out])
    return chances


def _fit(rows: Vectors, truth: NDArray[np.int64], n_classes: int) -> Callable[[Vectors], Floats]:
    """Logistic regression; a class that it has not seen has no chance."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=10.0, max_iter=200, tol=1e-3).fit(rows, truth)

    def chances(asked: Vectors) -> Floats:
        found = np.zeros((len(asked), n_classes))
        found[:, model.classes_] = model.predict_proba(asked)
        return found

    return chances
