"""The arithmetic against a brute-force oracle over all intervals."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback_guard.errors import LimitError
from feedback_guard.limits import gcra
from feedback_guard.limits.checks import over_admitted
from feedback_guard.limits.gcra import Level
from feedback_guard.limits.interface import UNIT, Budget, Measure


@st.composite
def budgets(draw: st.DrawFn) -> Budget:
    period = draw(st.one_of(st.integers(1, 50), st.integers(1, 10**12)))
    return Budget(
        "b",
        "contributor",
        Measure.COUNT,
        amount_micro=draw(st.one_of(st.integers(1, 50), st.integers(1, 10**12))),
        period_us=period,
        burst_micro=draw(st.one_of(st.integers(1, 50), st.integers(1, 10**9))),
    )


@st.composite
def schedules(draw: st.DrawFn) -> tuple[Budget, list[tuple[int, int]]]:
    """A budget with times that stand still, jump and go back, and costs around its burst."""
    budget = draw(budgets())
    period = budget.period_us or 1
    step = st.one_of(
        st.just(0),
        st.integers(-3, 3),
        st.integers(-2 * period, 2 * period),
        st.integers(-(10**15), 10**15),
    )
    cost = st.one_of(st.integers(0, 3), st.integers(0, budget.burst_micro + 2), st.just(budget.burst_micro))
    now, schedule = draw(st.integers(0, 10**15)), []
    for change, price in draw(st.lists(st.tuples(step, cost), max_size=25)):
        now += change
        schedule.append((now, price))
    return budget, schedule


@settings(max_examples=400, deadline=None)
@given(schedules())
def test_a_charge_is_admitted_exactly_when_every_interval_has_room(case: tuple[Budget, list[tuple[int, int]]]) -> None:
    budget, schedule = case
    level: Level | None = None
    admitted: list[tuple[int, int]] = []
    for now, cost in schedule:
        settled = gcra.settle(budget, level, now)
        if gcra.fits(budget, settled, cost):
            level = gcra.add(settled, cost)
            admitted.append((now, cost))
            assert over_admitted(budget, admitted) is None
        else:
            assert over_admitted(budget, [*admitted, (now, cost)]) is not None


@settings(max_examples=300, deadline=None)
@given(schedules())
def test_retry_after_is_the_very_microsecond(case: tuple[Budget, list[tuple[int, int]]]) -> None:
    budget, schedule = case
    level: Level | None = None
    for now, cost in schedule:
        settled = gcra.settle(budget, level, now)
        wait = gcra.retry_after_us(budget, settled, cost, now)
        if gcra.fits(budget, settled, cost):
            assert wait == 0
            level = gcra.add(settled, cost)
        elif cost > budget.burst_micro:
            assert wait is None
        else:
            assert wait is not None
            assert wait > 0
            assert gcra.fits(budget, gcra.settle(budget, level, now + wait), cost)
            assert not gcra.fits(budget, gcra.settle(budget, level, now + wait - 1), cost)


@settings(max_examples=200, deadline=None)
@given(schedules(), st.integers(0, 10**9))
def test_what_remains_fits_and_one_more_does_not(case: tuple[Budget, list[tuple[int, int]]], debt: int) -> None:
    budget, schedule = case
    level = gcra.add(gcra.settle(budget, None, 0), debt)
    for now, cost in schedule:
        settled = gcra.settle(budget, level, now)
        remaining = gcra.remaining_micro(budget, settled)
        assert gcra.fits(budget, settled, remaining)
        assert not gcra.fits(budget, settled, remaining + 1)
        balance = gcra.balance(budget, settled, now)
        assert balance.reset_us is not None
        assert gcra.settle(budget, level, now + balance.reset_us).used_micro == 0
        level = gcra.add(settled, cost) if gcra.fits(budget, settled, cost) else level


def test_a_level_fits_64_bits_however_large_the_debt() -> None:
    budget = Budget("b", "contributor", Measure.WEIGHT, 1, None, 0)
    level = gcra.settle(budget, None, 0)
    for _ in range(10_000):
        level = gcra.add(level, gcra.MAX_COST_MICRO)
    assert level.used_micro < 2**63


@pytest.mark.parametrize("cost", [-1, gcra.MAX_COST_MICRO + 1])
def test_a_senseless_cost_is_refused(cost: int) -> None:
    with pytest.raises(LimitError, match="'b'"):
        gcra.check(Budget("b", "contributor", Measure.COUNT, UNIT, None, 0), cost)


@settings(max_examples=400, deadline=None)
@given(schedules(), budgets(), st.booleans())
def test_one_step_charges_as_three_do(
    case: tuple[Budget, list[tuple[int, int]]], before: Budget, lasting: bool
) -> None:
    """`charged` is `settle`, `fits` and `add`, on levels that an earlier policy left, too, and for lifetime budgets."""
    budget, schedule = case
    if lasting:
        budget = replace(budget, period_us=None)
    level: Level | None = gcra.add(Level(3, (before.period_us or 1) - 1, before.period_us or 0, 7), before.burst_micro)
    for now, cost in schedule:
        settled = gcra.settle(budget, level, now)
        expected = gcra.add(settled, cost) if gcra.fits(budget, settled, cost) else None
        assert gcra.charged(budget, level, cost, now) == expected
        level = expected or level
    assert gcra.charged(budget, None, 1, 5) == gcra.add(gcra.settle(budget, None, 5), 1)
