"""Which budgets a contribution charges, and how much: from the policy's limits to charges."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from feedback_guard.contribution import Contribution
from feedback_guard.limits.interface import UNIT, Budget, Charge, Measure
from feedback_guard.policy.limits import LimitPolicy

_EVERYBODY_UNNAMED: Final = "anonymous"
"""The key that all contributions without a contributor share."""
_NAMED: Final = "id:"
"""Stands before every identifier, so that nobody can be called what all the unnamed are called."""


@lru_cache(maxsize=1_024)
def budget_of(limit: LimitPolicy) -> Budget:
    """The budget that a limit of the policy describes, in micro-units and microseconds.

    Examples
    --------
    >>> budget_of(LimitPolicy(name="b", facet="contributor", measure="weight", amount=2.5, per="1h")).burst_micro
    2500000
    """
    amount = max(1, round(limit.amount * UNIT))
    burst = 0
    if limit.per is not None:
        burst = amount if limit.burst is None else max(1, round(limit.burst * UNIT))
    return Budget(
        name=limit.name,
        facet=limit.facet,
        measure=Measure(limit.measure),
        amount_micro=amount,
        period_us=limit.per,
        burst_micro=burst,
    )


def charges_for(
    limits: Sequence[LimitPolicy],
    contribution: Contribution,
    *,
    anonymous: bool = False,
    attempts: int = 0,
    weight_micro: int = 0,
) -> list[Charge]:
    """The charges of one contribution against every budget that fits it.

    Parameters
    ----------
    limits
        The policy's limits. Those on what is said charge nothing here.
    contribution
        Whose contributor and groups are charged.
    anonymous
        True when nobody is named. Such contributions share the `anonymous` budgets; where the policy has none of a
        measure, they share one `contributor` budget of it, so that leaving the name out never lifts a limit.
    attempts
        How often it counts against `count` budgets: 1 for a judged contribution, 0 to leave them alone.
    weight_micro
        What it costs `weight` budgets, in micro-units: its accepted weight, 0 to leave them alone.

    Returns
    -------
    list of Charge
        In the order of the limits; those that would cost nothing are left out. A group the contribution does not
        belong to is not charged.

    Examples
    --------
    >>> from feedback_guard.contribution import Kind
    >>> limit = LimitPolicy(name="daily", facet="contributor", measure="count", amount=5, per="1d")
    >>> [c.cost_micro for c in charges_for([limit], Contribution("1", 0, "alice", Kind.LABEL, "x"), attempts=1)]
    [1000000]
    """
    costs = {Measure.COUNT: attempts * UNIT, Measure.WEIGHT: weight_micro}
    own_pot = {limit.measure for limit in limits if limit.facet == "anonymous"} if anonymous else set()
    charges = []
    for limit in limits:
        if limit.shared:
            continue
        budget = budget_of(limit)
        cost = costs[budget.measure]
        if not cost:
            continue
        key = _key(limit, contribution, anonymous=anonymous, own_pot=limit.measure in own_pot)
        if key is not None:
            charges.append(Charge(budget, key, cost))
    return charges


def shared_charges(limit: LimitPolicy, keys: Sequence[str], weight_micro: int) -> list[Charge]:
    """The charges of one accepted contribution against a budget on what is said.

    Parameters
    ----------
    limit
        Such a limit.
    keys
        The contribution's values of its facet.
    weight_micro
        Its accepted weight, in micro-units; what it costs where weight is measured.

    Examples
    --------
    >>> limit = LimitPolicy(name="rare", facet="phrase", measure="count", amount=50)
    >>> [c.cost_micro for c in shared_charges(limit, ["3f9a"], 250_000)]
    [1000000]
    """
    budget = budget_of(limit)
    cost = UNIT if budget.measure is Measure.COUNT else weight_micro
    return [Charge(budget, key, cost) for key in keys]


def _key(limit: LimitPolicy, contribution: Contribution, *, anonymous: bool, own_pot: bool) -> str | None:
    if limit.facet == "anonymous":
        return _EVERYBODY_UNNAMED if anonymous else None
    if limit.facet == "contributor":
        if not anonymous:
            return _NAMED + contribution.contributor
        return None if own_pot else _EVERYBODY_UNNAMED
    group = contribution.groups.get(limit.facet.removeprefix("group:"))
    return None if group is None else _NAMED + group
