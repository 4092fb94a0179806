"""The arithmetic of a budget: exact, in integers, without a clock or a store of its own.

A rate budget is a bucket that leaks `amount` micro-units per period and overflows above `burst`. The level is kept
as a whole number of micro-units and a numerator over the period, so nothing is ever rounded: a charge is admitted
exactly when every interval of length t that ends now holds at most `burst + amount * t / period`.

This is the generic cell rate algorithm in its continuous-state leaky bucket form (ATM Forum TM 4.0,
4.4.3; ITU-T I.371).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from feedback_guard.errors import LimitError
from feedback_guard.limits.interface import Balance, Budget

MAX_COST_MICRO: Final = 10**15
"""Largest single cost, in micro-units: a billion contributions of full weight."""
_MAX_USED_MICRO: Final = 2**62
"""Where a debt stops growing, so that it still fits a 64-bit column."""


class Level(NamedTuple):
    """What one key has used of a budget, at the latest time it was charged.

    Parameters
    ----------
    used_micro
        Whole micro-units.
    rest
        Numerator of the fraction of a micro-unit, 0 <= rest < period_us; 0 for a lifetime budget.
    period_us
        Its denominator, the period in microseconds; 0 for a lifetime budget.
    last_us
        The time this level holds for, in microseconds since the epoch.
    """

    used_micro: int
    rest: int
    period_us: int
    last_us: int


def settle(budget: Budget, level: Level | None, now_us: int) -> Level:
    """Bring a level forward to now, in the key's own time.

    The key's time never runs backwards: an earlier `now_us` leaves the level as it is. A jump forward empties the
    bucket at most, so a clock that is wrong once gives away no more than one burst.

    Parameters
    ----------
    budget
        What is counted. If its period was changed since the level was stored, the fraction is rounded up.
    level
        None for a key that was never charged.
    now_us
        Microseconds since the epoch.

    Examples
    --------
    >>> from feedback_guard.limits.interface import Measure
    >>> ten_a_minute = Budget("b", "contributor", Measure.COUNT, 10_000_000, 60_000_000, 3_000_000)
    >>> settle(ten_a_minute, Level(3_000_000, 0, 60_000_000, 0), 6_000_000).used_micro
    2000000
    """
    period = budget.period_us or 0
    if level is None:
        return Level(0, 0, period, now_us)
    used, rest = level.used_micro, level.rest
    if level.period_us != period:
        used, rest = used + (1 if rest else 0), 0
    last = max(level.last_us, now_us)
    if period:
        scaled = max(0, used * period + rest - (last - level.last_us) * budget.amount_micro)
        used, rest = divmod(scaled, period)
    return Level(used, rest, period, last)


def capacity_micro(budget: Budget) -> int:
    """The most that may ever be charged at once, in micro-units."""
    return budget.amount_micro if budget.period_us is None else budget.burst_micro


def fits(budget: Budget, settled: Level, cost_micro: int) -> bool:
    """Whether a cost has room in a settled level. What costs nothing always has."""
    if cost_micro == 0:
        return True
    total = settled.used_micro + cost_micro
    capacity = capacity_micro(budget)
    return total < capacity or (total == capacity and settled.rest == 0)


def add(settled: Level, cost_micro: int) -> Level:
    """The level after a cost, whether it had room or not."""
    used = min(settled.used_micro + cost_micro, _MAX_USED_MICRO)
    return Level(used, settled.rest, settled.period_us, settled.last_us)


def charged(budget: Budget, level: Level | None, cost_micro: int, now_us: int) -> Level | None:
    """The level after a charge, or None where there is no room: `settle`, `fits` and `add` in one step.

    It is asked ten times and more for each contribution, so it makes one object instead of two and calls nothing.

    Parameters
    ----------
    budget, cost_micro
        What is charged; `check` was content with both.
    level
        As it is stored; None for a key that was never charged.
    now_us
        Microseconds since the epoch.

    Examples
    --------
    >>> from feedback_guard.limits.interface import Measure
    >>> two_ever = Budget("b", "contributor", Measure.COUNT, 2_000_000, None, 0)
    >>> one = charged(two_ever, None, 1_000_000, 0)
    >>> one.used_micro, charged(two_ever, one, 1_000_001, 0)
    (1000000, None)
    """
    period = budget.period_us or 0
    used = rest = 0
    last = now_us
    if level is not None:
        used, rest = level.used_micro, level.rest
        if level.period_us != period:
            used, rest = used + (1 if rest else 0), 0
        last = max(last, level.last_us)
        if period and (used or rest):
            scaled = used * period + rest - (last - level.last_us) * budget.amount_micro
            used, rest = divmod(scaled, period) if scaled > 0 else (0, 0)
    if cost_micro:
        used += cost_micro
        capacity = budget.burst_micro if period else budget.amount_micro
        if used > capacity or (rest and used == capacity):
            return None
    return Level(used, rest, period, last)


def remaining_micro(budget: Budget, settled: Level) -> int:
    """Whole micro-units that would still fit; 0 when in debt."""
    left = capacity_micro(budget) - settled.used_micro - (1 if settled.rest else 0)
    return max(0, left)


def retry_after_us(budget: Budget, settled: Level, cost_micro: int, now_us: int) -> int | None:
    """Microseconds from now until a cost fits, if nothing else is charged; None when it never will.

    It is exact: one microsecond earlier the cost does not fit.
    """
    if fits(budget, settled, cost_micro):
        return 0
    if budget.period_us is None or cost_micro > budget.burst_micro:
        return None
    period = budget.period_us
    excess = (settled.used_micro + cost_micro - budget.burst_micro) * period + settled.rest
    return settled.last_us - now_us + _divide_up(excess, budget.amount_micro)


def balance(budget: Budget, settled: Level, now_us: int) -> Balance:
    """What is left, and the microseconds until all of it is back (None for a lifetime budget)."""
    if budget.period_us is None:
        return Balance(remaining_micro(budget, settled), None)
    scaled = settled.used_micro * budget.period_us + settled.rest
    reset = settled.last_us - now_us + _divide_up(scaled, budget.amount_micro) if scaled else 0
    return Balance(remaining_micro(budget, settled), reset)


def check(budget: Budget, cost_micro: int) -> None:
    """Refuse a budget or a cost that the arithmetic does not hold for.

    Raises
    ------
    LimitError
        Naming the budget and what is wrong with it.
    """
    if not 0 <= cost_micro <= MAX_COST_MICRO:
        raise LimitError(
            f"budget {budget.name!r}: a cost must lie in 0..{MAX_COST_MICRO} micro-units, not {cost_micro}"
        )
    if budget.amount_micro <= 0:
        raise LimitError(f"budget {budget.name!r}: the amount must be positive, not {budget.amount_micro} micro-units")
    if budget.period_us is not None and (budget.period_us <= 0 or budget.burst_micro <= 0):
        raise LimitError(f"budget {budget.name!r}: the period and the burst of a rate must be positive")


def _divide_up(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)
