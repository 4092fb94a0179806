"""How sure a classifier may be held to be, by how much is known of it."""

from __future__ import annotations

import numpy as np
import pytest

from feedback_guard.signals import lesson
from feedback_guard.signals.lesson import Scale, chances_at_temperatures, two_way_log_ratio

TRUE_TEMPERATURE = 1.5


def chances(n: int, seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Cross-fitted chances of what is taught, from log-odds that are too sure by a factor of 1.5."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0.0, 2.5, size=n)
    taught = rng.random(n) < 1.0 / (1.0 + np.exp(-logits / TRUE_TEMPERATURE))
    rows = [chances_at_temperatures(np.array([0.0, each]), int(t)) for each, t in zip(logits, taught, strict=True)]
    return np.stack(rows)


def inflation(scale: Scale) -> float:
    """What honest members add to evidence on average, as a factor: at most 1 if the stated chances were true."""
    rng = np.random.default_rng(99)
    logits = rng.normal(0.0, 2.5, size=4_000)
    true = 1.0 / (1.0 + np.exp(-logits / TRUE_TEMPERATURE))
    stated = np.array([scale.shares(np.array([0.0, each])) for each in logits])
    against = np.exp([[two_way_log_ratio(float(share)) for share in row] for row in stated])
    return float(((1.0 - true) * against[:, 0] + true * against[:, 1]).mean())


def test_a_small_trusted_set_is_not_believed_to_be_sure() -> None:
    """Else every fourth set of 60 would multiply evidence by 1.2 and more for each honest member."""
    found = [inflation(Scale.fit(chances(60, seed), 2)) for seed in range(40)]
    assert np.mean([each > 1.2 for each in found]) <= 0.05


def test_the_likeliest_scale_would_be_too_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: what the smallest sets say is taken at its word."""
    monkeypatch.setattr(lesson, "PLAUSIBLE", 0.0)
    found = [inflation(Scale.fit(chances(60, seed), 2)) for seed in range(40)]
    assert np.mean([each > 1.2 for each in found]) > 0.2


def test_a_large_trusted_set_is_taken_at_its_word(monkeypatch: pytest.MonkeyPatch) -> None:
    known = chances(lesson.ENOUGH, 3)
    mild = Scale.fit(known, 2)
    monkeypatch.setattr(lesson, "PLAUSIBLE", 0.0)
    assert mild == Scale.fit(known, 2)
    assert 1.0 <= mild.temperature <= 2.2


@pytest.mark.parametrize("logits", [[0.0, 0.0], [900.0, -900.0, 3.0], [-2.5, 0.25, 1.0, 7.0]])
def test_shares_are_those_of_logits_over_the_temperature_with_noise_in_them(logits: list[float]) -> None:
    scaled = np.array(logits) / 1.7
    odds = np.exp(scaled - scaled.max())
    found = Scale(1.7, 0.04).shares(np.array(logits))
    np.testing.assert_allclose(found, 0.96 * odds / odds.sum() + 0.04 / len(logits), rtol=1e-12)
    assert found.sum() == pytest.approx(1.0)
