"""The two tests keep their false-alarm rates when one may look after every member, and find what they are for."""

from __future__ import annotations

import numpy as np
import pytest

from feedback_guard.evidence.martingales import (
    CONTRARY,
    HONEST,
    HONEST_PRIOR,
    MOST_SHIFT,
    SHIFT_WIDTH,
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


def shift_run(rng: np.random.Generator, shift: float, n_trusted: int = 0, *, whatever: float | None = None) -> float:
    """The same for a facet that speaks for a class by so many log-odds, or that teaches it whatever the content."""
    sums, highest = np.zeros((1, 15)), 0.0
    for q in chances(rng, MEMBERS):
        true = 1.0 / (1.0 + np.exp(-(np.log(q / (1.0 - q)) + shift)))
        taught = rng.random() < (true if whatever is None else whatever)
        sums += shift_steps(np.array([q]), np.array([taught]))
        highest = max(highest, float(shift_evidence(sums, np.array([n_trusted]))[0]))
    return highest


def too_often(highest: list[float]) -> bool:
    """Whether evidence of 1/LEVEL was reached more often than promised, beyond what chance explains."""
    rate = float(np.mean([value >= np.log(1.0 / LEVEL) for value in highest]))
    return bool(rate > LEVEL + 3.0 * np.sqrt(LEVEL * (1.0 - LEVEL) / len(highest)))


def test_honest_facets_rarely_reach_the_line() -> None:
    rng = np.random.default_rng(1)
    shares = rng.choice(HONEST, p=np.exp(HONEST_PRIOR) / np.exp(HONEST_PRIOR).sum(), size=RUNS)
    assert not too_often([contradiction_run(rng, share) for share in shares])


def test_an_honest_word_may_speak_for_a_class() -> None:
    rng = np.random.default_rng(2)
    shifts = np.clip(rng.normal(0.0, SHIFT_WIDTH, RUNS), -MOST_SHIFT, MOST_SHIFT)
    assert not too_often([shift_run(rng, shift) for shift in shifts])


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
