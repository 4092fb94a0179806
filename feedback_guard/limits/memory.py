"""Budgets in the memory of one process: for tests and for embedding the guard without a database."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from feedback_guard.embedding.interface import Vectors
from feedback_guard.limits import gcra
from feedback_guard.limits.charging import budget_key, charge_levels, counters_of
from feedback_guard.limits.gcra import Level
from feedback_guard.limits.interface import Balance, Budget, Charge, Refusal
from feedback_guard.limits.points import Placed, Points


class MemoryBudgets:
    """A `BudgetStore` that forgets everything when the process ends.

    Any number of threads may use it. Several processes may not: each would have a full budget of its own. Memory
    grows with the number of keys that were ever charged; forgetting one would give it a fresh burst.

    Examples
    --------
    >>> from feedback_guard.limits.interface import Measure, UNIT
    >>> two = Budget("two-ever", "contributor", Measure.COUNT, 2 * UNIT, None, 0)
    >>> budgets = MemoryBudgets()
    >>> [budgets.charge([Charge(two, "alice", UNIT)], now_us=0) is None for _ in range(3)]
    [True, True, False]
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._levels: dict[str, Level] = {}
        self._points: dict[str, Points] = {}
        self._placed: list[str] = []

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
        keys = counters_of(charges)
        with self._lock:
            outcome = charge_levels(charges, keys, self._levels, now_us)
        return outcome if isinstance(outcome, Refusal) else None

    def balance(self, budget: Budget, key: str, now_us: int) -> Balance:
        """What is left for a key."""
        gcra.check(budget, 0)
        with self._lock:
            level = self._levels.get(budget_key(budget, key))
        return gcra.balance(budget, gcra.settle(budget, level, now_us), now_us)

    def first_us(self, budget: Budget, key: str) -> int | None:
        """When a counter that fits once was charged."""
        with self._lock:
            level = self._levels.get(budget_key(budget, key))
        return None if level is None else level.last_us

    def used_micro(self, budget: Budget, key: str) -> int:
        """What was charged to a counter of a lifetime budget so far, in micro-units."""
        with self._lock:
            level = self._levels.get(budget_key(budget, key))
        return 0 if level is None else level.used_micro

    def place(self, budget: Budget, radius: float, where: Vectors, cost_micro: int, now_us: int) -> bool:
        """Place a point, if what lies within the radius leaves room for its cost."""
        name = budget_key(budget, "")
        with self._lock:
            points = self._points.setdefault(name, Points())
            since_us = -1 if budget.period_us is None else now_us - budget.period_us
            if points.cost_within(where, radius, since_us=since_us) + cost_micro > budget.amount_micro:
                return False
            points.add(Placed(now_us, cost_micro, where))
            self._placed.append(name)
        return True

    def placed(self) -> int:
        """How many points were placed so far."""
        return len(self._placed)

    def take_back(self, n: int) -> None:
        """Take back all points but the first n that were placed."""
        with self._lock:
            for name in reversed(self._placed[n:]):
                self._points[name].drop(1)
            del self._placed[n:]

    def _apply(self, charges: Sequence[Charge], keys: Sequence[str], now_us: int, *, force: bool) -> Refusal | None:
        with self._lock:
            outcome = charge_levels(charges, keys, self._levels, now_us, force=force)
            if isinstance(outcome, Refusal):
                return outcome
            self._levels.update(outcome)
        return None
