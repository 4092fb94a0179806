"""What every budget store must do: a suite to run against an implementation, ours or yours.

Give each check a function that makes a fresh, empty store. It returns an `Opener`; every `with opener() as budgets`
is one transaction on that same store, and may happen in several threads at once::

    @pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())
    def test_my_budgets(check, tmp_path):
        check(lambda: open_my_store(tmp_path / secrets.token_hex(4)))
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Final

from feedback_guard.errors import LimitError
from feedback_guard.limits.interface import UNIT, Budget, BudgetStore, Charge, Measure

Opener = Callable[[], AbstractContextManager[BudgetStore]]
Fresh = Callable[[], Opener]

SECOND: Final = 1_000_000
_START: Final = 1_700_000_000 * SECOND


class CheckFailedError(AssertionError):
    """A budget store does not keep the contract; the message says which part of it."""


def rate(amount: float, per_us: int, burst: float, *, name: str = "rate", facet: str = "contributor") -> Budget:
    """A rate budget, for tests."""
    return Budget(name, facet, Measure.COUNT, round(amount * UNIT), per_us, round(burst * UNIT))


def lifetime(amount: float, *, name: str = "lifetime") -> Budget:
    """A lifetime budget, for tests."""
    return Budget(name, "contributor", Measure.WEIGHT, round(amount * UNIT), None, 0)


def over_admitted(budget: Budget, admitted: Sequence[tuple[int, int]]) -> str | None:
    """Look at every interval, by brute force, for more than the budget promises.

    Parameters
    ----------
    budget
        A rate budget.
    admitted
        Time in microseconds, as the caller's clock had it, and cost in micro-units of every charge that was
        admitted, in order. The key's own time is the running maximum of the former.

    Returns
    -------
    str or None
        A sentence about the first interval that holds too much.
    """
    period = budget.period_us or 1
    times: list[int] = []
    for at_us, _ in admitted:
        times.append(max(at_us, times[-1]) if times else at_us)
    for first in range(len(admitted)):
        total = 0
        for last in range(first, len(admitted)):
            total += admitted[last][1]
            length = times[last] - times[first]
            if total * period > budget.burst_micro * period + budget.amount_micro * length:
                return f"{total} micro-units within {length} us: {budget}"
    return None


def check_burst_is_exact(fresh: Fresh) -> None:
    """At one moment exactly the burst is admitted, to the micro-unit."""
    opener = fresh()
    budget = rate(10, 60 * SECOND, 3)
    _require(_admitted(opener, budget, [UNIT] * 5, _START) == 3 * UNIT, "a burst of 3 admits exactly 3")
    _require(_charge(opener, budget, 1, _START) is not None, "a full bucket has no room for one micro-unit more")


def check_refill_is_exact(fresh: Fresh) -> None:
    """`retry_after_us` is the very microsecond at which a charge fits."""
    opener = fresh()
    budget = rate(7, 3 * SECOND, 2)
    _admitted(opener, budget, [UNIT] * 2, _START)
    with opener() as budgets:
        refusal = budgets.peek([Charge(budget, "k", UNIT)], _START)
    _require(refusal is not None and refusal.retry_after_us is not None, "a full bucket refuses and says for how long")
    if refusal is None or refusal.retry_after_us is None:
        return
    wait = refusal.retry_after_us
    _require(_charge(opener, budget, UNIT, _START + wait - 1) is not None, "one microsecond early there is no room")
    _require(_charge(opener, budget, UNIT, _START + wait) is None, "after retry_after_us there is room")


def check_fractions_are_kept(fresh: Fresh) -> None:
    """Many small steps refill exactly what one long step would: a third of a micro-unit is neither lost nor given."""
    opener = fresh()
    budget = rate(1, 3 * SECOND, 10 / UNIT)
    granted = sum(_charge(opener, budget, 1, _START + step) is None for step in range(31))
    _require(granted == 10 + 10, f"30 us at a third of a micro-unit each give 10 more than the burst of 10: {granted}")


def check_intervals_never_overflow(fresh: Fresh) -> None:
    """No interval holds more than promised, on schedules with equal, backward and jumping times; none is cut short."""
    random_ = random.Random(20_240_229)
    for trial in range(6):
        opener = fresh()
        budget = rate(random_.choice([0.5, 3, 11]), random_.choice([7, SECOND, 61 * SECOND]), random_.choice([1, 2.5]))
        admitted: list[tuple[int, int]] = []
        now = _START
        period = budget.period_us or 1
        for _ in range(60):
            now += random_.choice([0, 0, 1, period // 7, period, -period, 40 * period, -39 * period])
            cost = random_.choice([1, UNIT // 3, UNIT, budget.burst_micro])
            if _charge(opener, budget, cost, now) is None:
                admitted.append((now, cost))
            else:
                _require(
                    over_admitted(budget, [*admitted, (now, cost)]) is not None,
                    f"trial {trial}: {cost} micro-units were refused although every interval had room",
                )
        _require((found := over_admitted(budget, admitted)) is None, f"trial {trial}: {found}")


def check_clock_backwards_refills_nothing(fresh: Fresh) -> None:
    """A clock that jumps back, or back and forth, gives nothing away."""
    opener = fresh()
    budget = rate(1, SECOND, 1)
    _require(_charge(opener, budget, UNIT, _START) is None, "the first charge has room")
    for now in (_START - SECOND, _START - 10**9 * SECOND, _START):
        _require(_charge(opener, budget, UNIT, now) is not None, "an earlier time refills nothing")
    _require(_charge(opener, budget, UNIT, _START + SECOND) is None, "the refill goes on from the latest time")


def check_clock_jump_grants_one_burst(fresh: Fresh) -> None:
    """A clock that is ten years ahead for a moment gives away one burst, not ten years' worth."""
    opener = fresh()
    budget = rate(5, SECOND, 4)
    jump = _START + 10 * 365 * 86_400 * SECOND
    granted = [_admitted(opener, budget, [UNIT] * 20, now) for now in (_START, jump, _START, _START + SECOND)]
    _require(granted == [4 * UNIT, 4 * UNIT, 0, 0], f"one burst each for the start and the jump, not {granted}")


