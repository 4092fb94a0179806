"""Which budgets a contribution charges, and how much: from the policy's limits to charges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final

from feedback_guard.contribution import Contribution
from feedback_guard.limits.interface import UNIT, Budget, Charge, Measure
from feedback_guard.policy.limits import LimitPolicy

_EVERYBODY_UNNAMED: Final = "anonymous"
"""The key that all contributions without a contributor share."""
_NAMED: Final = "id:"
"""Stands before every identifier, so that nobody can be called what all the unnamed are called."""
_WEIGHT: Final = Measure.WEIGHT


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
    plan = Plan(limits)
    return plan.of_sender(contribution, anonymous=anonymous, attempts=attempts, weight_micro=weight_micro)


class Plan:
    """Limits made ready: what they charge is asked several times for every contribution, the limits stay the same.

    Parameters
    ----------
    limits
        The policy's, or some of them.
    """

    def __init__(self, limits: Iterable[LimitPolicy]) -> None:
        found = tuple(limits)
        self._own = tuple(
            (budget_of(limit), limit.facet.removeprefix("group:") if limit.facet.startswith("group:") else None)
            for limit in found
            if not limit.shared
        )
        self._said = tuple((budget_of(limit), limit.name) for limit in found if limit.shared)
        self._pots = frozenset(budget.measure for budget, _ in self._own if budget.facet == "anonymous")

    def of_sender(
        self, contribution: Contribution, *, anonymous: bool = False, attempts: int = 0, weight_micro: int = 0
    ) -> list[Charge]:
        """What one contribution costs the budgets on who sends; see `charges_for`."""
        name = _EVERYBODY_UNNAMED if anonymous else _NAMED + contribution.contributor
        charges = []
        for budget, group in self._own:
            cost = weight_micro if budget.measure is _WEIGHT else attempts * UNIT
            if not cost:
                continue
            if group is not None:
                value = contribution.groups.get(group)
                if value is not None:
                    charges.append(Charge(budget, _NAMED + value, cost))
            elif budget.facet == "contributor":
                # The unnamed have a pot of their own where the policy gives them one.
                if not anonymous or budget.measure not in self._pots:
                    charges.append(Charge(budget, name, cost))
            elif anonymous:
                charges.append(Charge(budget, name, cost))
        return charges

    def of_content(self, keys: Mapping[str, Sequence[str]], weight_micro: int) -> list[Charge]:
        """What one accepted contribution costs the budgets on what is said, by the names of the limits."""
        charges = []
        for budget, name in self._said:
            if said := keys.get(name):
                charges += _shared(budget, said, weight_micro)
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
    return _shared(budget_of(limit), keys, weight_micro)


def _shared(budget: Budget, keys: Sequence[str], weight_micro: int) -> list[Charge]:
    cost = UNIT if budget.measure is Measure.COUNT else weight_micro
    return [Charge(budget, key, cost) for key in keys]
