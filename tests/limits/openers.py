"""The budget stores under test, as `feedback_guard.limits.checks` wants them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from feedback_guard.limits.checks import Fresh, Opener
from feedback_guard.limits.grouped import GroupBudgets
from feedback_guard.limits.interface import Balance, Budget, BudgetStore, Charge, Refusal
from feedback_guard.limits.memory import MemoryBudgets
from feedback_guard.limits.redis import SharedLevels
from feedback_guard.limits.sql import SqlBudgets
from feedback_guard.store import schema
from feedback_guard.store.engines import Engines, open_engines
from tests.store.ready import ready

BUSY_US = 20_000_000


def memory() -> Opener:
    budgets = MemoryBudgets()
    return lambda: nullcontext(budgets)


def prepared(url: str) -> Engines:
    engines = open_engines(ready(url), BUSY_US)
    with engines.writer.connect() as connection:
        engines.begin(connection)
        schema.migrate(connection)
        connection.commit()
    return engines


def sql(engines: Engines) -> Opener:
    """Each `with` is a transaction of its own, on a connection of its own."""

    @contextmanager
    def opener() -> Iterator[BudgetStore]:
        with engines.writer.connect() as connection:
            if engines.sqlite:
                engines.begin(connection)
            yield SqlBudgets(connection)
            connection.commit()

    return opener


def grouped(engines: Engines) -> Opener:
    """Each `with` is a group of its own, written at its end."""

    @contextmanager
    def opener() -> Iterator[BudgetStore]:
        with engines.writer.connect() as connection:
            engines.begin(connection)
            budgets = GroupBudgets(connection)
            yield budgets
            budgets.flush()
            connection.commit()

    return opener


def sqlite_files(folder: Path, kind: Callable[[Engines], Opener] = sql) -> Fresh:
    numbers = itertools.count()
    return lambda: kind(prepared(f"sqlite:///{folder}/{next(numbers)}.db"))


def postgres(url: str, kind: Callable[[Engines], Opener] = sql) -> Fresh:
    """One database; the table is emptied for every check."""
    engines = prepared(url)

    def fresh() -> Opener:
        with engines.writer.begin() as connection:
            connection.exec_driver_sql("DELETE FROM budget")
        return kind(engines)

    return fresh


class Fronted:
    """A budget store as the guard uses one with Redis in front: copies are asked first, and the store decides."""

    def __init__(self, behind: GroupBudgets, front: SharedLevels) -> None:
        self._behind, self._front = behind, front

    def charge(self, charges: Sequence[Charge], now_us: int) -> Refusal | None:
        return self._front.peek_now(charges, now_us) or self._behind.charge(charges, now_us)

    def force(self, charges: Sequence[Charge], now_us: int) -> None:
        self._behind.force(charges, now_us)

    def peek(self, charges: Sequence[Charge], now_us: int) -> Refusal | None:
        return self._front.peek_now(charges, now_us) or self._behind.peek(charges, now_us)

    def balance(self, budget: Budget, key: str, now_us: int) -> Balance:
        return self._behind.balance(budget, key, now_us)


def fronted(front: SharedLevels) -> Callable[[Engines], Opener]:
    """Each `with` is a group of its own; what it commits is known in Redis before the next begins."""

    def kind(engines: Engines) -> Opener:
        @contextmanager
        def opener() -> Iterator[BudgetStore]:
            with engines.writer.connect() as connection:
                engines.begin(connection)
                budgets = GroupBudgets(connection)
                yield Fronted(budgets, front)
                budgets.flush()
                connection.commit()
                front.note(budgets.known)
                assert front.flush(20)

        return opener

    return kind
