"""Points of embedding space, charged inside the transaction that records the verdict.

Every process remembers the latest points, and at the first use in a transaction reads those that others committed
since: whoever holds the writer's lock knows them all. What the transaction itself places is remembered at once, and is
in doubt until it is committed: if it never is, it is forgotten before anybody looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from sqlalchemy import Connection, bindparam, delete, func, select, text

from feedback_guard.embedding.interface import Vectors
from feedback_guard.limits.charging import budget_key
from feedback_guard.limits.interface import Budget, Spot
from feedback_guard.limits.points import LATEST, Placed, Points
from feedback_guard.store import tables
from feedback_guard.store.statement import Statement

_P: Final = tables.point.c
_NEWER: Final = Statement(
    text(
        "SELECT seq, at_us, cost_micro, vector FROM point WHERE budget = :name AND seq > :seen"
        " ORDER BY seq DESC LIMIT :most"
    ),
    ("name", "seen", "most"),
)
_INSERT: Final = Statement(tables.point.insert().inline(), ("budget", "at_us", "cost_micro", "vector"))
_END: Final = Statement(select(func.max(_P.seq)), ())
_LAST: Final = select(func.max(_P.seq)).where(_P.budget == bindparam("name"))
_OLD: Final = delete(tables.point).where(_P.budget == bindparam("name"), _P.seq <= bindparam("last"))
_KEPT: Final = 2 * LATEST
_STORED: Final = np.dtype("<f2")


class PointMemory:
    """The points that this process knows, of each budget. Only the writer's thread touches it."""

    def __init__(self) -> None:
        self._points: dict[str, Points] = {}
        self._seen: dict[str, int] = {}
        self._doubtful: dict[str, int] = {}

    def begin(self) -> None:
        """A transaction begins: what the one before placed and did not commit was never there."""
        for name, n in self._doubtful.items():
            self._points[name].drop(n)
        self._doubtful.clear()

    def current(self, connection: Connection, name: str) -> Points:
        """All points of a budget that are committed; inside a transaction that holds the writer's lock."""
        points = self._points.setdefault(name, Points())
        rows = _NEWER.rows(connection, (name, self._seen.get(name, 0), LATEST))
        for seq, at_us, cost_micro, vector in reversed(rows):
            points.add(Placed(at_us, cost_micro, np.frombuffer(vector, dtype=_STORED).astype(np.float32)))
            self._seen[name] = seq
        return points

    def add(self, name: str, placed: Placed) -> None:
        """Remember what the present transaction places, as the store will keep it."""
        self._points[name].add(placed)
        self._doubtful[name] = self._doubtful.get(name, 0) + 1

    def take_back(self, name: str) -> None:
        """Forget the latest point of a budget, which the present transaction placed."""
        self._points[name].drop(1)
        self._doubtful[name] -= 1

    def confirm(self, last: int) -> None:
        """The transaction is committed; the number of the latest of its points is known."""
        for name, n in self._doubtful.items():
            if n:
                self._seen[name] = last
        self._doubtful.clear()


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
        self._placed: list[tuple[str, int, int, bytes]] = []
        self._last = 0
        memory.begin()

    def expect(self, spots: Sequence[Spot]) -> None:
        """Compare at once what will be placed with what is there."""
        by_budget = dict[tuple[str, float], list[Vectors]]()
        for counter, radius, where in spots:
            by_budget.setdefault((counter, radius), []).append(where)
        for (counter, radius), wheres in by_budget.items():
            if len(wheres) > 1:
                self._now(counter).look(wheres, radius)

    def place(self, budget: Budget, radius: float, where: Vectors, cost_micro: int, now_us: int) -> bool:
        """Place a point if there is room around it."""
        name = budget_key(budget, "")
        if not has_room(self._now(name), budget, radius, where, cost_micro, now_us):
            return False
        stored = where.astype(_STORED)
        self._memory.add(name, Placed(now_us, cost_micro, stored.astype(np.float32)))
        self._placed.append((name, now_us, cost_micro, stored.tobytes()))
        return True

    def _now(self, name: str) -> Points:
        """The points of a budget, read when a transaction asks for the first time."""
        current = self._current.get(name)
        if current is None:
            current = self._current[name] = self._memory.current(self._connection, name)
        return current

    def __len__(self) -> int:
        return len(self._placed)

    def take_back(self, n: int) -> None:
        """Take back the points beyond the first n that this transaction placed."""
        for name, *_ in self._placed[n:]:
            self._memory.take_back(name)
        del self._placed[n:]

    def flush(self) -> None:
        """Write what was placed."""
        if not self._placed:
            return
        _INSERT.many(self._connection, self._placed)
        # Whoever holds the writer's lock gives out the numbers, so the greatest is that of the last row. A server is
        # not asked for it, which would be one more round trip: its points are read with those of others.
        if self._connection.dialect.name == "sqlite":
            ((self._last,),) = _END.rows(self._connection, ())
        else:
            self.take_back(0)
        self._placed = []

    def committed(self) -> None:
        """The transaction is committed: what it placed is known to all."""
        self._memory.confirm(self._last)


def has_room(points: Points, budget: Budget, radius: float, where: Vectors, cost_micro: int, now_us: int) -> bool:
    """Whether what lies within the radius leaves room for a cost. A clock that jumps back makes nothing older."""
    since_us = -1 if budget.period_us is None else now_us - budget.period_us
    return points.cost_within(where, radius, since_us=since_us) + cost_micro <= budget.amount_micro


def purge_points(connection: Connection, budget: Budget) -> None:
    """Take away points that no process remembers any more. The newest stays, so no number is used twice."""
    name = budget_key(budget, "")
    last = connection.execute(_LAST, {"name": name}).scalar_one()
    if last is not None and last > _KEPT:
        connection.execute(_OLD, {"name": name, "last": last - _KEPT})
