"""Outcomes of requests that were given to the application at once, for the jobs of one write transaction.

There is one for nearly every request, and each would be a statement that finds its row, changes it and answers. Within
a transaction that holds the writer's lock nobody else changes them, so the rows of all jobs are looked up together, and
written together.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, bindparam, exists, literal_column, select, update

from feedback_guard.store import tables
from feedback_guard.store.statement import Statement, padded
from feedback_guard.store.states import Delivery

_S: Final = tables.submission.c
_AT_ONCE: Final = (
    _S.delivery == literal_column(f"'{Delivery.DISPATCHING.value}'"),
    ~exists().where(tables.replay.c.submission == _S.id),
)
"""Given to the application at once: it is not kept, so it has no claim and no retry."""


class _Outcome(NamedTuple):
    to: str
    moved_us: int
    detail: str | None
    ident: str


_WRITE: Final = Statement(
    update(tables.submission)
    .where(_S.id == bindparam("ident"))
    .values(
        delivery=bindparam("to"),
        version=_S.version + literal_column("1"),
        moved_us=bindparam("moved_us"),
        detail=bindparam("detail"),
    ),
    _Outcome._fields,
)


class GroupOutcomes:
    """What became of requests; nothing is written before `flush`.

    Parameters
    ----------
    connection
        Inside a transaction that holds the writer's lock.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._expected: list[str] = []
        self._workers: dict[str, str] = {}  # of those that are being dispatched, as far as they were looked up
        self._pending: list[_Outcome] = []
        self._taken: list[str] = []  # their workers

    def expect(self, idents: Sequence[str]) -> None:
        """Say which submissions an outcome is likely to be recorded of."""
        self._expected = list(idents)

    def record(self, ident: str, to: Delivery, *, now_us: int, detail: str | None) -> str | None:
        """Record the outcome of one that was expected.

        Returns
        -------
        str or None
            Who dispatched it. None if it is not known that it is being dispatched; then nothing was done.
        """
        if self._expected:
            self._look()
        worker = self._workers.pop(ident, None)
        if worker is not None:
            self._pending.append(_Outcome(to.value, now_us, detail, ident))
            self._taken.append(worker)
        return worker

    def mark(self) -> int:
        """Where a job begins, to go back to if it fails."""
        return len(self._pending)

    def reset(self, mark: int) -> None:
        """Take back every outcome since a mark."""
        for outcome, worker in zip(self._pending[mark:], self._taken[mark:], strict=True):
            self._workers[outcome.ident] = worker
        del self._pending[mark:], self._taken[mark:]

    def flush(self, upto: int | None = None) -> None:
        """Write them, or the first so many."""
        written = self._pending[:upto]
        if written:
            _WRITE.many(self._connection, written)
            del self._pending[:upto], self._taken[:upto]

    def forget(self) -> None:
        """Somebody may change submissions by a statement: what was looked up need not be true any more."""
        self._expected.clear()
        self._workers.clear()

    def _look(self) -> None:
        for part in padded(self._expected):
            self._workers.update(_dispatched(len(part)).rows(self._connection, part))
        self._expected.clear()


@functools.cache
def _dispatched(n: int) -> Statement:
    """The statement that finds who dispatches n submissions."""
    names = [f"ident_{i}" for i in range(n)]
    return Statement(select(_S.id, _S.worker).where(_S.id.in_([bindparam(name) for name in names]), *_AT_ONCE), names)
