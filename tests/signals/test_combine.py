"""The weighted Bonferroni bound holds however the signals depend on each other."""

from __future__ import annotations

import numpy as np
import pytest

from feedback_guard.errors import SignalError, UsageError
from feedback_guard.policy.signals import SignalsPolicy
from feedback_guard.signals.combine import combine
from feedback_guard.signals.interface import Condition, Finding

SHARES = SignalsPolicy().shares


def findings(**p_values: float | None) -> list[Finding]:
    return [
        Finding(name, p, "a sentence", Condition.SCORED if p is not None else Condition.ABSTAINED)
        for name, p in p_values.items()
    ]


def test_the_combined_p_value_is_the_least_over_its_share() -> None:
    got = combine(findings(disagreement=0.02, novelty=0.003, anomaly=0.5), SHARES)
    assert got.p_value == pytest.approx(0.003 / SHARES["novelty"])
    assert [finding.signal for finding in got.leading] == ["novelty", "disagreement", "anomaly"]
    assert got.suspicion == 1.0 - got.p_value


def test_it_is_at_most_1() -> None:
    assert combine(findings(disagreement=0.9, novelty=1.0), SHARES).p_value == 1.0


def test_what_was_not_scored_does_not_count_and_nothing_scored_is_not_called_normal() -> None:
    assert combine(findings(disagreement=None, novelty=0.03), SHARES).p_value == pytest.approx(0.03 / 0.15)
    nothing = combine(findings(disagreement=None), SHARES)
    assert (nothing.p_value, nothing.scored, nothing.leading) == (1.0, False, ())


def test_a_signal_without_a_share_is_off() -> None:
    assert combine(findings(disagreement=1e-9), {"disagreement": 0.0, "novelty": 1.0}).p_value == 1.0
    assert combine(findings(surprise=1e-9), {"novelty": 1.0}).p_value == 1.0


def test_equally_strong_findings_stand_in_a_fixed_order() -> None:
    shares = {"b": 0.5, "a": 0.5}
    one = combine(findings(a=0.1, b=0.1), shares).leading
    other = combine(findings(b=0.1, a=0.1), shares).leading
    assert one == other


@pytest.mark.parametrize("p", [0.0, -0.1, 1.5, float("nan")])
def test_a_p_value_outside_0_to_1_is_refused(p: float) -> None:
    with pytest.raises(SignalError, match="outside"):
        combine(findings(novelty=p), SHARES)


def test_a_signal_that_speaks_twice_is_refused() -> None:
    with pytest.raises(SignalError, match="two findings"):
        combine([*findings(novelty=0.5), *findings(novelty=0.5)], SHARES)


@pytest.mark.parametrize("shares", [{"a": 0.7, "b": 0.7}, {"a": -0.1, "b": 0.5}])
def test_shares_that_break_the_bound_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="at most 1"):
        combine(findings(a=0.5), shares)


@pytest.mark.parametrize("dependence", ["the same", "opposite", "one after the other", "independent"])
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
def test_no_more_than_the_false_hold_rate_is_held_whatever_the_dependence(dependence: str, rate: float) -> None:
    rng = np.random.default_rng(7)
    n = 4_000
    u = (np.arange(n) + 0.5) / n  # exactly uniform, so that the bound is tested without luck
    names = list(SHARES)
    columns = {
        "the same": [u] * 5,
        "opposite": [u, 1 - u, u, 1 - u, u],
        # disjoint small p-values: the worst case of the bound
        "one after the other": [np.mod(u + sum(list(SHARES.values())[:k]) * rate, 1.0) for k in range(5)],
        "independent": [rng.permutation(u) for _ in range(5)],
    }[dependence]
    held = 0
    for row in zip(*columns, strict=True):
        named = dict(zip(names, (max(float(p), 1e-9) for p in row), strict=True))
        held += combine(findings(**named), SHARES).p_value <= rate
    assert held <= rate * n + 5
