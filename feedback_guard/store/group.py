"""What the jobs of one transaction share: the connection, the end of the ledger, and how much is held."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from pydantic import JsonValue
from sqlalchemy import Connection, func, select

from feedback_guard.errors import StoreFullError
from feedback_guard.ledger.chain import GENESIS, Checkpoint, Entry, link
from feedback_guard.store import tables

_HEAD: Final = select(tables.ledger.c.seq, tables.ledger.c.hash).order_by(tables.ledger.c.seq.desc()).limit(1)
_HELD: Final = select(func.count(), func.coalesce(func.sum(tables.submission.c.n_held), 0)).where(
    tables.submission.c.waiting == 1
)
_APPEND: Final = tables.ledger.insert()


class Mark(NamedTuple):
    """Where a group stood before a job, to go back to if the job fails."""

    head: Checkpoint | None
    pending: int
    held: tuple[int, int] | None


class Group:
    """The shared part of one write transaction. Only the writer's thread touches it.

    Ledger entries are kept back and inserted together by `flush`, before the commit.

    Parameters
    ----------
    connection
        Inside a transaction that holds the write lock, so that nobody else moves the end of the ledger.
    hold_capacity
        Most requests, and most contributions, that may be held.
    """

    def __init__(self, connection: Connection, hold_capacity: int) -> None:
        self.connection = connection
        self._hold_capacity = hold_capacity
        self._head: Checkpoint | None = None
        self._pending: list[Entry] = []
        self._held: tuple[int, int] | None = None

    def append(self, kind: str, subject: str, body: Mapping[str, JsonValue], at_us: int) -> int:
        """Add an entry to the end of the ledger; returns its position."""
        entry = link(self._end(), kind, subject, body, at_us)
        self._pending.append(entry)
        self._head = Checkpoint(entry.seq, entry.hash)
        return entry.seq

    def hold(self, contributions: int) -> None:
        """Take room for one more held request and its contributions.

        Raises
        ------
        StoreFullError
            If there is none.
        """
        if self._held is None:
            requests, items = self.connection.execute(_HELD).one()
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

    def mark(self) -> Mark:
        """Note where the group stands."""
        return Mark(self._head, len(self._pending), self._held)

    def reset(self, mark: Mark) -> None:
        """Go back to a mark: what came after it is undone in the database too."""
        self._head, self._held = mark.head, mark.held
        del self._pending[mark.pending :]

    def flush(self) -> None:
        """Insert the entries that were kept back."""
        if self._pending:
            self.connection.execute(_APPEND, [entry._asdict() for entry in self._pending])
            self._pending.clear()

    def _end(self) -> Checkpoint:
        if self._head is None:
            row = self.connection.execute(_HEAD).one_or_none()
            self._head = Checkpoint(row[0], row[1]) if row else Checkpoint(0, GENESIS)
        return self._head
