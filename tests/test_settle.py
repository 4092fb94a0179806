"""From proposals to verdicts: what is charged, what is held together, what a full budget does."""

from __future__ import annotations

import pytest

from feedback_guard.assessment import Assessment
from feedback_guard.contribution import Contribution, Kind
from feedback_guard.limits.interface import UNIT
from feedback_guard.limits.memory import MemoryBudgets
from feedback_guard.limits.plan import budget_of
from feedback_guard.policy.limits import LimitPolicy
from feedback_guard.policy.routes import OnHold
from feedback_guard.settle import Settler
from feedback_guard.submission import Submission
from feedback_guard.verdict import Decision, Reason

RATE = LimitPolicy(name="rate", facet="contributor", measure="count", amount=3, per="1h")
WEIGHT = LimitPolicy(name="weight", facet="contributor", measure="weight", amount=2)
GOOD = Assessment(Decision.ACCEPT, 1.0, 0.1, ())
FAINT = Assessment(Decision.ACCEPT, 0.25, 0.97, ())
BAD = Assessment(Decision.QUARANTINE, 0.0, 0.999, (Reason("disagreement", "contradicts"),))


def settler(*limits: LimitPolicy) -> Settler:
    return Settler(limits, "sha256:p", "sha256:b", observed=False)


def submission(n: int = 1, *, on_hold: OnHold = OnHold.HOLD, who: str = "u") -> Submission:
    return Submission("r", on_hold, tuple(Contribution(f"c{i}", 0, who, Kind.LABEL, "x", "y") for i in range(n)))


def left(budgets: MemoryBudgets, limit: LimitPolicy, who: str = "u") -> float:
    return budgets.balance(budget_of(limit), f"id:{who}", 0).remaining_micro / UNIT


def test_an_attempt_costs_one_and_an_acceptance_its_weight() -> None:
    budgets = MemoryBudgets()
    got = settler(RATE, WEIGHT).settle(submission(), [FAINT], budgets, 0)
    assert (got.decision, got.verdicts[0].weight) == (Decision.ACCEPT, 0.25)
    assert (left(budgets, RATE), left(budgets, WEIGHT)) == (2, 1.75)


def test_what_is_held_costs_an_attempt_but_no_influence() -> None:
    budgets = MemoryBudgets()
    assert settler(RATE, WEIGHT).settle(submission(), [BAD], budgets, 0).decision is Decision.QUARANTINE
    assert (left(budgets, RATE), left(budgets, WEIGHT)) == (2, 2)


def test_without_room_for_attempts_nothing_is_charged_and_the_client_learns_when() -> None:
    budgets = MemoryBudgets()
    got = settler(RATE, WEIGHT).settle(submission(4), [GOOD] * 4, budgets, 0)
    assert {v.decision for v in got.verdicts} == {Decision.LIMIT}
    assert (left(budgets, RATE), left(budgets, WEIGHT)) == (3, 2)
    three = settler(RATE).settle(submission(3), [GOOD] * 3, budgets, 0)
    assert three.decision is Decision.ACCEPT
    again = settler(RATE).settle(submission(), [GOOD], budgets, 0)
    assert again.verdicts[0].retry_after_us == 1_200_000_000
    assert again.refusal is not None


def test_influence_without_room_limits_the_whole_request_and_keeps_the_attempts_charged() -> None:
    budgets = MemoryBudgets()
    got = settler(RATE, WEIGHT).settle(submission(3, on_hold=OnHold.PASS), [GOOD] * 3, budgets, 0)
    assert [v.decision for v in got.verdicts] == [Decision.LIMIT] * 3
    assert all(v.weight == 0.0 and v.retry_after_us is None for v in got.verdicts)
    assert (left(budgets, RATE), left(budgets, WEIGHT)) == (0, 2)


def test_a_request_that_is_held_is_held_whole() -> None:
    budgets = MemoryBudgets()
    got = settler(WEIGHT).settle(submission(3), [GOOD, BAD, GOOD], budgets, 0)
    assert [v.decision for v in got.verdicts] == [Decision.QUARANTINE] * 3
    assert "one request" in got.verdicts[0].reasons[-1].message
    assert left(budgets, WEIGHT) == 2


def test_a_request_that_passes_anyway_is_judged_piece_by_piece() -> None:
    budgets = MemoryBudgets()
    got = settler(WEIGHT).settle(submission(2, on_hold=OnHold.PASS), [GOOD, BAD], budgets, 0)
    assert [v.decision for v in got.verdicts] == [Decision.ACCEPT, Decision.QUARANTINE]
    assert got.decision is Decision.QUARANTINE
    assert left(budgets, WEIGHT) == 1


def test_the_early_check_sees_an_exhausted_lifetime_without_charging() -> None:
    budgets, rules = MemoryBudgets(), settler(RATE, WEIGHT)
    assert budgets.peek(rules.early(submission()), 0) is None
    rules.settle(submission(2), [GOOD] * 2, budgets, 0)
    refusal = budgets.peek(rules.early(submission()), 0)
    assert refusal is not None
    assert refusal.charge.budget.name == "weight"


@pytest.mark.parametrize("who", ["u", "someone-else"])
def test_one_contributors_exhaustion_is_her_own(who: str) -> None:
    budgets, rules = MemoryBudgets(), settler(WEIGHT)
    rules.settle(submission(2, who="u"), [GOOD] * 2, budgets, 0)
    got = rules.settle(submission(who=who), [GOOD], budgets, 0)
    assert got.decision is (Decision.LIMIT if who == "u" else Decision.ACCEPT)


def test_verdicts_name_what_they_were_made_by() -> None:
    verdict = (
        Settler((), "sha256:p", "sha256:b", observed=True).settle(submission(), [BAD], MemoryBudgets(), 0).verdicts[0]
    )
    assert (verdict.policy, verdict.baseline, verdict.observed) == ("sha256:p", "sha256:b", True)
    assert verdict.to_json()["reasons"] == [
        {"signal": "disagreement", "facet": None, "p_value": None, "message": "contradicts"}
    ]
