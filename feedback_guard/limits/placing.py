"""Points of embedding space, charged inside the transaction that records the verdict.

Every process remembers the latest points, and at the first use in a transaction reads those that were committed since:
whoever holds the writer's lock knows them all. What the transaction itself places is known to it alone until it is
committed, so that what is undone was never there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from sqlalchemy import Connection, bindparam, delete, func, select

from feedback_guard.embedding.interface import Vectors
from feedback_guard.limits.charging import budget_key
from feedback_guard.limits.interface import Budget
from feedback_guard.limits.points import LATEST, Placed, Points
from feedback_guard.store import tables

_P: Final = tables.point.c
_NEWER: Final = (
    select(_P.seq, _P.at_us, _P.cost_micro, _P.vector)
    .where(_P.budget == bindparam("name"), _P.seq > bindparam("seen"))
    .order_by(_P.seq.desc())
    .limit(LATEST)
)
_INSERT: Final = tables.point.insert()
_LAST: Final = select(func.max(_P.seq)).where(_P.budget == bindparam("name"))
_OLD: Final = delete(tables.point).where(_P.budget == bindparam("name"), _P.seq <= bindparam("last"))
_KEPT: Final = 2 * LATEST


class PointMemory:
    """The points that this process knows, of each budget. Only the writer's thread touches it."""

    def __init__(self) -> None:
        self._points: dict[str, Points] = {}
        self._seen: dict[str, int] = {}

    def current(self, connection: Connection, name: str) -> Points:
        """All points of a budget that are committed; inside a transaction that holds the writer's lock."""
        points = self._points.setdefault(name, Points())
        rows = connection.execute(_NEWER, {"name": name, "seen": self._seen.get(name, 0)}).all()
        for row in reversed(rows):
            points.add(Placed(row.at_us, row.cost_micro, np.frombuffer(row.vector, dtype="<f2").astype(np.float32)))
            self._seen[name] = row.seq
        return points


class GroupPoints:
    """Places points for the jobs of one write transaction.

    Parameters
    ----------
    connection
        Inside a transaction that holds the writer's lock.
    memory
        What this process knows.
    """

    def __init__(self, connection: Connection, memory: PointMemory) -> None:
        self._connection = connection
        self._memory = memory
        self._current: dict[str, Points] = {}
        self._placed: list[tuple[str, Placed]] = []

    def place(self, budget: Budget, radius: float, where: Vectors, cost_micro: int, now_us: int) -> bool:
        """Place a point if there is room around it."""
        name = budget_key(budget, "")
        if name not in self._current:
            self._current[name] = self._memory.current(self._connection, name)
        own = Points()
        for of, placed in self._placed:
            if of == name:
                own.add(placed)
        if not has_room((self._current[name], own), budget, radius, where, cost_micro, now_us):
            return False
        self._placed.append((name, Placed(now_us, cost_micro, where)))
        return True

    def __len__(self) -> int:
        return len(self._placed)

    def take_back(self, n: int) -> None:
        """Take back the points beyond the first n that this transaction placed."""
        del self._placed[n:]

    def flush(self) -> None:
        """Write what was placed, and forget what is beyond all that is remembered."""
        if not self._placed:
            return
        self._connection.execute(
            _INSERT,
            [
                {
                    "budget": name,
                    "at_us": placed.at_us,
                    "cost_micro": placed.cost_micro,
                    "vector": placed.where.astype("<f2").tobytes(),
                }
                for name, placed in self._placed
            ],
        )
        self._placed.clear()


def has_room(
    among: Sequence[Points], budget: Budget, radius: float, where: Vectors, cost_micro: int, now_us: int
) -> bool:
    """Whether what lies within the radius leaves room for a cost. A clock that jumps back makes nothing older."""
    since_us = -1 if budget.period_us is None else now_us - budget.period_us
    near = sum(points.cost_within(where, radius, since_us=since_us) for points in among)
    return near + cost_micro <= budget.amount_micro


def purge_points(connection: Connection, budget: Budget) -> None:
    """Take away points that no process remembers any more. The newest stays, so no number is used twice."""
    name = budget_key(budget, "")
    last = connection.execute(_LAST, {"name": name}).scalar_one()
    if last is not None and last > _KEPT:
        connection.execute(_OLD, {"name": name, "last": last - _KEPT})
