"""How surprising a number of equal texts is: against scipy, and in simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import betabinom, binom

from feedback_guard.signals.popularity import SMALLEST, Popularity


def exactly(a: float, b: float) -> Popularity:
    return Popularity(np.array([a]), np.array([b]))


@pytest.mark.parametrize(
    ("k", "others", "m", "n"), [(1, 1, 0, 50), (3, 500, 0, 1_000), (30, 5_000, 2, 1_000), (400, 50_000, 8, 1_000)]
)
def test_p_values_are_those_of_the_beta_binomial(k: int, others: int, m: int, n: int) -> None:
    expected = float(betabinom.sf(k - 1, others, 0.2 + m, 700 + n - m))
    assert exactly(0.2, 700.0).p_value(k, others, m, n) == pytest.approx(max(expected, SMALLEST), rel=1e-4)


def test_none_is_no_surprise_and_many_stop_at_the_resolution() -> None:
    popularity = exactly(0.1, 1_000.0)
    assert popularity.p_value(0, 5_000, 0, 1_000) == 1.0
    assert popularity.p_value(400, 500, 0, 1_000) == SMALLEST


def test_a_popular_text_is_forgiven_and_an_unheard_one_is_not() -> None:
    popularity = exactly(0.1, 1_000.0)
    assert popularity.p_value(8, 500, 20, 1_000) > 0.1
    assert popularity.p_value(8, 500, 0, 1_000) < 1e-5


def simulate(a: float, b: float, n_trusted: int, n_texts: int, others: int, seed: int) -> float:
    """Share of honest texts with p <= 0.01, when popularity really is Beta(a, b) and is learnt from the trusted set."""
    rng = np.random.default_rng(seed)
    among = np.arange(1, n_trusted)
    popularity = Popularity.fit(rng.binomial(among, rng.beta(a, b, size=n_trusted - 1)), among)
    q = rng.beta(a, b, size=n_texts)
    m, k = rng.binomial(n_trusted, q), rng.binomial(others, q)
    return float(
        np.mean([popularity.p_value(int(x), others, int(y), n_trusted) <= 0.01 for x, y in zip(k, m, strict=True)])
    )


@pytest.mark.parametrize("mean", [1e-5, 1e-3, 1e-2])
@pytest.mark.parametrize("a", [0.01, 0.3])
@pytest.mark.parametrize("others", [500, 20_000])
def test_honest_texts_are_rarely_a_surprise(a: float, mean: float, others: int) -> None:
    shares = [simulate(a, a * (1 - mean) / mean, 400, 500, others, seed) for seed in range(4)]
    assert np.mean(shares) <= 0.01 + 3 * np.sqrt(0.01 * 0.99 / 2_000)


def test_one_rate_for_all_texts_would_surprise_too_often() -> None:
    """The planted fault: popular texts are forgotten, and every text is taken to repeat as often as the average."""
    rng = np.random.default_rng(1)
    a, mean = 0.05, 1e-3
    q = rng.beta(a, a * (1 - mean) / mean, size=4_000)
    k = rng.binomial(20_000, q)
    assert np.mean(binom.sf(k - 1, 20_000, mean) <= 0.01) > 0.02


def test_the_fit_is_wider_the_less_there_is_to_go_by() -> None:
    among = np.arange(1, 100)
    few = Popularity.fit(np.zeros(99, dtype=np.int64), among)
    many = Popularity.fit(np.zeros(4_999, dtype=np.int64), np.arange(1, 5_000))
    assert few.p_value(3, 500, 0, 100) > many.p_value(3, 500, 0, 5_000)
