"""What the jobs of one transaction share: the connection, the end of the ledger, budgets, and how much is held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from pydantic import JsonValue
from sqlalchemy import Connection, func, select, text

from feedback_guard.clock import Clock, SystemClock
from feedback_guard.errors import StoreFullError
from feedback_guard.ledger.chain import GENESIS, Checkpoint, Entry, link, link_text
from feedback_guard.limits.grouped import GroupBudgets
from feedback_guard.limits.placing import PointMemory
from feedback_guard.store import tables
from feedback_guard.store.campaigns import NewMember, join
from feedback_guard.store.new_rows import ContributionRow, SubmissionRow
from feedback_guard.store.opening import NOTHING, Opening
from feedback_guard.store.outcomes import GroupOutcomes
from feedback_guard.store.records import StoredContribution
from feedback_guard.store.statement import Statement
from feedback_guard.store.timing import store_time

_HEAD: Final = Statement(text("SELECT seq, hash FROM ledger ORDER BY seq DESC LIMIT 1"), ())
_HELD: Final = select(func.count(), func.coalesce(func.sum(tables.submission.c.n_held), 0)).where(
    tables.submission.c.waiting == 1
)
_APPEND: Final = Statement(tables.ledger.insert(), Entry._fields)
_SUBMISSION: Final = Statement(tables.submission.insert(), SubmissionRow._fields)
_CONTRIBUTIONS: Final = Statement(tables.contribution.insert(), ContributionRow._fields)
_REPLAYS: Final = tables.replay.insert()


class _Mark(NamedTuple):
    """Where a group stood before a job, to go back to if the job fails."""

    head: Checkpoint | None
    entries: int
    held: tuple[int, int] | None
    budgets: tuple[int, int]
    outcomes: int


class Group:
    """The shared part of one write transaction. Only the writer's thread touches it.

    What only adds to the record is kept back and written together: ledger entries, new submissions, budgets, outcomes.
    A job that does nothing else needs no statement of its own, and no savepoint. Whoever asks for `connection` gets a
    savepoint for the present job, and a database in which all of it stands.

    Parameters
    ----------
    connection
        Inside a transaction that holds the write lock, so that nobody else moves the end of the ledger.
    hold_capacity
        Most requests, and most contributions, that may be held.
    clock
        Where the time comes from if the database has no clock of its own for all its hosts.
    points
        What this process knows of the points of embedding space that budgets are charged for.
    opening
        What was asked when the transaction began.
    """

    def __init__(
        self,
        connection: Connection,
        hold_capacity: int,
        clock: Clock,
        points: PointMemory | None = None,
        opening: Opening = NOTHING,
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._hold_capacity = hold_capacity
        self.budgets = GroupBudgets(connection, points, opening.levels)
        self.outcomes = GroupOutcomes(connection)
        self._head = opening.head
        self._pending: list[Entry] = []
        self._stored: list[StoredContribution | None] = []  # what each of them is about, where that is at hand
        self._held: tuple[int, int] | None = None
        self._submissions: list[SubmissionRow] = []
        self._contributions: list[ContributionRow] = []
        self._replays: dict[str, dict[str, Any]] = {}
        self._members: dict[str, Sequence[NewMember]] = {}
        self._mark = _Mark(None, 0, None, (0, 0), 0)
        self._own = (0, 0)  # where the present job's submissions and contributions begin
        self._job = 0
        self._saved = False
        self.appended: list[tuple[Entry, StoredContribution | None]] = []
        """Entries of the ledger that this transaction wrote, each with the contribution that was recorded with it."""
        self.server_time = opening.server_time if isinstance(clock, SystemClock) else None
        """What the server's clock said in this transaction, and when by this host's monotonic one."""

    @property
    def connection(self) -> Connection:
        """The connection, for statements of the present job. If the job fails they are undone."""
        if not self._saved:
            own_submissions, own_contributions = self._split()
            self._insert()  # of earlier jobs: they stay if this one is undone
            self.outcomes.flush(self._mark.outcomes)
            self._connection.exec_driver_sql(f"SAVEPOINT job_{self._job}")
            self._saved = True
            self._submissions, self._contributions = own_submissions, own_contributions
        self._insert()
        self.outcomes.flush()
        self.outcomes.forget()
        return self._connection

    @property
    def last(self) -> Connection:
        """The connection, for the one statement of a job that does nothing afterwards that could fail: no savepoint."""
        self._insert()
        self.outcomes.flush()
        return self._connection

    def begin_job(self) -> None:
        """The next job begins: what comes from now on can be undone by itself."""
        self._job += 1
        self._saved = False
        self._own = len(self._submissions), len(self._contributions)
        self._mark = _Mark(self._head, len(self._pending), self._held, self.budgets.mark(), self.outcomes.mark())

    def end_job(self, *, undo: bool) -> None:
        """The present job is over; `undo` takes back all that it did."""
        if undo:
            if self._saved:
                self._connection.exec_driver_sql(f"ROLLBACK TO SAVEPOINT job_{self._job}")
                self._submissions.clear()
                self._contributions.clear()
            else:
                self._split()
            self._head, self._held = self._mark.head, self._mark.held
            del self._pending[self._mark.entries :], self._stored[self._mark.entries :]
            self.budgets.reset(self._mark.budgets)
            self.outcomes.reset(self._mark.outcomes)
        if self._saved:
            self._connection.exec_driver_sql(f"RELEASE SAVEPOINT job_{self._job}")
            self._saved = False

    def insert(
        self,
        submission: SubmissionRow,
        contributions: list[ContributionRow],
        replay: dict[str, Any] | None = None,
        members: Sequence[NewMember] = (),
    ) -> None:
        """Add the rows of a new submission; it has one in `replay` if its request is kept.

        `members` are those of its contributions that belong to a campaign.
        """
        self._submissions.append(submission)
        self._replays.pop(submission.id, None)  # of a job that was undone
        self._members.pop(submission.id, None)
        if members:
            self._members[submission.id] = members
        if replay is not None:
            self._replays[submission.id] = replay
        self._contributions += contributions

    def now_us(self) -> int:
        """The time by the store's clock; a server is asked once in a transaction, after it has the writer's lock."""
        if self._connection.dialect.name != "postgresql" or not isinstance(self._clock, SystemClock):
            return self._clock.now_us()
        if self.server_time is None:
            # The moment before the question: whoever counts on from it is a little ahead of the server, never behind,
            # and so refuses nothing that the store has room for.
            asked = self._clock.monotonic()
            self.server_time = store_time(self._connection, self._clock), asked
        return self.server_time[0]

    def append(
        self,
        kind: str,
        subject: str,
        body: Mapping[str, JsonValue],
        at_us: int,
    ) -> int:
        """Add an entry to the end of the ledger; returns its position."""
        return self._append(link(self._end(), kind, subject, body, at_us), None)

    def append_judged(self, subject: str, body: str, at_us: int, stored: StoredContribution) -> int:
        """`append` for a contribution that was judged.

        Parameters
        ----------
        body
            Canonical JSON already.
        stored
            The contribution, as it is recorded beside the entry.
        """
        return self._append(link_text(self._end(), "judged", subject, body, at_us), stored)

    def hold(self, contributions: int) -> None:
        """Take room for one more held request and its contributions.

        Raises
        ------
        StoreFullError
            If there is none.
        """
        if self._held is None:
            requests, items = self._connection.execute(_HELD).one()
            self._held = int(requests), int(items)
        requests, items = self._held[0] + 1, self._held[1] + contributions
        if max(requests, items) > self._hold_capacity:
            raise StoreFullError(
                f"{self._held[1]} contributions are held already and store.hold_capacity is {self._hold_capacity}; "
                "nothing more can be held until moderators decide"
            )
        self._held = requests, items

    def recount(self) -> None:
        """Forget how much is held: a decision changed it."""
        self._held = None

    def flush(self) -> None:
        """Write what was kept back. Only after it may the transaction commit."""
        self._insert()
        self.outcomes.flush()
        self.budgets.flush()
        if self._pending:
            _APPEND.many(self._connection, self._pending)
            self.appended += zip(self._pending, self._stored, strict=True)
            self._pending, self._stored = [], []

    def _append(self, entry: Entry, stored: StoredContribution | None) -> int:
        self._pending.append(entry)
        self._stored.append(stored)
        self._head = Checkpoint(entry.seq, entry.hash)
        return entry.seq

    def _insert(self) -> None:
        if self._submissions:
            _SUBMISSION.many(self._connection, self._submissions)
            _CONTRIBUTIONS.many(self._connection, self._contributions)
            idents = [row.id for row in self._submissions]
            replays = [self._replays.pop(ident) for ident in idents if ident in self._replays]
            if replays:
                self._connection.execute(_REPLAYS, replays)
            members = [each for ident in idents for each in self._members.pop(ident, ())] if self._members else []
            if members:
                join(self._connection, members)
            self._submissions, self._contributions = [], []

    def _split(self) -> tuple[list[SubmissionRow], list[ContributionRow]]:
        """Take the present job's rows off those that are kept back."""
        first, second = self._own
        own = self._submissions[first:], self._contributions[second:]
        del self._submissions[first:], self._contributions[second:]
        return own

    def _end(self) -> Checkpoint:
        if self._head is None:
            rows = _HEAD.rows(self._connection, ())
            self._head = Checkpoint(*rows[0]) if rows else Checkpoint(0, GENESIS)
        return self._head
