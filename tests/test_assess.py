"""From findings to a proposed verdict: the hold line, the weight, and what happens when a detector breaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import numpy as np
import pytest

from feedback_guard.assess import Assessor
from feedback_guard.contribution import Contribution, Kind
from feedback_guard.errors import SignalError
from feedback_guard.evidence.observe import canonical_texts
from feedback_guard.policy.signals import SignalsPolicy
from feedback_guard.signals.interface import Condition, Finding, Observation, Signal, State
from feedback_guard.verdict import Decision

LINE = 0.02
POLICY = SignalsPolicy.model_validate(
    {
        "false_hold_rate": LINE,
        "full_weight_at": 3,
        "disagreement": {"share": 0.5},
        "novelty": {"share": 0.5},
        "anomaly": {"share": 0},
        "near_duplicate": {"share": 0},
        "obfuscation": {"share": 0},
    }
)


class Says(Signal):
    """A detector that always finds the same."""

    name: ClassVar[str] = "says"

    def __init__(self, found: Finding | Exception) -> None:
        self.found = found
        self.together: list[int] = []

    @classmethod
    def fit(cls, trusted: Sequence[Observation], *, seed: int) -> State:
        return State()

    @classmethod
    def from_state(cls, state: State) -> Self:
        raise NotImplementedError

    def score(self, observation: Observation) -> Finding:
        if isinstance(self.found, Exception):
            raise self.found
        if observation.contribution.label == "breaks":
            raise SignalError("this one cannot be scored")
        if observation.contribution.label == "odd":
            return finding(self.found.signal, 0.001)
        return self.found

    def score_all(self, observations: Sequence[Observation]) -> list[Finding]:
        self.together.append(len(observations))
        return super().score_all(observations)

    def state(self) -> State:
        return State()


def finding(name: str, p_value: float | None, condition: Condition = Condition.SCORED) -> Finding:
    return Finding(name, p_value, f"{name} says so", condition)


def observation(label: str = "known", kind: Kind = Kind.LABEL) -> Observation:
    item = Contribution("c", 0, "u", kind, "text", label=label if kind is Kind.LABEL else None, output="o")
    vector = np.full((1, 4), 0.5, np.float32)
    return Observation(item, canonical_texts(item), dict.fromkeys(item.texts, vector))


def assessor(found: Mapping[str, Finding | Exception], *, fail_open: bool = False, **changes: object) -> Assessor:
    policy = POLICY.model_copy(update=changes)
    return Assessor(policy, {n: Says(f) for n, f in found.items()}, labels=frozenset({"known"}), fail_open=fail_open)


@pytest.mark.parametrize(
    ("p_value", "decision", "weight"),
    [
        (0.005, "quarantine", 0.0),
        (0.01, "quarantine", 0.0),
        (0.015, "accept", 0.25),
        (0.03, "accept", 1.0),
        (1, "accept", 1.0),
    ],
)
def test_the_hold_line_and_the_growth_of_weight_above_it(p_value: float, decision: str, weight: float) -> None:
    got = assessor({"disagreement": finding("disagreement", p_value), "novelty": finding("novelty", 1.0)}).assess(
        observation()
    )
    assert got.decision.value == decision
    assert got.weight == pytest.approx(weight)
    assert got.suspicion == pytest.approx(1 - min(1.0, p_value / 0.5))


def test_reasons_come_strongest_first() -> None:
    got = assessor({"disagreement": finding("disagreement", 0.4), "novelty": finding("novelty", 0.004)}).assess(
        observation()
    )
    assert [reason.signal for reason in got.reasons] == ["novelty", "disagreement"]
    assert got.reasons[0].p_value == 0.004


def test_a_signal_that_is_off_is_not_asked() -> None:
    got = assessor({"disagreement": finding("disagreement", 1.0), "anomaly": RuntimeError("never called")}).assess(
        observation()
    )
    assert got.decision is Decision.ACCEPT


@pytest.mark.parametrize("fail_open", [False, True])
def test_a_broken_detector_holds_unless_the_policy_fails_open(
    fail_open: bool, caplog: pytest.LogCaptureFixture
) -> None:
    broken = assessor({"disagreement": ValueError("NaN"), "novelty": finding("novelty", 1.0)}, fail_open=fail_open)
    got = broken.assess(observation())
    assert got.decision is (Decision.ACCEPT if fail_open else Decision.QUARANTINE)
    assert got.unscored
    assert "disagreement failed" in got.reasons[0].message
    assert "the signal disagreement failed" in caplog.text


def test_of_several_that_are_assessed_together_one_fails_alone() -> None:
    judging = assessor({"disagreement": finding("disagreement", 1.0), "novelty": finding("novelty", 0.9)})
    those = [observation(), observation("breaks"), observation("odd")]
    got = judging.assess_all(those)
    assert got == [judging.assess(each) for each in those]
    assert [each.unscored for each in got] == [False, True, False]
    assert [each.decision for each in got] == [Decision.ACCEPT, Decision.QUARANTINE, Decision.QUARANTINE]
    assert judging.assess_all([]) == []


def test_each_signal_is_asked_once_for_several_and_each_has_its_own_answer() -> None:
    signal = Says(finding("novelty", 0.9))
    judging = Assessor(POLICY, {"novelty": signal}, labels=frozenset({"known", "odd"}), fail_open=False)
    got = judging.assess_all([observation("odd"), observation(), observation()])
    assert [each.decision for each in got] == [Decision.QUARANTINE, Decision.ACCEPT, Decision.ACCEPT]
    assert signal.together == [3]


def test_without_a_baseline_several_pass_unscored() -> None:
    assert [each.unscored for each in assessor({}).assess_all([observation(), observation()])] == [True, True]


def test_if_no_detector_can_speak_it_is_held_and_not_taken_for_normal() -> None:
    silent = finding("disagreement", None, Condition.WARMING)
    got = assessor({"disagreement": silent}).assess(observation(kind=Kind.CORRECTION))
    assert got.decision is Decision.QUARANTINE
    assert "no detector can judge a correction" in got.reasons[0].message


@pytest.mark.parametrize(("rule", "decision", "weight"), [("accept", "accept", 0.7), ("quarantine", "quarantine", 0.0)])
def test_a_label_that_the_trusted_set_never_saw(rule: str, decision: str, weight: float) -> None:
    got = assessor({"novelty": finding("novelty", 1.0)}, unknown_label=rule).assess(observation(label="new"))
    assert (got.decision.value, got.weight) == (decision, weight)
    assert "never seen this label" in got.reasons[-1].message


def test_without_a_baseline_nothing_is_stopped_and_it_says_so() -> None:
    got = assessor({}).assess(observation())
    assert (got.decision, got.unscored) == (Decision.ACCEPT, True)
    assert "no baseline" in got.reasons[0].message
