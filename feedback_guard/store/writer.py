"""One thread that writes, and group commit.

Jobs wait in a bounded queue. The thread takes all that wait, up to a bound, and puts them into one transaction, where
a job that fails is undone alone. Only after the COMMIT does anybody hear of success. If the database refuses what the
group wrote together, such as an identifier that exists already, nothing of it stays and each job gets a transaction of
its own, so that one fails alone; if the database is gone, every job of the group failed.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, IntegrityError, InternalError, ProgrammingError, SQLAlchemyError

from feedback_guard.errors import GuardError, StoreError
from feedback_guard.limits.interface import Spot
from feedback_guard.store.engines import Engines, store_error
from feedback_guard.store.group import Group
from feedback_guard.store.opening import Opening
from feedback_guard.store.sqlite import DriverError
from feedback_guard.store.transaction import Transaction

log = logging.getLogger(__name__)

T = TypeVar("T")
Job = Callable[[Transaction], Any]

_NOT_RECORDED: Final = "nothing was recorded"
_DATABASE_ERRORS: Final = (SQLAlchemyError, DriverError)
_REFUSED: Final = (IntegrityError, DataError, InternalError, ProgrammingError)
"""What the database answers to a statement that it will not do: it is there, and one job of the group is at fault."""


class Ask(NamedTuple):
    """A job to be done, as `Writer.submit` takes it."""

    job: Job
    lookups: Sequence[str] = ()
    spots: Sequence[Spot] = ()
    outcome_of: str = ""


@dataclass(slots=True)
class _Waiting:
    job: Job
    lookups: Sequence[str]
    spots: Sequence[Spot]
    outcome_of: str
    future: Future[Any] = field(default_factory=Future)
    result: Any = None
    error: Exception | None = None


class Writer:
    """Owns the connection that writes.

    Parameters
    ----------
    engines
        The database.
    new_group
        Makes what the jobs of one transaction share.
    queue_size
        Most jobs that wait; at the bound, `submit` raises.
    max_group
        Most jobs that share a commit.
    on_commit
        Called after each commit, in the writer's thread, before anybody is told; it must not fail.
    """

    def __init__(
        self,
        engines: Engines,
        new_group: Callable[[Connection, Opening], Group],
        *,
        queue_size: int,
        max_group: int,
        on_commit: Callable[[Group], None],
    ) -> None:
        self._engines = engines
        self._new_group = new_group
        self._max_group = max_group
        self._on_commit = on_commit
        # Only who holds the gate puts something in, so the bound is kept without the locks of a bounded queue. What is
        # handed over together is one item, since each wakes the thread; an empty one is the last.
        self._queue: queue.SimpleQueue[Sequence[_Waiting]] = queue.SimpleQueue()
        self._queue_size = queue_size
        self._depth = 0
        self._connection: Connection | None = None
        self._closing = False
        self._gate = threading.Lock()
        self._owner = os.getpid()
        self._thread = threading.Thread(target=self._run, name="feedback_guard.writer", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """Jobs that wait now."""
        return self._depth

    def submit(
        self,
        job: Callable[[Transaction], T],
        lookups: Sequence[str] = (),
        spots: Sequence[Spot] = (),
        *,
        outcome_of: str = "",
    ) -> Future[T]:
        """Queue a job, with the counters, and the points, that it is likely to need: they are read at once for a group.

        So is the submission that it records the outcome of, if it does.

        Its future cannot be cancelled: what is queued is done, whoever still waits for it.

        Raises
        ------
        StoreError
            If the queue is full, the store is closed, or this process is a fork of the one that opened it.
        """
        [future] = self.submit_all([Ask(job, lookups, spots, outcome_of)])
        if isinstance(future, StoreError):
            raise future
        return future

    def submit_all(self, asks: Sequence[Ask]) -> list[Future[Any] | StoreError]:
        """`submit` several; in place of a future stands why a job could not be taken.

        Of more than there is room for in the queue, only the first are taken, even if the writer has nothing to do.
        """
        if os.getpid() != self._owner:
            forked = "the store was opened before this process was forked; open it in every process anew"
            return [StoreError(forked) for _ in asks]
        waiting = [_Waiting(*ask) for ask in asks]
        for each in waiting:
            each.future.set_running_or_notify_cancel()
        with self._gate:
            if self._closing:
                return [StoreError(f"the store is closed; {_NOT_RECORDED}") for _ in asks]
            taken = waiting[: max(0, self._queue_size - self._depth)]
            self._depth += len(taken)
            if taken:
                self._queue.put(taken)
        futures: list[Future[Any] | StoreError] = [each.future for each in taken]
        full = f"{self._queue_size} writes wait already (store.queue_size); {_NOT_RECORDED}, try again later"
        return futures + [StoreError(full) for _ in waiting[len(taken) :]]

    def close(self) -> None:
        """Do what is queued, then end the thread. It may be called twice."""
        if os.getpid() != self._owner:
            return
        with self._gate:
            first, self._closing = not self._closing, True
        if first:
            self._queue.put(())
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        ready, ended = deque[_Waiting](), False
        while not ended:
            while not ended and len(ready) < self._max_group:
                try:
                    more = self._queue.get(block=not ready)
                except queue.Empty:
                    break
                ended = not more
                ready += more
            group = [ready.popleft() for _ in range(min(len(ready), self._max_group))]
            with self._gate:
                self._depth -= len(group)
            if group:
                self._write(group)
        self._drop_connection()

    def _write(self, group: list[_Waiting]) -> None:
        """Write a group and tell everybody who waits. Nothing may escape from here: nobody would be told."""
        try:
            with self._engines.exclusive():
                self._commit(group)
        except BaseException as error:
            if isinstance(error, _REFUSED) and len(group) > 1:
                for waiting in group:
                    self._write([waiting])
                return
            if not isinstance(error, (GuardError, *_DATABASE_ERRORS)):
                log.exception("a group of %d writes failed", len(group))
            for waiting in group:
                waiting.error = store_error(error, f"the database did not take the record; {_NOT_RECORDED}")
                waiting.error.__cause__ = error
        for waiting in group:
            _settle(waiting)

    def _commit(self, group: list[_Waiting]) -> None:
        try:
            connection = self._connection = self._connection or self._engines.writer.connect()
            counters = [counter for waiting in group for counter in waiting.lookups]
            shared = self._new_group(connection, self._engines.begin_and_look(connection, counters))
            shared.budgets.prefetch(counters, [spot for waiting in group for spot in waiting.spots])
            shared.outcomes.expect([waiting.outcome_of for waiting in group if waiting.outcome_of])
            for waiting in group:
                _attempt(shared, waiting)
            shared.flush()
            connection.commit()
        except BaseException:
            self._undo()
            raise
        self._on_commit(shared)

    def _undo(self) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            connection.rollback()
            # After a COMMIT that failed, SQLAlchemy holds the transaction for ended; the database may not.
            connection.connection.rollback()
        except Exception:  # noqa: BLE001 - a connection that cannot even roll back is replaced
            self._drop_connection()
            return
        if connection.invalidated or connection.closed:
            self._drop_connection()

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            if not self._engines.shared:
                connection.invalidate()
            connection.close()
        except Exception:  # noqa: BLE001 - it is being thrown away
            log.warning("a broken database connection could not be closed")


def _attempt(shared: Group, waiting: _Waiting) -> None:
    """Run one job. If what it did cannot be undone alone, the transaction fails, and so does the group."""
    waiting.result = waiting.error = None
    shared.begin_job()
    try:
        waiting.result = waiting.job(Transaction(shared))
    except Exception as error:  # noqa: BLE001 - handed to whoever waits for the job
        waiting.error = _as_told(error)
    shared.end_job(undo=waiting.error is not None)


def _as_told(error: Exception) -> Exception:
    """A job's own error as it is; a database's as a sentence."""
    if isinstance(error, GuardError) or not isinstance(error, _DATABASE_ERRORS):
        return error
    told = store_error(error, f"the database did not take the record; {_NOT_RECORDED}")
    told.__cause__ = error
    return told


def _settle(waiting: _Waiting) -> None:
    if waiting.error is not None:
        waiting.future.set_exception(waiting.error)
    else:
        waiting.future.set_result(waiting.result)
