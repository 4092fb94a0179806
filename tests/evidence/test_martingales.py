"""The two tests keep their false-alarm rates when one may look after every member, and find what they are for."""

from __future__ import annotations

import numpy as np
import pytest

from feedback_guard.evidence import martingales
from feedback_guard.evidence.counting import CONTRADICTION_PRIOR, CONTRARY, HONEST, MOST_SHIFT, N_SHIFT, POTENTIAL
from feedback_guard.evidence.martingales import (
    MISTAKES,
    SHIFT_WIDTH,
    Honest,
    contradiction_evidence,
    contradiction_step,
    contrary_share,
    shift_evidence,
    shift_steps,
)
from feedback_guard.signals.lesson import two_way_log_ratio

LEVEL = 0.05
RUNS = 1_500
MEMBERS = 60
EXPECTED = Honest(2, SHIFT_WIDTH)


def chances(rng: np.random.Generator, n: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """How well what a member would honestly teach fits its content, as an uncertain reader sees it."""
    return np.clip(rng.beta(2.0, 1.0, n), 0.03, 0.97)


def contradiction_run(rng: np.random.Generator, share: float) -> float:
    """The highest evidence that a facet ever reaches whose members contradict their content with chance `share`."""
    sums, highest = np.zeros((1, len(HONEST) + len(CONTRARY))), 0.0
    for q in chances(rng, MEMBERS):
        honest = rng.random() < q  # what the content says, by the calibrated reader
        agrees = honest if rng.random() >= share else not honest
        sums += contradiction_step(two_way_log_ratio(q if agrees else 1.0 - q))
        highest = max(highest, float(contradiction_evidence(sums)[0]))
    return highest


def shift_run(
    rng: np.random.Generator,
    shift: float,
    n_trusted: int = 0,
    *,
    mistakes: float = 0.0,
    whatever: float | None = None,
    least_potential: float = 0.0,
) -> float:
    """The same for a facet that speaks for a class by so many log-odds, or that teaches it whatever the content.

    It is not looked at before its potential is at least `least_potential`.
    """
    sums, highest = np.zeros((1, N_SHIFT)), 0.0
    for q in chances(rng, MEMBERS):
        true = 1.0 / (1.0 + np.exp(-(np.log(q / (1.0 - q)) + shift)))
        taught = (rng.random() < (true if whatever is None else whatever)) != (rng.random() < mistakes)
        sums += shift_steps(np.array([q]), np.array([taught]), EXPECTED)
        if sums[0, POTENTIAL] >= least_potential:
            highest = max(highest, float(shift_evidence(sums, np.array([n_trusted]), EXPECTED)[0]))
    return highest


def too_often(highest: list[float]) -> bool:
    """Whether evidence of 1/LEVEL was reached more often than promised, beyond what chance explains."""
    rate = float(np.mean([value >= np.log(1.0 / LEVEL) for value in highest]))
    return bool(rate > LEVEL + 3.0 * np.sqrt(LEVEL * (1.0 - LEVEL) / len(highest)))


def test_honest_facets_rarely_reach_the_line() -> None:
    rng = np.random.default_rng(1)
    shares = rng.choice(HONEST, p=np.exp(CONTRADICTION_PRIOR[: len(HONEST)]), size=RUNS)
    assert not too_often([contradiction_run(rng, share) for share in shares])


def honest_runs(mistakes: float, *, n_trusted: int = 0, least_potential: float = 0.0) -> list[float]:
    rng = np.random.default_rng(2)
    width = 1.0 / np.sqrt(1.0 / SHIFT_WIDTH**2 + 0.15 * n_trusted)
    shifts = np.clip(rng.normal(0.0, width, RUNS), -MOST_SHIFT, MOST_SHIFT)
    return [shift_run(rng, shift, n_trusted, mistakes=mistakes, least_potential=least_potential) for shift in shifts]


@pytest.mark.parametrize("mistakes", [0.0, MISTAKES])
@pytest.mark.parametrize(("n_trusted", "least_potential"), [(0, 0.0), (60, 0.0), (0, 7.0)])
def test_an_honest_word_may_speak_for_a_class_and_who_uses_it_may_err(
    mistakes: float, n_trusted: int, least_potential: float
) -> None:
    assert not too_often(honest_runs(mistakes, n_trusted=n_trusted, least_potential=least_potential))


def test_a_null_that_knows_of_no_mistakes_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(martingales, "MISTAKES", 1e-6)
    assert too_often(honest_runs(0.10, n_trusted=60))


def test_the_potential_is_what_the_contents_allow_whatever_is_taught() -> None:
    """Otherwise a choice by potential would be a choice by evidence, and the rate would not hold."""
    q = np.array([0.1, 0.5, 0.9])
    yes, no = (shift_steps(q, np.full(3, taught), EXPECTED)[:, POTENTIAL] for taught in (True, False))
    assert yes.tolist() == no.tolist() == pytest.approx((-np.log(EXPECTED.erring(q))).tolist())


@pytest.mark.parametrize("n_trusted", [0, 30])
def test_no_evidence_is_much_above_its_potential(n_trusted: int) -> None:
    """So a test with little of it is not worth counting."""
    q = np.full(8, 0.2)
    sums = shift_steps(q, np.ones(8, dtype=np.bool_), EXPECTED).sum(axis=0, keepdims=True)
    assert shift_evidence(sums, np.array([n_trusted]), EXPECTED)[0] <= sums[0, POTENTIAL] + 2.0


def test_a_test_that_forgives_nothing_would_be_noticed() -> None:
    """The suite itself: without the honest shares in the null, the same streams reach the line too often."""
    rng = np.random.default_rng(1)

    def unforgiving() -> float:
        total, highest = 0.0, 0.0
        share = float(rng.choice(HONEST))
        for q in chances(rng, MEMBERS):
            agrees = (rng.random() < q) != (rng.random() < share)
            ratio = two_way_log_ratio(q if agrees else 1.0 - q)
            total += float(np.log1p(0.5 * np.expm1(ratio)))
            highest = max(highest, total)
        return highest

    assert too_often([unforgiving() for _ in range(RUNS)])


@pytest.mark.parametrize("share", CONTRARY[1:])
def test_facets_that_contradict_their_content_are_found(share: float) -> None:
    rng = np.random.default_rng(3)
    found = [contradiction_run(rng, share) >= np.log(1_000) for _ in range(100)]
    assert np.mean(found) >= 0.9


def test_a_planted_trigger_is_found_where_the_word_is_not_known() -> None:
    rng = np.random.default_rng(4)
    found = [shift_run(rng, 0.0, whatever=1.0) >= np.log(20) for _ in range(100)]
    assert np.mean(found) >= 0.5
    known = [shift_run(rng, 0.0, n_trusted=50, whatever=1.0) for _ in range(100)]
    assert np.median(known) > np.median([shift_run(rng, 0.0, whatever=1.0) for _ in range(100)])


def test_the_share_of_contradictions_is_estimated() -> None:
    rng = np.random.default_rng(5)
    for share in (0.05, 0.9):
        sums = np.zeros((1, len(HONEST) + len(CONTRARY)))
        for q in chances(rng, 400):
            agrees = (rng.random() < q) != (rng.random() < share)
            sums += contradiction_step(two_way_log_ratio(q if agrees else 1.0 - q))
        assert abs(float(contrary_share(sums)[0]) - share) <= 0.11
