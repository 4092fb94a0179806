"""Logistic regression with and without hostile rows: the models stay as near as promised, and some come that far."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from feedback_guard.errors import UsageError
from feedback_guard.learning import clipping
from feedback_guard.learning.clipping import displacement, safe_size

Array = NDArray[np.floating[Any]]
Row = tuple[Array, int, float]
"""Input, label, weight."""
NORM, CLIP, D = 2.0, 0.4, 3


def gradient(theta: Array, x: Array, y: int) -> Array:
    margin = float(np.clip(theta @ x, -60.0, 60.0))
    return np.asarray((1.0 / (1.0 + np.exp(-margin)) - y) * x)


def honest(rng: np.random.Generator, n: int) -> list[Row]:
    rows: list[Row] = []
    for _ in range(n):
        x = rng.normal(size=D)
        x *= NORM * rng.uniform(0.2, 1.0) / np.linalg.norm(x)
        rows.append((x, int(rng.integers(2)), float(rng.choice([1.0, 1.0, 0.3]))))
    return rows


def at_random(rng: np.random.Generator, _clean: Array, _moved: Array) -> tuple[Array, int]:
    return rng.normal(size=D) * 10 ** rng.uniform(-2, 4), int(rng.integers(2))


def uphill(rng: np.random.Generator, clean: Array, moved: Array) -> tuple[Array, int]:
    """Push the models apart as fast as a clipped step can."""
    away = moved - clean
    if float(np.linalg.norm(away)) < 1e-12:
        away = rng.normal(size=D)
    x = away / np.linalg.norm(away) * 1e4
    return x, int(moved @ x < 0) if abs(float(moved @ x)) > 1 else 1


def trial(rng: np.random.Generator, adversary: Callable[..., tuple[Array, int]], size: float) -> tuple[float, float]:
    """Train twice over the same honest rows, once with hostile ones between; the distance, and what was promised."""
    rows = honest(rng, 6)
    clean: Array = np.zeros(D)
    moved: Array = np.zeros(D)
    hostile = 0.0
    for x, y, weight in rows:
        for _ in range(int(rng.integers(2))):
            taught, label = adversary(rng, clean, moved)
            given = float(rng.choice([1.0, 0.5]))
            moved = clipping.step(moved, gradient(moved, taught, label), weight=given, size=size, clip=CLIP)
            hostile += given
        clean = clipping.step(clean, gradient(clean, x, y), weight=weight, size=size, clip=CLIP)
        moved = clipping.step(moved, gradient(moved, x, y), weight=weight, size=size, clip=CLIP)
    return float(np.linalg.norm(moved - clean)), displacement(hostile, size=size, clip=CLIP)


def trials(n: int, size: float | None = None) -> Iterator[tuple[float, float]]:
    rng = np.random.default_rng(5)
    for _, adversary in zip(range(n), itertools.cycle((at_random, uphill)), strict=False):
        yield trial(rng, adversary, rng.uniform(0.1, 1.0) * safe_size(NORM) if size is None else size)


def too_far(found: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(moved, most) for moved, most in found if moved > most * (1 + 1e-9) + 1e-12]


def test_no_model_is_moved_farther_than_promised() -> None:
    found = list(trials(10_000))
    assert too_far(found) == []
    assert max(moved / most for moved, most in found if most) > 0.99, "and no smaller bound would hold"


def not_clipped(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(clipping, "clipped", lambda gradient, clip: gradient)


def clipped_by_coordinate(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(clipping, "clipped", lambda gradient, clip: np.clip(gradient, -clip, clip))


def clipped_with_its_weight(patch: pytest.MonkeyPatch) -> None:
    """So that a row of small weight may move as far as one of full weight."""

    def step(theta: Array, gradient: Array, *, weight: float, size: float, clip: float) -> Array:
        return theta - size * clipping.clipped(weight * gradient, clip)

    patch.setattr(clipping, "step", step)


@pytest.mark.parametrize("bug", [not_clipped, clipped_by_coordinate, clipped_with_its_weight])
def test_the_bound_is_seen_to_break(bug: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)
    assert too_far(list(trials(600)))


def test_steps_that_are_too_large_push_models_apart() -> None:
    assert too_far(list(trials(2_000, size=3 * safe_size(NORM))))


@pytest.mark.parametrize("wrong", [lambda: safe_size(0.0), lambda: displacement(-1.0, size=1.0, clip=1.0)])
def test_the_senseless_is_refused(wrong: Callable[[], float]) -> None:
    with pytest.raises(UsageError):
        wrong()
