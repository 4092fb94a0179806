"""Budgets that are wrong, to be planted under the real code: whoever promises a bound must notice each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from feedback_guard.limits import gcra
from feedback_guard.limits.gcra import Level
from feedback_guard.limits.interface import Budget, Charge, Refusal
from feedback_guard.limits.memory import MemoryBudgets

Settle = Callable[[Budget, Level | None, int], Level]
Bug = Callable[[pytest.MonkeyPatch], None]


class Stale(MemoryBudgets):
    """Reads, then writes: every other charge is decided by what was there before the one before it."""

    def __init__(self) -> None:
        super().__init__()
        self._before: dict[str, Level] = {}
        self._turn = 0

    def charge(self, charges: Sequence[Charge], now_us: int) -> Refusal | None:
        self._turn += 1
        known, self._before = self._before, dict(self._levels)
        if self._turn % 2:
            return super().charge(charges, now_us)
        current, self._levels = self._levels, known
        refusal = super().peek(charges, now_us)
        self._levels = current
        if refusal is None:
            self.force(charges, now_us)
        return refusal


def fixed_window(patch: pytest.MonkeyPatch) -> None:
    """Starts anew every period."""

    def settle(budget: Budget, level: Level | None, now_us: int) -> Level:
        period = budget.period_us
        if level is None or period is None:
            return right(budget, level, now_us)
        last = max(level.last_us, now_us)
        return Level(level.used_micro if last // period == level.last_us // period else 0, 0, period, last)

    right = gcra.settle
    arithmetic(patch, settle)


def no_clamp(patch: pytest.MonkeyPatch) -> None:
    """Lets credit pile up while nobody teaches."""

    def settle(budget: Budget, level: Level | None, now_us: int) -> Level:
        if level is None or budget.period_us is None:
            return right(budget, level, now_us)
        last = max(level.last_us, now_us)
        scaled = level.used_micro * budget.period_us + level.rest - (last - level.last_us) * budget.amount_micro
        return Level(*divmod(scaled, budget.period_us), budget.period_us, last)

    right = gcra.settle
    arithmetic(patch, settle)


def arithmetic(patch: pytest.MonkeyPatch, settle: Settle) -> None:
    def charged(budget: Budget, level: Level | None, cost_micro: int, now_us: int) -> Level | None:
        settled = settle(budget, level, now_us)
        return gcra.add(settled, cost_micro) if gcra.fits(budget, settled, cost_micro) else None

    patch.setattr(gcra, "settle", settle)
    patch.setattr(gcra, "charged", charged)


def one_unit_too_many(patch: pytest.MonkeyPatch) -> None:
    """Has room for a whole contribution where there is room for a micro-unit of it."""

    def charged(budget: Budget, level: Level | None, cost_micro: int, now_us: int) -> Level | None:
        settled = gcra.settle(budget, level, now_us)
        return gcra.add(settled, cost_micro) if gcra.fits(budget, settled, min(cost_micro, 1)) else None

    patch.setattr(gcra, "charged", charged)


ARITHMETIC: tuple[Bug, ...] = (fixed_window, no_clamp, one_unit_too_many)
"""Bugs of the budgets' arithmetic."""
