"""Budgets for the jobs of one write transaction: each counter is read once, and all that changed are written together.

Within a transaction that holds the writer's lock nobody else changes a counter, so what was read stays true until the
commit. Statement by statement, reading and writing budgets cost more than everything else that a verdict records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from sqlalchemy import Connection

from feedback_guard.embedding.interface import Vectors
from feedback_guard.limits import gcra
from feedback_guard.limits.charging import budget_key, charge_levels, counters_of
from feedback_guard.limits.gcra import Level
from feedback_guard.limits.interface import Balance, Budget, Charge, Refusal, Spot
from feedback_guard.limits.placing import GroupPoints, PointMemory
from feedback_guard.limits.sql import read_levels, write_levels


class GroupBudgets:
    """A `BudgetStore` on one write transaction that other jobs share. Nothing is written before `flush`.

    Parameters
    ----------
    connection
        Inside a transaction that holds the writer's lock.
    memory
        The points that this process knows.
    levels
        Counters that were read in this transaction already; None for one that was never charged.
    """

    def __init__(
        self,
        connection: Connection,
        memory: PointMemory | None = None,
        levels: Mapping[str, Level | None] = MappingProxyType({}),
    ) -> None:
        self._connection = connection
        self._points = GroupPoints(connection, memory or PointMemory())
        self._levels = dict(levels)
        self._changed: dict[str, str] = {}
        self._undo: list[tuple[str, Level | None, bool]] = []

    def charge(self, charges: Sequence[Charge], now_us: int) -> Refusal | None:
        """Charge all or, when one has no room, none."""
        return self._apply(charges, counters_of(charges), now_us, force=False)

    def charge_counters(self, charges: Sequence[Charge], counters: Sequence[str], now_us: int) -> Refusal | None:
        """`charge`, by counters whose keys are known already."""
        return self._apply(charges, counters, now_us, force=False)

    def force(self, charges: Sequence[Charge], now_us: int) -> None:
        """Charge all even where there is no room."""
        self._apply(charges, counters_of(charges), now_us, force=True)

    def peek(self, charges: Sequence[Charge], now_us: int) -> Refusal | None:
        """What `charge` would return, without charging."""
        if not charges:
            return None
        keys = counters_of(charges)
        outcome = charge_levels(charges, keys, self._read(keys), now_us)
        return outcome if isinstance(outcome, Refusal) else None

    def balance(self, budget: Budget, key: str, now_us: int) -> Balance:
        """What is left for a key."""
        gcra.check(budget, 0)
        counter = budget_key(budget, key)
        return gcra.balance(budget, gcra.settle(budget, self._read([counter]).get(counter), now_us), now_us)

    def first_us(self, budget: Budget, key: str) -> int | None:
        """When a counter that fits once was charged."""
        counter = budget_key(budget, key)
        level = self._read([counter]).get(counter)
        return None if level is None else level.last_us

    def used_micro(self, budget: Budget, key: str) -> int:
        """What was charged to a counter of a lifetime budget so far, in micro-units."""
        counter = budget_key(budget, key)
        level = self._read([counter]).get(counter)
        return 0 if level is None else level.used_micro

    def place(self, budget: Budget, radius: float, where: Vectors, cost_micro: int, now_us: int) -> bool:
        """Place a point, if what lies within the radius leaves room for its cost."""
        return self._points.place(budget, radius, where, cost_micro, now_us)

    def placed(self) -> int:
        """How many points were placed in this transaction."""
        return len(self._points)

    def take_back(self, n: int) -> None:
        """Take back all points but the first n of this transaction."""
        self._points.take_back(n)

    def prefetch(self, counters: Sequence[str], spots: Sequence[Spot] = ()) -> None:
        """Read at once what several charges will need: counters by their keys, and what lies around points."""
        self._read(counters)
        self._points.expect(spots)

    def mark(self) -> tuple[int, int]:
        """Where a job begins, to go back to if it fails."""
        return len(self._undo), len(self._points)

    def reset(self, mark: tuple[int, int]) -> None:
        """Take back every charge since a mark."""
        self._points.take_back(mark[1])
        while len(self._undo) > mark[0]:
            key, level, changed = self._undo.pop()
            self._levels[key] = level
            if not changed:
                del self._changed[key]

    @property
    def changed(self) -> Mapping[str, Level]:
        """The counters that were charged, as they will be, by their key."""
        return {key: level for key in self._changed if (level := self._levels[key]) is not None}

    @property
    def known(self) -> Mapping[str, Level]:
        """Every counter that was read or charged: what the store holds once this transaction is committed."""
        return {key: level for key, level in self._levels.items() if level is not None}

    def flush(self) -> None:
        """Write every counter that was charged. Only after it may the transaction commit."""
        write_levels(self._connection, self._changed, self.changed)
        self._points.flush()
        self._undo.clear()

    def committed(self) -> None:
        """The transaction is committed: its points are known to this process without being read."""
        self._points.committed()

    def _apply(self, charges: Sequence[Charge], keys: Sequence[str], now_us: int, *, force: bool) -> Refusal | None:
        if not charges:
            return None
        outcome = charge_levels(charges, keys, self._read(keys), now_us, force=force)
        if isinstance(outcome, Refusal):
            return outcome
        levels, changed, undo = self._levels, self._changed, self._undo
        for charge, key in zip(charges, keys, strict=True):
            level = outcome[key]
            if levels[key] is not level:  # several charges may be against one counter
                undo.append((key, levels[key], key in changed))
                levels[key] = level
                changed[key] = charge.budget.name
        return None

    def _read(self, keys: Sequence[str]) -> Mapping[str, Level | None]:
        """All levels that are known here, and those of the keys among them."""
        levels = self._levels
        unread = [key for key in keys if key not in levels]
        if unread:
            unread = list(dict.fromkeys(unread))
            found = read_levels(self._connection, unread)
            levels.update((key, found.get(key)) for key in unread)
        return levels
