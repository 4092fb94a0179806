"""What a classifier of the trusted set reads, and what it is asked, for each kind that teaches one of few things."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from feedback_guard.contribution import Kind
from feedback_guard.embedding.interface import Vectors
from feedback_guard.errors import SignalError
from feedback_guard.signals.interface import Observation
from feedback_guard.signals.lesson import TEMPERATURES, chances_at_temperatures
from feedback_guard.signals.linear import Floats, Linear, each_fold, fit_linear, log_odds_against, stratified_folds
from feedback_guard.signals.ngrams import Weigher, count
from feedback_guard.signals.rows import unit_rows

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

PRODUCT = 10.0
"""Products of two unit vectors are this much stretched, so that the penalty treats them like the vectors."""
STRENGTHS = {Kind.LABEL: 10.0, Kind.RATING: 1.0, Kind.PREFERENCE: 0.1}
"""Inverse strength of the penalty: votes and preferences say much less about a text than a label does."""
MANY = 2_000
"""From here on five folds are enough; below it ten, so that each fold is fitted on nearly everything."""

Counted = tuple[NDArray[np.int64], NDArray[np.float32]]
_NOTHING: Counted = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))


def mean_row(rows: Vectors) -> Vectors:
    """The direction of the mean of a text's windows, shape (1, d)."""
    if len(rows) == 1:
        return rows
    mean = rows.mean(axis=0, keepdims=True)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-6), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Reading:
    """A contribution as a classifier reads it.

    Parameters
    ----------
    windows
        Dense features with each window of the long texts in turn, shape (n, d): judged one by one, the oddest
        decides, so a contradiction cannot hide in a long text.
    whole
        The same with the mean of the windows, shape (1, d): what the classifier is fitted on.
    counted
        Hashed n-grams of the whole text.
    """

    windows: Floats
    whole: Floats
    counted: Counted


def read(observation: Observation, dimension: int | None = None) -> Reading:
    """Read a label, a rating or a preference.

    Raises
    ------
    SignalError
        If vectors are missing or broken, or it is of another kind.
    """
    kind = observation.contribution.kind
    given = unit_rows(observation, "input", dimension)
    width = given.shape[1]
    if kind is Kind.LABEL:
        return Reading(given, mean_row(given), count(observation.texts["input"].skeleton))
    prompt = mean_row(given)
    if kind is Kind.RATING:
        answers = unit_rows(observation, "output", width)
        return Reading(_pair(prompt, answers), _pair(prompt, mean_row(answers)), _NOTHING)
    if kind is Kind.PREFERENCE:
        chosen, rejected = (unit_rows(observation, name, width) for name in ("chosen", "rejected"))
        better, worse = mean_row(chosen), mean_row(rejected)
        windows = [_differ(prompt, chosen - worse)]
        if len(rejected) > 1:
            windows.append(_differ(prompt, better - rejected))
        return Reading(np.concatenate(windows), _differ(prompt, better - worse), _NOTHING)
    raise SignalError(f"a {kind.value} does not teach one of few things")


def _pair(prompt: Vectors, answers: Vectors) -> Floats:
    return np.hstack([np.repeat(prompt, len(answers), axis=0), answers, PRODUCT * prompt * answers])


def _differ(prompt: Vectors, difference: Floats) -> Floats:
    return np.hstack([difference, PRODUCT * prompt * difference])


def fit_classifier(
    readings: Sequence[Reading], classes: NDArray[np.int64], n_classes: int, kind: Kind
) -> tuple[Linear, Weigher]:
    """Fit a classifier to what readings teach.

    Preferences are fitted both ways round and without an intercept: turning a pair turns the answer.
    """
    dense = np.concatenate([reading.whole for reading in readings])
    weigher, sparse = Weigher(np.zeros(0, dtype=np.float32)), None
    if kind is Kind.LABEL:
        counted = [reading.counted for reading in readings]
        weigher = Weigher.of(counted)
        sparse = weigher.matrix(counted)
    return _fit(dense, sparse, classes, n_classes, kind), weigher


def _fit(dense: Floats, sparse: csr_matrix | None, classes: NDArray[np.int64], n_classes: int, kind: Kind) -> Linear:
    strength = STRENGTHS[kind]
    if kind is not Kind.PREFERENCE:
        return fit_linear(dense, sparse, classes, n_classes, strength=strength)
    both = np.concatenate([dense, -dense])
    turned = np.concatenate([classes, 1 - classes])
    return fit_linear(both, None, turned, n_classes, intercept=False, strength=strength)


def contradiction(model: Linear, weigher: Weigher, reading: Reading, taught: int) -> tuple[float, NDArray[np.float64]]:
    """How strongly the content speaks against what is taught.

    Returns
    -------
    score : float
        Log-odds of the best other class against the taught one, in the window where they are highest.
    logits : ndarray of shape (n_classes,)
        Of that window.
    """
    buckets, weights = weigher.weigh(reading.counted) if len(reading.counted[0]) else _NOTHING
    logits = model.logits(reading.windows, buckets, weights)
    against = log_odds_against(logits, taught)
    worst = int(against.argmax())
    return float(against[worst]), logits[worst]


@dataclass(frozen=True, slots=True)
class CrossFitted:
    """What classifiers say of trusted contributions that they were fitted without.

    Parameters
    ----------
    scores
        Contradiction of each by its content, shape (n,).
    chances
        Chance of what each teaches, at each of `lesson.TEMPERATURES`, shape (n, n_temperatures).
    wrong
        Contradiction of each if it taught another class, drawn by chance, shape (n,).
    """

    scores: NDArray[np.float64]
    chances: NDArray[np.float64]
    wrong: NDArray[np.float64]


def cross_fitted(
    readings: Sequence[Reading], classes: NDArray[np.int64], n_classes: int, kind: Kind, *, seed: int
) -> CrossFitted:
    """Judge each reading by a classifier that was fitted without it."""
    n_folds = 5 if len(readings) >= MANY else 10
    others = (classes + np.random.default_rng(seed).integers(1, n_classes, len(classes))) % n_classes
    scores, wrong = np.zeros(len(readings)), np.zeros(len(readings))
    chances = np.zeros((len(readings), len(TEMPERATURES)))
    for fitted, left_out in each_fold(stratified_folds(classes, n_folds, seed=seed)):
        model, weigher = fit_classifier([readings[i] for i in fitted], classes[fitted], n_classes, kind)
        for i in left_out:
            scores[i], logits = contradiction(model, weigher, readings[i], int(classes[i]))
            chances[i] = chances_at_temperatures(logits, int(classes[i]))
            wrong[i] = contradiction(model, weigher, readings[i], int(others[i]))[0]
    return CrossFitted(scores, chances, wrong)