def check_lifetime_never_refills(fresh: Fresh) -> None:
    """A lifetime budget is a cap; it says that waiting does not help."""
    opener = fresh()
    budget = lifetime(2.5)
    century = 100 * 365 * 86_400 * SECOND
    _require(_admitted(opener, budget, [UNIT] * 3, _START) == 2 * UNIT, "2.5 has room for two units")
    _require(_charge(opener, budget, UNIT // 2, _START + century) is None, "half a unit was left")
    refusal = _charge(opener, budget, 1, _START + 2 * century)
    _require(refusal is not None, "a lifetime budget never refills")
    with opener() as budgets:
        refused = budgets.peek([Charge(budget, "k", 1)], _START)
        balance = budgets.balance(budget, "k", _START)
    _require(refused is not None and refused.retry_after_us is None, "waiting does not help: retry_after_us is None")
    _require(balance.remaining_micro == 0 and balance.reset_us is None, "nothing is left and nothing resets")


def check_all_or_none(fresh: Fresh) -> None:
    """One charge without room leaves the others uncharged; several against one key add up."""
    opener = fresh()
    wide, narrow = rate(10, SECOND, 10, name="wide"), rate(1, SECOND, 1, name="narrow")
    both = [Charge(wide, "k", UNIT), Charge(narrow, "k", UNIT)]
    with opener() as budgets:
        _require(budgets.charge(both, _START) is None, "both have room")
    with opener() as budgets:
        refusal = budgets.charge(both, _START)
        _require(refusal is not None and refusal.charge == both[1], "the refusal names the charge without room")
    with opener() as budgets:
        _require(budgets.balance(wide, "k", _START).remaining_micro == 9 * UNIT, "a refused charge charges nothing")
        twice = [Charge(wide, "k", 5 * UNIT), Charge(wide, "k", 5 * UNIT)]
        _require(budgets.charge(twice, _START) is not None, "two charges against one key add up")
        _require(budgets.charge([], _START) is None, "no charge has room")


def check_force_makes_debt(fresh: Fresh) -> None:
    """What is forced is charged beyond the bound, and waiting pays for it."""
    opener = fresh()
    budget = rate(1, SECOND, 1)
    with opener() as budgets:
        budgets.force([Charge(budget, "k", 3 * UNIT)], _START)
        refusal = budgets.peek([Charge(budget, "k", UNIT)], _START)
        _require(refusal is not None and refusal.retry_after_us == 3 * SECOND, "a debt of 2 and a cost of 1 take 3 s")
        balance = budgets.balance(budget, "k", _START)
        _require(balance.remaining_micro == 0 and balance.reset_us == 3 * SECOND, "in debt nothing is left")
    _require(_charge(opener, budget, UNIT, _START + 3 * SECOND) is None, "the debt is paid by waiting")


def check_peek_charges_nothing(fresh: Fresh) -> None:
    """Looking changes nothing, whatever the answer is."""
    opener = fresh()
    budget = rate(1, SECOND, 2)
    with opener() as budgets:
        for _ in range(5):
            _require(budgets.peek([Charge(budget, "k", 2 * UNIT)], _START) is None, "peek does not charge")
        _require(budgets.balance(budget, "k", _START).remaining_micro == 2 * UNIT, "a fresh key has its whole burst")
        _require(budgets.peek([Charge(budget, "k", 3 * UNIT)], _START) is not None, "more than the burst never fits")


def check_keys_do_not_touch(fresh: Fresh) -> None:
    """Budgets, facets and identifiers that look alike when joined have counters of their own."""
    opener = fresh()
    pairs = [
        (rate(1, SECOND, 1, name="a"), "b/c"),
        (rate(1, SECOND, 1, name="a/b"), "c"),
        (rate(1, SECOND, 1, name="a", facet="group:b"), "c"),
        (rate(1, SECOND, 1, name="a"), "b/c "),
        (rate(1, SECOND, 1, name="a"), "B/C"),
        (rate(1, SECOND, 1, name="a"), ""),
        (lifetime(1, name="a"), "b/c"),
        (Budget("a", "contributor", Measure.WEIGHT, UNIT, SECOND, UNIT), "b/c"),
        (rate(1, SECOND, 1, name="a"), "\x00'; DROP TABLE budget; --\u202e\U0001f600"),
    ]
    with opener() as budgets:
        for budget, key in pairs:
            _require(budgets.charge([Charge(budget, key, UNIT)], _START) is None, f"{budget.name!r}, {key!r} is fresh")
    with opener() as budgets:
        for budget, key in pairs:
            _require(budgets.charge([Charge(budget, key, UNIT)], _START) is not None, f"{key!r} was charged")


def check_senseless_is_refused(fresh: Fresh) -> None:
    """A negative cost, which would refill, and budgets without an amount or a period are errors."""
    opener = fresh()
    senseless = [
        Charge(rate(1, SECOND, 1), "k", -1),
        Charge(rate(0, SECOND, 1), "k", 1),
        Charge(rate(1, 0, 1), "k", 1),
        Charge(rate(1, SECOND, 0), "k", 1),
        Charge(lifetime(0), "k", 1),
    ]
    for charge in senseless:
        with opener() as budgets:
            try:
                budgets.charge([charge], _START)
            except LimitError:
                continue
        raise CheckFailedError(f"{charge} was not refused with a LimitError")


def check_changed_period_forgives_nothing(fresh: Fresh) -> None:
    """When the policy changes a budget, what was used under the old period stays used."""
    opener = fresh()
    _admitted(opener, rate(3, 7 * SECOND, 2), [UNIT] * 2, _START)
    changed = rate(3, 70 * SECOND, 2)
    with opener() as budgets:
        left = budgets.balance(changed, "k", _START).remaining_micro
    _require(left == 0, f"nothing is left after the period was changed, not {left} micro-units")
    _require(_charge(opener, changed, 1, _START) is not None, "nothing has room after the period was changed")


def check_threads_share_one_budget(fresh: Fresh) -> None:
    """Racing threads are never given more than the budget, nor less."""
    opener = fresh()
    capped, burst = lifetime(40), rate(1, 10**6 * SECOND, 25)

    def attempt(_: int) -> tuple[bool, bool]:
        with opener() as budgets:
            first = budgets.charge([Charge(capped, "k", UNIT)], _START) is None
            return first, budgets.charge([Charge(burst, "k", UNIT)], _START) is None

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(attempt, range(120)))
    granted = (sum(first for first, _ in outcomes), sum(second for _, second in outcomes))
    _require(granted == (40, 25), f"120 racing attempts on budgets of 40 and 25 were granted {granted}")


CHECKS: Final[Mapping[str, Callable[[Fresh], None]]] = {
    check.__name__.removeprefix("check_"): check
    for check in (
        check_burst_is_exact,
        check_refill_is_exact,
        check_fractions_are_kept,
        check_intervals_never_overflow,
        check_clock_backwards_refills_nothing,
        check_clock_jump_grants_one_burst,
        check_lifetime_never_refills,
        check_all_or_none,
        check_force_makes_debt,
        check_peek_charges_nothing,
        check_keys_do_not_touch,
        check_senseless_is_refused,
        check_changed_period_forgives_nothing,
        check_threads_share_one_budget,
    )
}
"""The suite, by what it checks."""


def _charge(opener: Opener, budget: Budget, cost_micro: int, now_us: int) -> object | None:
    with opener() as budgets:
        return budgets.charge([Charge(budget, "k", cost_micro)], now_us)


def _admitted(opener: Opener, budget: Budget, costs: Sequence[int], now_us: int) -> int:
    return sum(cost for cost in costs if _charge(opener, budget, cost, now_us) is None)


def _require(condition: bool, promise: str) -> None:
    if not condition:
        raise CheckFailedError(promise)
