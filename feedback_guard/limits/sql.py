"""Budgets in the store's database, charged inside the transaction that records the verdict."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, Insert, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite

from feedback_guard.errors import LimitError
from feedback_guard.limits import gcra
from feedback_guard.limits.charging import budget_key, charge_levels, counters_of
from feedback_guard.limits.gcra import Level
from feedback_guard.limits.interface import Balance, Budget, Charge, Refusal
from feedback_guard.store import tables
from feedback_guard.store.locks import take_writer_lock
from feedback_guard.store.statement import Statement, padded

_B: Final = tables.budget.c
_ALL_LEVELS: Final = select(_B.key, _B.used_micro, _B.rest, _B.period_us, _B.last_us)
_CHANGING: Final = ("used_micro", "rest", "period_us", "last_us")


def _upsert(insert: sqlite.Insert | postgresql.Insert) -> Insert:
    return insert.on_conflict_do_update(
        index_elements=[tables.budget.c.key], set_={name: insert.excluded[name] for name in _CHANGING}
    )


_KINDS: Final = ("sqlite", "postgresql")
_UPSERT: Final = Statement(
    _upsert(sqlite.insert(tables.budget)),
    ("key", "name", *_CHANGING),
    {"postgresql": _upsert(postgresql.insert(tables.budget))},
)


class SqlBudgets:
    """A `BudgetStore` on one database connection; right with any number of processes.

    A charge reads, decides and writes, so it needs a transaction that lets nobody in between. On SQLite that is one
    begun with `BEGIN IMMEDIATE`; on PostgreSQL (READ COMMITTED) an advisory lock that ends with the transaction.

    Parameters
    ----------
    connection
        Where the `budget` table is. The caller begins and commits.
    serialised
        True says that the caller already holds the writer's lock; without it, a charge takes it.
    """

    def __init__(self, connection: Connection, *, serialised: bool = False) -> None:
        self._connection = connection
        self._serialised = serialised

    def charge(self, charges: Sequence[Charge], now_us: int) -> Refusal | None:
        """Charge all or, when one has no room, none."""
        return self._apply(charges, now_us, force=False)

    def force(self, charges: Sequence[Charge], now_us: int) -> None:
        """Charge all even where there is no room."""
        self._apply(charges, now_us, force=True)

    def peek(self, charges: Sequence[Charge], now_us: int) -> Refusal | None:
        """What `charge` would return, without charging; a read-only connection will do."""
        if not charges:
            return None
        keys = counters_of(charges)
        outcome = charge_levels(charges, keys, self._levels(keys), now_us)
        return outcome if isinstance(outcome, Refusal) else None

    def balance(self, budget: Budget, key: str, now_us: int) -> Balance:
        """What is left for a key; a read-only connection will do."""
        gcra.check(budget, 0)
        counter = budget_key(budget, key)
        return gcra.balance(budget, gcra.settle(budget, self._levels([counter]).get(counter), now_us), now_us)

    def first_us(self, budget: Budget, key: str) -> int | None:
        """When a counter that fits once was charged; a read-only connection will do."""
        counter = budget_key(budget, key)
        level = self._levels([counter]).get(counter)
        return None if level is None else level.last_us

    def _apply(self, charges: Sequence[Charge], now_us: int, *, force: bool) -> Refusal | None:
        if not charges:
            return None
        if not self._serialised:
            take_writer_lock(self._connection)
        keys = counters_of(charges)
        outcome = charge_levels(charges, keys, self._levels(keys), now_us, force=force)
        if isinstance(outcome, Refusal):
            return outcome
        names = {key: charge.budget.name for charge, key in zip(charges, keys, strict=True)}
        write_levels(self._connection, names, outcome)
        return None

    def _levels(self, keys: Sequence[str]) -> dict[str, Level]:
        return read_levels(self._connection, list(dict.fromkeys(keys)))


def read_levels(connection: Connection, keys: Sequence[str]) -> dict[str, Level]:
    """The stored levels of counters, by key; one that was never charged is absent."""
    levels: dict[str, Level] = {}
    for part in padded(keys):
        rows = _levels_of(len(part)).rows(connection, part)
        levels.update((key, Level(used, rest, period, last)) for key, used, rest, period, last in rows)
    return levels


@functools.cache
def _levels_of(n: int) -> Statement:
    """The statement for n counters. One with a list of any length would be compiled anew every time."""
    names = [f"key_{i}" for i in range(n)]
    return Statement(_ALL_LEVELS.where(_B.key.in_([bindparam(name) for name in names])), names)


def write_levels(connection: Connection, names: Mapping[str, str], levels: Mapping[str, Level]) -> None:
    """Store the levels of counters, whose budgets are called `names`.

    Raises
    ------
    LimitError
        If the database is of a kind that budgets cannot be kept in.
    """
    if not levels:
        return
    if connection.dialect.name not in _KINDS:
        raise LimitError(f"budgets cannot be kept in {connection.dialect.name}; use SQLite or PostgreSQL")
    _UPSERT.many(
        connection,
        [
            (key, names[key], level.used_micro, level.rest, level.period_us, level.last_us)
            for key, level in levels.items()
        ],
    )
