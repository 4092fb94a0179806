"""Far from the trusted set is odd, near is not, and nothing compares with itself."""

from __future__ import annotations

import numpy as np
import pytest

from feedback_guard.contribution import Kind
from feedback_guard.errors import BaselineError
from feedback_guard.signals import material
from feedback_guard.signals.calibration import Calibration
from feedback_guard.signals.interface import Condition, State
from feedback_guard.signals.novelty import AT_ONCE, LEAST_TRUSTED, NEIGHBOURS, Neighbourhood, Novelty, _distance
from tests.signals.observations import honest, label, taught


@pytest.fixture(scope="module")
def signal() -> Novelty:
    trusted = [*honest(Kind.LABEL, 400, seed=1), *honest(Kind.PREFERENCE, 400, seed=1)]
    return Novelty.from_state(Novelty.fit(trusted, seed=0))


def p_value(signal: Novelty, text: str, rows: list[str] | None = None) -> float:
    vectors = np.concatenate([material.embed(row) for row in rows]) if rows else None
    p = signal.score(label(text, "card", vectors)).p_value
    assert p is not None
    return p


def test_a_text_on_no_trusted_topic_is_odd_and_one_on_a_trusted_topic_is_not(signal: Novelty) -> None:
    assert p_value(signal, "galaxies quasars nebulae telescopes") <= 0.01
    assert p_value(signal, "my card chip pin has not arrive delivery post please") > 0.1


def test_a_foreign_window_cannot_hide_among_familiar_ones(signal: Novelty) -> None:
    familiar = ["my card chip pin has not arrive delivery post please"] * 8
    assert p_value(signal, "x", familiar) > 0.1
    assert p_value(signal, "x", [*familiar, "galaxies quasars nebulae telescopes"]) <= 0.01


def test_each_text_counts_and_looking_at_three_costs_a_factor_of_three(signal: Novelty) -> None:
    each = honest(Kind.PREFERENCE, 1, seed=3)[0]
    odd = signal.score(taught(each, rejected="galaxies quasars nebulae telescopes"))
    assert odd.p_value == pytest.approx(3 / 401)
    assert "the rejected has a distance" in odd.message


def test_trusted_texts_are_measured_without_themselves() -> None:
    """Were a text its own neighbour, the ruler would be too short and fresh texts would look odd."""
    trusted = honest(Kind.LABEL, 300, seed=1)
    state = Novelty.fit(trusted, seed=0)
    rows = state.arrays["label.input.rows"].astype(np.float32)
    similarity = rows @ rows.T
    np.fill_diagonal(similarity, -1.0)
    expected = 1.0 - np.sort(similarity, axis=1)[:, -NEIGHBOURS:].mean(axis=1)
    scores = state.arrays["label.input.scores"].astype(np.float64)
    np.testing.assert_allclose(scores, np.sort(expected), atol=1e-6)


def test_the_windows_of_one_text_are_not_each_others_neighbours() -> None:
    trusted = honest(Kind.LABEL, 80, seed=1)
    strange = material.embed("galaxies quasars nebulae telescopes")
    trusted.append(label("long and strange", "card", np.repeat(strange, 20, axis=0)))
    scores = Novelty.fit(trusted, seed=0).arrays["label.input.scores"].astype(np.float64)
    assert scores[-1] > 0.8  # far from all others, although it has twenty windows alike


def test_a_part_of_a_large_set_is_kept_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feedback_guard.signals.novelty.MAX_REFERENCE", 100)
    state = Novelty.fit(honest(Kind.LABEL, 300, seed=1), seed=0)
    assert state.arrays["label.input.rows"].shape == (100, material.DIMENSION)
    assert state.values["label"] == {"trusted": 300, "calibrated_on": 100, "input_vectors": 100}
    signal = Novelty.from_state(state)
    held = [signal.score(each).p_value for each in honest(Kind.LABEL, 300, seed=2)]
    assert np.mean([p is not None and p <= 0.05 for p in held]) <= 0.12


def test_too_few_of_a_kind_is_warming_up() -> None:
    few = honest(Kind.LABEL, LEAST_TRUSTED - 1, seed=1)
    finding = Novelty.from_state(Novelty.fit(few, seed=0)).score(few[0])
    assert (finding.condition, finding.p_value) == (Condition.WARMING, None)
    assert f"{LEAST_TRUSTED - 1} trusted" in finding.message


@pytest.mark.parametrize("n", [1, 3, NEIGHBOURS, 6, 40])
def test_the_most_distant_window_counts_by_its_nearest_trusted_texts(n: int) -> None:
    """Those of one window after the other, with equal ones among them, and of fewer all."""
    rng = np.random.default_rng(n)
    for _ in range(50):
        similarity = np.round(rng.uniform(-1.0, 1.0, (3, n)), 1).astype(np.float32)
        nearest = np.sort(similarity.astype(np.float64), axis=1)[:, -NEIGHBOURS:]
        windows, rows = np.eye(3, dtype=np.float32), np.ascontiguousarray(similarity.T)
        assert _distance(similarity, windows, rows) == pytest.approx(1.0 - nearest.mean(axis=1).min(), abs=1e-12)


def test_a_distance_is_the_same_to_the_last_bit_whatever_it_is_measured_with() -> None:
    """A product of matrices is not; two thirds of these would differ, and one finding in a hundred with them."""
    rng = np.random.default_rng(0)
    points = rng.standard_normal((20, 384))[rng.integers(20, size=4_000)] + rng.standard_normal((4_000, 384))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    rows = points.astype(np.float16).astype(np.float32)
    near = Neighbourhood(rows[:3_000], Calibration.of(np.arange(3.0)))
    texts = [rows[at : at + 1 + at % 3] for at in range(3_000, 3_400, 2)]
    alone = [next(near.distances([text])) for text in texts]
    assert sum(map(len, texts)) > 2 * AT_ONCE
    assert list(near.distances(texts)) == alone


@pytest.mark.parametrize("rows", [np.zeros((0, 8)), np.full((60, 8), np.nan), np.zeros(8)], ids=["none", "nan", "flat"])
def test_broken_trusted_vectors_are_refused(rows: np.ndarray) -> None:
    state = Novelty.fit(honest(Kind.LABEL, 60, seed=1), seed=0)
    with pytest.raises(BaselineError, match="broken"):
        Novelty.from_state(State(state.values, {**state.arrays, "label.input.rows": rows}))
