"""The store: one writer, any number of readers, and nothing acknowledged before it is committed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from types import TracebackType
from typing import Self, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from feedback_guard.clock import Clock
from feedback_guard.ledger.chain import Checkpoint, Entry
from feedback_guard.limits.gcra import Level
from feedback_guard.limits.interface import Balance, Budget, Charge, Refusal, Spot
from feedback_guard.limits.latest import LatestLevels
from feedback_guard.limits.placing import PointMemory
from feedback_guard.limits.sql import SqlBudgets
from feedback_guard.policy.store import StorePolicy
from feedback_guard.store import postgres, reads, schema, sqlite
from feedback_guard.store.decisions import read_submission
from feedback_guard.store.engines import Engines, open_engines, store_error
from feedback_guard.store.gathering import Gathering
from feedback_guard.store.group import Group
from feedback_guard.store.handover import Handover
from feedback_guard.store.records import Event, HeldSummary, KeptRequests, StoredContribution, StoredSubmission
from feedback_guard.store.sqlite import DriverError
from feedback_guard.store.states import Delivery
from feedback_guard.store.timing import StoreTime
from feedback_guard.store.transaction import Transaction
from feedback_guard.store.writer import Writer

__all__ = ["Store", "Transaction"]

T = TypeVar("T")


class Store:
    """The record of everything the guard decided. Make one with `open`, in every process that uses it.

    Any thread may call any method.

    Examples
    --------
    >>> from feedback_guard.clock import ManualClock
    >>> with Store.open(StorePolicy(url="sqlite:///:memory:"), clock=ManualClock()) as store:
    ...     store.submit(lambda tx: tx.append("started", "guard", {"version": 1}, 0)).result()
    1
    """

    def __init__(self, engines: Engines, policy: StorePolicy, clock: Clock, facts: Mapping[str, str]) -> None:
        self._engines = engines
        self._clock = clock
        self.facts = facts
        """What was found about the database when it was opened, such as its version."""
        self.latest = LatestLevels(monotonic=clock.monotonic)
        """Budgets as this process last charged them, without asking the database."""
        self.handover = Handover()
        """What this process commits, for whoever follows the ledger in it."""
        self._time = StoreTime(clock)
        self._told: Callable[[Mapping[str, Level]], None] | None = None
        self._gatherings: WeakKeyDictionary[asyncio.AbstractEventLoop, Gathering] = WeakKeyDictionary()
        points = PointMemory()
        self._writer = Writer(
            engines,
            lambda connection, opening: Group(connection, policy.hold_capacity, clock, points, opening),
            queue_size=policy.queue_size,
            max_group=policy.max_group,
            on_commit=self._committed,
        )

    @classmethod
    def open(cls, policy: StorePolicy, *, clock: Clock) -> Self:
        """Open the store, and bring its schema forward if an older guard made it.

        Parameters
        ----------
        policy
            Where it is, and its bounds.
        clock
            Where the time of checkpoints comes from.

        Raises
        ------
        UnsafeDatabaseError
            If it would lose or corrupt records, or a newer guard wrote it.
        StoreError
            If it cannot be opened.
        """
        engines = open_engines(policy.url, policy.busy_timeout)
        try:
            facts = _prepare(engines)
        except (SQLAlchemyError, DriverError) as error:
            engines.dispose()
            raise store_error(error, "the store cannot be opened") from error
        except BaseException:
            engines.dispose()
            raise
        return cls(engines, policy, clock, facts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Do what is queued, then close all connections. It may be called twice."""
        self._writer.close()
        self._engines.dispose()

    def tell_levels(self, to: Callable[[Mapping[str, Level]], None] | None) -> None:
        """Have somebody told of the budgets' levels after each commit, in the writer's thread; it must not fail."""
        self._told = to

    def now_us(self) -> int:
        """The time by the store's clock, as near as it is known without asking: see `store.timing`."""
        return self._time.now_us()

    @property
    def queue_depth(self) -> int:
        """Writes that wait now."""
        return self._writer.depth

    def submit(
        self,
        job: Callable[[Transaction], T],
        lookups: Sequence[str] = (),
        spots: Sequence[Spot] = (),
        *,
        outcome_of: str = "",
    ) -> Future[T]:
        """Have the writer run a job in a transaction.

        Parameters
        ----------
        job
            Called in the writer's thread; it should be quick, wait for nothing, and do nothing but through its
            transaction: it is called again if the transaction that it shared with others was undone. If it raises,
            what it did is undone and its future raises the same.
        lookups
            Keys of counters that it is likely to need (`feedback_guard.limits.charging.budget_key`); they are read in
            one statement for all jobs of a transaction.
        spots
            Points of embedding space that it is likely to place: they are compared at once with those that are there.
        outcome_of
            The submission that it records the outcome of, if it does: they are looked up together as well.

        Returns
        -------
        Future
            Resolved after the commit, never before. `StoreError` means that nothing was acknowledged; only where a
            database server vanished in the middle of a commit can the record exist all the same.

        Raises
        ------
        StoreError
            If too many writes wait already, or the store is closed.
        """
        return self._writer.submit(job, lookups, spots, outcome_of=outcome_of)

    async def run(
        self,
        job: Callable[[Transaction], T],
        lookups: Sequence[str] = (),
        spots: Sequence[Spot] = (),
        *,
        outcome_of: str = "",
    ) -> T:
        """`submit` for coroutines. A caller that is cancelled leaves; the job is done all the same."""
        loop = asyncio.get_running_loop()
        gathering = self._gatherings.get(loop)
        if gathering is None:
            gathering = self._gatherings[loop] = Gathering(loop, self._writer.submit_all)
        return await gathering.run(job, lookups, spots, outcome_of=outcome_of)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A read-only connection that sees one state of the database.

        Raises
        ------
        StoreError
            If it cannot be read, or something is written.
        """
        with self._engines.reading() as connection:
            yield connection

    def peek(self, charges: Sequence[Charge], now_us: int) -> Refusal | None:
        """Whether charges would have room now, without charging them."""
        with self.reading() as connection:
            return SqlBudgets(connection).peek(charges, now_us)

    def balance(self, budget: Budget, key: str, now_us: int) -> Balance:
        """What is left of a budget for a key."""
        with self.reading() as connection:
            return SqlBudgets(connection).balance(budget, key, now_us)

    def events_after(self, seq: int, limit: int) -> list[Event]:
        """At most `limit` ledger events after position `seq`, oldest first."""
        with self.reading() as connection:
            return reads.events_after(connection, seq, limit)

    def last_event(self) -> Event | None:
        """The newest ledger event; None while the ledger is empty."""
        with self.reading() as connection:
            return reads.last_event(connection)

    def history(self, subject: str, *, limit: int = 1_000) -> list[Entry]:
        """Ledger entries about one contribution or submission, oldest first."""
        with self.reading() as connection:
            return reads.history(connection, subject, limit)

    def checkpoint(self) -> Checkpoint:
        """The end of the ledger now, to be kept where the database's owner cannot write."""
        with self.reading() as connection:
            return reads.head(connection, self._clock.now_us())

    def submission(self, submission_id: str) -> StoredSubmission | None:
        """A submission with its contributions; None if there is none of that name."""
        with self.reading() as connection:
            return read_submission(connection, submission_id)

    def contribution(self, contribution_id: str) -> StoredContribution | None:
        """A contribution; None if there is none of that name."""
        with self.reading() as connection:
            return reads.contribution(connection, contribution_id)

    def held(self, *, limit: int, after: str | None = None) -> list[StoredSubmission]:
        """Submissions that wait for a moderator, oldest first; `after` is the last one of the page before."""
        with self.reading() as connection:
            return reads.held(connection, limit, after)

    def stuck(self, *, limit: int, after: str | None = None) -> list[StoredSubmission]:
        """Submissions whose request did not plainly arrive, oldest first; `after` as for `held`."""
        with self.reading() as connection:
            return reads.stuck(connection, limit, after)

    def count_stuck(self) -> int:
        """How many there are of them."""
        with self.reading() as connection:
            return reads.count_stuck(connection)

    def held_summary(self) -> HeldSummary:
        """How many submissions wait for a moderator, and since when."""
        with self.reading() as connection:
            return reads.held_summary(connection)

    def count_by_delivery(self) -> dict[Delivery, int]:
        """Number of submissions in each state of delivery that has any."""
        with self.reading() as connection:
            return reads.count_by_delivery(connection)

    def kept_requests(self) -> list[KeptRequests]:
        """Number of requests that are held, or approved and wait, by whom they are for."""
        with self.reading() as connection:
            return reads.kept_requests(connection)

    def _committed(self, group: Group) -> None:
        if group.server_time is not None:
            self._time.note(*group.server_time)
        self.handover.note(group.appended)
        group.budgets.committed()
        known = group.budgets.known
        self.latest.note(known)
        if self._told is not None:
            self._told(known)


def _prepare(engines: Engines) -> dict[str, str]:
    """Check the settings that keep records safe, then bring the schema forward under the write lock."""
    with engines.exclusive(), engines.writer.connect() as connection:
        if not engines.sqlite:
            facts = postgres.assert_settings(connection)
        elif engines.shared:
            facts = {"sqlite": ".".join(map(str, sqlite.sqlite_version())), "journal_mode": "memory"}
        else:
            facts = sqlite.assert_settings(connection)
        connection.rollback()
        engines.begin_opening(connection)
        schema.migrate(connection)
        connection.commit()
    return facts
