from __future__ import annotations

import pytest

from feedback_guard.contribution import Contribution, Kind
from feedback_guard.limits.interface import UNIT, Measure
from feedback_guard.limits.plan import budget_of, charges_for
from feedback_guard.policy.limits import LimitPolicy


def limit(name: str, facet: str, measure: str = "count", **options: object) -> LimitPolicy:
    return LimitPolicy.model_validate({"name": name, "facet": facet, "measure": measure, "amount": 5, **options})


def contribution(contributor: str = "alice", **groups: str) -> Contribution:
    return Contribution("c1", 0, contributor, Kind.LABEL, "text", label="x", groups=groups)


def test_a_limit_becomes_a_budget_in_micro_units() -> None:
    budget = budget_of(limit("daily", "contributor", "weight", per="1d", burst=2.5))
    assert (budget.amount_micro, budget.burst_micro, budget.period_us) == (5 * UNIT, 2_500_000, 86_400 * 10**6)
    assert budget.measure is Measure.WEIGHT


def test_the_burst_is_the_amount_unless_the_policy_says_so() -> None:
    assert budget_of(limit("daily", "contributor", per="1d")).burst_micro == 5 * UNIT


def test_an_amount_below_a_micro_unit_still_is_a_budget() -> None:
    assert budget_of(limit("tiny", "contributor", amount=1e-9)).amount_micro == 1


def test_attempts_charge_counts_and_weight_charges_influence() -> None:
    limits = [limit("often", "contributor"), limit("much", "contributor", "weight")]
    assert [c.budget.name for c in charges_for(limits, contribution(), attempts=1)] == ["often"]
    charges = charges_for(limits, contribution(), weight_micro=300_000)
    assert [(c.budget.name, c.cost_micro) for c in charges] == [("much", 300_000)]
    assert charges_for(limits, contribution()) == []


def test_groups_are_charged_where_the_contribution_belongs_to_them() -> None:
    limits = [limit("net", "group:network"), limit("ten", "group:tenant")]
    charges = charges_for(limits, contribution(network="10.0.0.0/24"), attempts=2)
    assert [(c.budget.name, c.cost_micro) for c in charges] == [("net", 2 * UNIT)]


def test_named_contributors_leave_the_anonymous_budget_alone() -> None:
    assert charges_for([limit("anon", "anonymous")], contribution("anonymous"), attempts=1) == []


def test_the_unnamed_share_one_budget_that_no_name_can_reach() -> None:
    limits = [limit("each", "contributor")]
    one = charges_for(limits, contribution("a"), anonymous=True, attempts=1)
    other = charges_for(limits, contribution("b"), anonymous=True, attempts=1)
    assert one == other
    for name in ("anonymous", "id:anonymous", "a"):
        assert charges_for(limits, contribution(name), attempts=1)[0].key != one[0].key


def test_an_anonymous_budget_takes_the_place_of_the_contributors_of_its_measure() -> None:
    limits = [limit("each", "contributor"), limit("anon", "anonymous"), limit("much", "contributor", "weight")]
    charges = charges_for(limits, contribution(), anonymous=True, attempts=1, weight_micro=UNIT)
    assert [c.budget.name for c in charges] == ["anon", "much"]


@pytest.mark.parametrize("anonymous", [False, True])
def test_leaving_the_name_out_never_lifts_every_limit(anonymous: bool) -> None:
    assert charges_for([limit("each", "contributor")], contribution(), anonymous=anonymous, attempts=1)
