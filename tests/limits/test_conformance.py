"""Every budget store against the public suite, and the suite against budget stores that are wrong."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest

from feedback_guard.errors import LimitError
from feedback_guard.limits import gcra
from feedback_guard.limits.charging import budget_key, charge_levels
from feedback_guard.limits.checks import CHECKS, CheckFailedError, Fresh, Opener, lifetime, rate
from feedback_guard.limits.gcra import Level
from feedback_guard.limits.interface import UNIT, Budget, Charge, Refusal
from feedback_guard.limits.memory import MemoryBudgets
from feedback_guard.limits.sql import SqlBudgets
from feedback_guard.store.engines import Engines
from tests.limits import openers

each_check = pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())


@each_check
def test_memory(check: Callable[[Fresh], None]) -> None:
    check(openers.memory)


each_kind = pytest.mark.parametrize("kind", [openers.sql, openers.grouped])


@each_kind
@each_check
def test_sqlite(check: Callable[[Fresh], None], kind: Callable[[Engines], Opener], tmp_path: Path) -> None:
    check(openers.sqlite_files(tmp_path, kind))


@pytest.mark.postgres
@each_kind
@each_check
def test_postgresql(check: Callable[[Fresh], None], kind: Callable[[Engines], Opener], postgres_url: str) -> None:
    check(openers.postgres(postgres_url, kind))


def test_a_sqlite_connection_without_a_transaction_is_refused(tmp_path: Path) -> None:
    engines = openers.prepared(f"sqlite:///{tmp_path}/a.db")
    with engines.writer.connect() as connection, pytest.raises(LimitError, match="BEGIN IMMEDIATE"):
        SqlBudgets(connection).charge([Charge(lifetime(1), "k", UNIT)], 0)


class Mutant(MemoryBudgets):
    """A `MemoryBudgets` that is wrong in one way."""

    def settle(self, budget: Budget, level: Level | None, now_us: int) -> Level:
        return gcra.settle(budget, level, now_us)

    def fits(self, budget: Budget, settled: Level, cost_micro: int) -> bool:
        return gcra.fits(budget, settled, cost_micro)

    def charge(self, charges: Sequence[Charge], now_us: int) -> Refusal | None:
        with self._lock:
            return self.attempt(charges, now_us)

    def peek(self, charges: Sequence[Charge], now_us: int) -> Refusal | None:
        with self._lock:
            before = dict(self._levels)
            refusal = self.attempt(charges, now_us)
            self._levels = before
        return refusal

    def attempt(self, charges: Sequence[Charge], now_us: int) -> Refusal | None:
        after: dict[str, Level] = {}
        for charge in charges:
            gcra.check(charge.budget, charge.cost_micro)
            key = self.key(charge)
            settled = after.get(key) or self.settle(charge.budget, self._levels.get(key), now_us)
            if not self.fits(charge.budget, settled, charge.cost_micro):
                wait = gcra.retry_after_us(charge.budget, settled, charge.cost_micro, now_us)
                return Refusal(charge, wait, gcra.remaining_micro(charge.budget, settled))
            after[key] = gcra.add(settled, charge.cost_micro)
        self._levels.update(after)
        return None

    def key(self, charge: Charge) -> str:
        return budget_key(charge.budget, charge.key)


class NothingWrong(Mutant):
    """So that a mutant which fails does so for its one change."""


class BackwardsRefills(Mutant):
    def settle(self, budget: Budget, level: Level | None, now_us: int) -> Level:
        if level is not None and now_us < level.last_us and budget.period_us:
            level = level._replace(last_us=now_us - (level.last_us - now_us))
        return gcra.settle(budget, level, now_us)


class TimeRunsBackwards(Mutant):
    """Takes the caller's time as it is, so that going back and forth refills each time."""

    def settle(self, budget: Budget, level: Level | None, now_us: int) -> Level:
        settled = gcra.settle(budget, level, now_us)
        return settled._replace(last_us=now_us)


class NoClamp(Mutant):
    """Lets credit pile up without bound while nobody charges."""

    def settle(self, budget: Budget, level: Level | None, now_us: int) -> Level:
        if level is None or budget.period_us is None:
            return gcra.settle(budget, level, now_us)
        last = max(level.last_us, now_us)
        scaled = level.used_micro * budget.period_us + level.rest - (last - level.last_us) * budget.amount_micro
        used, rest = divmod(scaled, budget.period_us)
        return Level(used, rest, budget.period_us, last)


