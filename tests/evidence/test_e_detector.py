"""The alarm's promise, seen in simulation: run lengths on honest streams, with bounds and without them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from feedback_guard.evidence.e_detector import GROWTHS, LEVEL_CAP, Floats, average, growth_bets, step, upper_bounds

Bounds = Callable[[np.ndarray[tuple[int], np.dtype[np.int64]], int], Floats]

LINE = 500
"""Run length that is asked for; small, so that the simulation is quick."""
BASELINES, STREAMS = 60, 10


def with_bounds(counts: np.ndarray[tuple[int], np.dtype[np.int64]], n: int) -> Floats:
    return upper_bounds(counts, n, 0.05)


def without_bounds(counts: np.ndarray[tuple[int], np.dtype[np.int64]], n: int) -> Floats:
    return np.maximum(counts, 1) / n


def run_lengths(bounds_of: Bounds, shares: Floats, *, n_calibration: int, horizon: int, seed: int) -> Floats:
    """Lengths of honest runs up to the alarm, cut at the horizon, shape (BASELINES, STREAMS).

    Every baseline has its own calibration sample of events with these true shares; streams have the same shares.
    """
    rng = np.random.default_rng(seed)
    k = len(shares)
    counts = rng.multinomial(n_calibration, shares, size=BASELINES)
    bets = [growth_bets(bounds_of(row, n_calibration)) for row in counts]
    happens = np.stack([bet[0] for bet in bets])[:, None]
    fails = np.stack([bet[1] for bet in bets])[:, None]
    n_bets = happens.shape[-1]
    weights = np.full(k * n_bets, 1.0 / (k * n_bets))
    levels = np.zeros((BASELINES, STREAMS, k, n_bets))
    lengths = np.full((BASELINES, STREAMS), float(horizon))
    happens_each, fails_each = (
        np.ascontiguousarray(np.broadcast_to(bets, levels.shape)).reshape(-1, n_bets) for bets in (happens, fails)
    )
    running = np.ones((BASELINES, STREAMS), dtype=bool)
    drawn = rng.choice(k, p=shares, size=(horizon, BASELINES, STREAMS))
    for time in range(horizon):
        here = np.arange(k) == drawn[time][..., None]
        step(levels.reshape(-1, n_bets), here.ravel(), happens_each, fails_each)
        over = average(levels.reshape(BASELINES, STREAMS, -1), weights) >= np.log1p(LINE)
        lengths[running & over] = time + 1
        running &= ~over
        if not running.any():
            break
    return lengths


@pytest.mark.parametrize("n_calibration", [50, 400])
def test_honest_streams_run_as_long_as_was_asked_for(n_calibration: int) -> None:
    shares = np.array([0.3, 0.2, 0.2, 0.1, 0.1, 0.05, 0.03, 0.02])
    lengths = run_lengths(with_bounds, shares, n_calibration=n_calibration, horizon=4 * LINE, seed=1)
    assert lengths.mean() >= LINE
    # each baseline by itself, not just their average: all but 5 % of them, with room for the noise of 10 streams
    assert (lengths.mean(axis=1) < LINE).mean() <= 0.10


def test_without_bounds_a_small_calibration_sample_raises_false_alarms() -> None:
    """The planted fault: estimates taken for the truth. Luck in the calibration sample then looks like drift."""
    shares = np.array([0.3, 0.2, 0.2, 0.1, 0.1, 0.05, 0.03, 0.02])
    lengths = run_lengths(without_bounds, shares, n_calibration=50, horizon=4 * LINE, seed=1)
    assert (lengths.mean(axis=1) < LINE).mean() > 0.5


def test_bounds_hold_for_all_events_at_once() -> None:
    rng = np.random.default_rng(5)
    shares = np.array([0.5, 0.3, 0.1, 0.07, 0.03])
    counts = rng.multinomial(120, shares, size=4_000)
    missed = np.mean([(upper_bounds(row, 120, 0.05) < shares).any() for row in counts])
    assert missed <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 4_000)


def test_bounds_hold_for_the_tails_of_a_sample() -> None:
    """Thresholds are values of the sample itself, so what lies beyond them is no ordinary binomial count."""
    rng = np.random.default_rng(6)
    ranks = np.array([0, 2, 5, 10, 20, 50])
    missed = 0
    for _ in range(2_000):
        thresholds = np.sort(rng.random(100))[::-1][ranks]  # as many values of the sample lie above them
        true = 1.0 - thresholds
        missed += bool((upper_bounds(ranks, 100, 0.05) < true).any())
    assert missed / 2_000 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2_000)


def test_bounds_of_nothing_and_of_everything() -> None:
    bounds = upper_bounds(np.array([0, 10]), 10, 0.05)
    assert 0.0 < bounds[0] < 0.5
    assert bounds[1] == 1.0


def test_a_bet_costs_nothing_to_whoever_keeps_below_the_bound() -> None:
    happens, fails = growth_bets(np.array([0.2, 0.9, 1.0]))
    for share in (0.0, 0.1, 0.2):
        assert (share * np.exp(happens[0]) + (1 - share) * np.exp(fails[0]) <= 1.0 + 1e-12).all()
    assert (0.3 * np.exp(happens[0, :2]) + 0.7 * np.exp(fails[0, :2]) > 1.0).all()
    assert np.isfinite([happens, fails]).all()


def test_levels_stay_finite_and_never_negative() -> None:
    levels = np.zeros((1, 3))
    for log_bet in (-1e9, 1e9, 1e9, -1e9, 5.0):
        highest = step(levels, np.array([True]), np.array([[log_bet, -log_bet, 0.0]]), np.zeros((1, 3)))
        assert highest == levels.max()
        assert np.isfinite(levels).all()
        assert (levels >= 0.0).all()
        assert (levels <= LEVEL_CAP).all()


def test_a_quiet_past_does_not_hold_evidence_back() -> None:
    bets = growth_bets(np.array([0.1]))
    early, late = np.zeros((1, len(GROWTHS))), np.zeros((1, len(GROWTHS)))
    for _ in range(10_000):
        step(late, np.array([False]), *bets)
    for _ in range(10):
        for levels in (early, late):
            step(levels, np.array([True]), *bets)
    assert (late >= early).all()


def test_the_average_weighs_what_was_bet_and_not_its_logarithm() -> None:
    levels = np.log1p(np.array([[0.0, 98.0], [3.0, 3.0]]))
    mixed = average(levels, np.array([0.5, 0.5]))
    assert np.expm1(mixed) == pytest.approx([49.0, 3.0])
