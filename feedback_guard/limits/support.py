"""When so many established contributors use a phrase that it is theirs, its budget is lifted.

A new product's name is rare today and everybody's word next month; a trigger that one attacker plants is used by the
accounts that she has. Supporters are counted from the moment that half of the budget is used, so that nearly all
phrases, which never come so far, cost nothing.
"""

from __future__ import annotations

from typing import Final

from feedback_guard.limits.interface import UNIT, Budget, BudgetRecord, Charge, Measure
from feedback_guard.limits.plan import budget_of
from feedback_guard.policy.limits import LimitPolicy

_COUNT: Final = Measure.COUNT


def is_lifted(limit: LimitPolicy, budgets: BudgetRecord, key: str, now_us: int) -> bool:
    """Whether enough established contributors use a phrase."""
    return limit.supporters is not None and budgets.balance(_all(limit), key, now_us).remaining_micro == 0


def wants_support(limit: LimitPolicy, budgets: BudgetRecord, key: str, now_us: int) -> bool:
    """Whether supporters of a phrase are counted: its budget is half used."""
    budget = budget_of(limit)
    return (
        limit.supporters is not None and 2 * budgets.balance(budget, key, now_us).remaining_micro <= budget.amount_micro
    )


def support(limit: LimitPolicy, budgets: BudgetRecord, key: str, contributor: str, now_us: int) -> None:
    """Count an established contributor who uses a phrase, once, if its budget is half used.

    Parameters
    ----------
    limit
        A limit on phrases.
    budgets
        Where all of it is kept.
    key
        The phrase.
    contributor
        Hers is counted only if her contribution would be accepted but for budgets.
    now_us
        Microseconds since the epoch.
    """
    if not wants_support(limit, budgets, key, now_us):
        return
    once = Budget(f"{limit.name}:supporter", limit.facet, _COUNT, UNIT, None, 0)
    budgets.charge([Charge(once, f"{key} {contributor}", UNIT), Charge(_all(limit), key, UNIT)], now_us)


def _all(limit: LimitPolicy) -> Budget:
    return Budget(f"{limit.name}:supporters", limit.facet, _COUNT, (limit.supporters or 1) * UNIT, None, 0)