class FixedWindow(Mutant):
    """Starts anew every period: twice the burst around the turn."""

    def settle(self, budget: Budget, level: Level | None, now_us: int) -> Level:
        period = budget.period_us
        if level is None or period is None:
            return gcra.settle(budget, level, now_us)
        last = max(level.last_us, now_us)
        used = level.used_micro if last // period == level.last_us // period else 0
        return Level(used, 0, period, last)


class OneTooMany(Mutant):
    def fits(self, budget: Budget, settled: Level, cost_micro: int) -> bool:
        return settled.used_micro <= gcra.capacity_micro(budget)


class OneMicroTooMany(Mutant):
    def fits(self, budget: Budget, settled: Level, cost_micro: int) -> bool:
        return settled.used_micro + cost_micro <= gcra.capacity_micro(budget) + 1


class ForgetsTheFraction(Mutant):
    """Rounds the level down to whole micro-units."""

    def settle(self, budget: Budget, level: Level | None, now_us: int) -> Level:
        return gcra.settle(budget, level, now_us)._replace(rest=0)


class LifetimeRefills(Mutant):
    def settle(self, budget: Budget, level: Level | None, now_us: int) -> Level:
        if level is not None and budget.period_us is None and now_us > level.last_us + 10**12:
            level = None
        return gcra.settle(budget, level, now_us)


class ChargesBeforeRefusing(Mutant):
    """Keeps what was charged before the charge without room."""

    def attempt(self, charges: Sequence[Charge], now_us: int) -> Refusal | None:
        for charge in charges:
            if (refusal := super().attempt([charge], now_us)) is not None:
                return refusal
        return None


class JoinsPlainly(Mutant):
    def key(self, charge: Charge) -> str:
        budget = charge.budget
        return "/".join((budget.facet, budget.measure, str(budget.period_us is None), budget.name, charge.key))


class PeekCharges(Mutant):
    def peek(self, charges: Sequence[Charge], now_us: int) -> Refusal | None:
        return self.charge(charges, now_us)


class ReadsThenWritesOutsideTheLock(Mutant):
    def charge(self, charges: Sequence[Charge], now_us: int) -> Refusal | None:
        keys = [self.key(charge) for charge in charges]
        with self._lock:
            levels = dict(self._levels)
        outcome = charge_levels(charges, keys, levels, now_us)
        os.sched_yield()
        threading.Event().wait(0.001)
        if isinstance(outcome, Refusal):
            return outcome
        with self._lock:
            self._levels.update(outcome)
        return None


class ForgivesAChangedPeriod(Mutant):
    def settle(self, budget: Budget, level: Level | None, now_us: int) -> Level:
        if level is not None and level.period_us != (budget.period_us or 0):
            level = None
        return gcra.settle(budget, level, now_us)


class ForcesNothing(Mutant):
    def force(self, charges: Sequence[Charge], now_us: int) -> None:
        self.charge(charges, now_us)


class TakesNegativeCosts(Mutant):
    def attempt(self, charges: Sequence[Charge], now_us: int) -> Refusal | None:
        return super().attempt([charge._replace(cost_micro=abs(charge.cost_micro)) for charge in charges], now_us)


def _failed(mutant: type[Mutant]) -> set[str]:
    failed = set()
    for name, check in CHECKS.items():
        try:
            check(lambda: (lambda budgets: lambda: nullcontext(budgets))(mutant()))
        except CheckFailedError:
            failed.add(name)
    return failed


def test_the_mutants_are_made_from_something_right() -> None:
    assert _failed(NothingWrong) == set()


@pytest.mark.parametrize("mutant", [m for m in Mutant.__subclasses__() if m is not NothingWrong])
def test_the_suite_finds(mutant: type[Mutant]) -> None:
    assert _failed(mutant)


def test_the_oracle_sees_one_micro_unit_too_many() -> None:
    from feedback_guard.limits.checks import over_admitted

    budget = rate(1, 1_000_000, 1)
    assert over_admitted(budget, [(0, UNIT), (1_000_000, UNIT)]) is None
    assert over_admitted(budget, [(0, UNIT), (999_999, UNIT)]) is not None
    assert over_admitted(budget, [(0, UNIT), (-5, 1)]) is not None
