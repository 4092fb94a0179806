"""p-values from calibration scores: the formula, ties, classes, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback_guard.errors import BaselineError, SignalError
from feedback_guard.signals.calibration import Calibration, Mondrian

SCORES = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=30)


@given(SCORES, st.integers(-6, 6).map(float))
def test_it_is_the_conformal_formula_with_ties_counted_as_odder(scores: list[float], score: float) -> None:
    expected = (1 + sum(s >= score for s in scores)) / (len(scores) + 1)
    assert Calibration.of(scores).p_value(score) == expected


@given(SCORES)
def test_leaving_each_one_out_in_turn_never_gives_too_many_small_p_values(scores: list[float]) -> None:
    """Exchangeability, by enumeration: of n + 1 scores, at most a share `a` has p <= a, for every a and any ties."""
    rest = [scores[:i] + scores[i + 1 :] for i in range(len(scores))]
    if len(scores) > 1:
        p_values = [Calibration.of(others).p_value(score) for others, score in zip(rest, scores, strict=True)]
        for level in (0.05, 0.1, 0.2, 0.5, 1.0):
            assert sum(p <= level + 1e-12 for p in p_values) <= level * len(scores) + 1e-9


def test_the_least_p_value_is_the_resolution() -> None:
    ruler = Calibration.of(np.arange(99.0))
    assert ruler.resolution == 0.01
    assert ruler.p_value(1e9) == 0.01
    assert ruler.p_value(-1e9) == 1.0


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_refused_and_not_called_normal(score: float) -> None:
    with pytest.raises(SignalError, match="cannot be calibrated"):
        Calibration.of([1.0, 2.0]).p_value(score)


@pytest.mark.parametrize("scores", [[], [1.0, math.nan], [math.inf]])
def test_a_ruler_needs_finite_scores(scores: list[float]) -> None:
    with pytest.raises(BaselineError):
        Calibration.of(scores)


def test_a_large_class_has_its_own_ruler_and_small_ones_share_one() -> None:
    scores = [*range(100), *range(1000, 1010), *range(2000, 2005)]
    classes = ["large"] * 100 + ["small"] * 10 + ["tiny"] * 5
    ruler = Mondrian.of(scores, classes, minimum=50)
    assert ruler.of_class("large").n == 100
    assert ruler.of_class("small").n == ruler.of_class("tiny").n == 15
    assert ruler.p_value(150.0, "large") == 1 / 101
    assert ruler.p_value(150.0, "small") == 1.0


def test_a_class_without_any_ruler_is_refused() -> None:
    ruler = Mondrian.of([1.0, 2.0], ["a", "a"], minimum=2)
    with pytest.raises(SignalError, match="no trusted contribution is of this class"):
        ruler.p_value(1.0, "b")
