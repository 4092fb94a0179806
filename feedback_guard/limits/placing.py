"""Points of embedding space, charged inside the transaction that records the verdict.

Every process remembers the latest points, and at the first use in a transaction reads those that others committed
since: whoever holds the writer's lock knows them all. What the transaction itself places is known to it alone until it
is committed, so that what is undone was never there; then the process remembers it as it was written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from sqlalchemy import Connection, bindparam, delete, func, select, text

from feedback_guard.embedding.interface import Vectors
from feedback_guard.limits.charging import budget_key
from feedback_guard.limits.interface import Budget
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


class PointMemory:
    """The points that this process knows, of each budget. Only the writer's thread touches it."""

    def __init__(self) -> None:
        self._points: dict[str, Points] = {}
        self._seen: dict[str, int] = {}

    def current(self, connection: Connection, name: str) -> Points:
        """All points of a budget that are committed; inside a transaction that holds the writer's lock."""
        points = self._points.setdefault(name, Points())
        rows = _NEWER.rows(connection, (name, self._seen.get(name, 0), LATEST))
        for seq, at_us, cost_micro, vector in reversed(rows):
            points.add(Placed(at_us, cost_micro, _where(vector)))
            self._seen[name] = seq
        return points

    def note(self, rows: Sequence[tuple[str, int, int, bytes]], last: int) -> None:
        """Remember what this process itself committed, so that it need not be read.

        Parameters
        ----------
        rows
            As they were written, in a transaction that had read all points of their budgets.
        last
            The number of the latest of them.
        """
        for name, at_us, cost_micro, vector in rows:
            self._points[name].add(Placed(at_us, cost_micro, _where(vector)))
            self._seen[name] = last


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
        self._own: dict[str, Points] = {}
        self._n_own = 0
        self._written: list[tuple[str, int, int, bytes]] = []
        self._last = 0

    def place(self, budget: Budget, radius: float, where: Vectors, cost_micro: int, now_us: int) -> bool:
        """Place a point if there is room around it."""
        name = budget_key(budget, "")
        current = self._current.get(name)
        if current is None:
            current = self._current[name] = self._memory.current(self._connection, name)
        among = (current, self._own_of(name)) if self._placed else (current,)
        if not has_room(among, budget, radius, where, cost_micro, now_us):
            return False
        self._placed.append((name, Placed(now_us, cost_micro, where)))
        return True

    def __len__(self) -> int:
        return len(self._placed)

    def take_back(self, n: int) -> None:
        """Take back the points beyond the first n that this transaction placed."""
        for name, _ in self._placed[n : self._n_own]:
            self._own[name].drop(1)
        self._n_own = min(self._n_own, n)
        del self._placed[n:]

    def flush(self) -> None:
        """Write what was placed."""
        if not self._placed:
            return
        rows = [
            (name, placed.at_us, placed.cost_micro, placed.where.astype("<f2").tobytes())
            for name, placed in self._placed
        ]
        _INSERT.many(self._connection, rows)
        # Whoever holds the writer's lock gives out the numbers, so the greatest is that of the last row. A server is
        # not asked for it, which would be one more round trip: its points are read with those of others.
        if self._connection.dialect.name == "sqlite":
            ((self._last,),) = _END.rows(self._connection, ())
            self._written += rows
        self.take_back(0)

    def committed(self) -> None:
        """The transaction is committed: what it placed is known to all."""
        self._memory.note(self._written, self._last)
        self._written = []

    def _own_of(self, name: str) -> Points:
        """What this transaction placed so far for one budget."""
        for of, placed in self._placed[self._n_own :]:
            self._own.setdefault(of, Points()).add(placed)
        self._n_own = len(self._placed)
        return self._own.setdefault(name, Points())


def _where(vector: bytes) -> Vectors:
    return np.frombuffer(vector, dtype="<f2").astype(np.float32)


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
