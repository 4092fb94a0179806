"""Is the record what was written? The chain is walked from its first entry, and the rows are held against it.

One pass over the ledger and one over the rows, each streamed, so that a million entries need little memory. Both see
one state of the database, so a guard that goes on writing meanwhile raises no false alarm.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, Protocol

from sqlalchemy import Connection, func, make_url, select
from sqlalchemy.exc import ArgumentError

from feedback_guard.errors import LedgerError, StoreError
from feedback_guard.ledger.canonical import canonical_text
from feedback_guard.ledger.chain import GENESIS, Checkpoint, Entry, entry_hash
from feedback_guard.ledger.report import Fault, Report
from feedback_guard.ledger.verify_reputation import verify_reputation
from feedback_guard.ledger.verify_rows import verify_rows
from feedback_guard.ledger.verify_snapshots import verify_snapshots
from feedback_guard.store import schema, tables
from feedback_guard.store.engines import open_engines

STREAM: Final = 1_000
"""Rows fetched at a time."""
_BUSY_US: Final = 5_000_000


class Readable(Protocol):
    """What can show one state of its database: a `feedback_guard.store.database.Store`."""

    def reading(self) -> AbstractContextManager[Connection]:
        """A read-only connection."""
        ...


def verify(
    source: Readable | str,
    checkpoint: Checkpoint | None = None,
    *,
    rows: bool = True,
    on_progress: Callable[[int], None] | None = None,
) -> Report:
    """Verify a ledger and the rows it speaks of.

    Parameters
    ----------
    source
        An open store, or the URL of one; nothing is changed there, not even the schema.
    checkpoint
        An earlier end of this ledger, kept elsewhere. Without one, a ledger whose end was cut off together with the
        rows, or that was written anew as a whole, looks sound.
    rows
        False leaves the rows alone.
    on_progress
        Called with the number of entries looked at since the last call.

    Returns
    -------
    Report
        Clean if nothing is wrong. Edited, removed and reordered entries are found, and rows that differ.

    Raises
    ------
    StoreError
        If it cannot be read, so that nothing can be said about it.
    """
    if isinstance(source, str):
        with read_only(source) as opened:
            return verify(opened, checkpoint, rows=rows, on_progress=on_progress)
    report = Report()
    with source.reading() as connection:
        _verify_chain(connection, report, checkpoint, on_progress)
        if rows:
            verify_rows(connection, report)
            verify_reputation(connection, report)
            verify_snapshots(connection, report)
    return report


def count_entries(source: Readable) -> int:
    """Number of entries in a ledger, for a progress bar."""
    with source.reading() as connection:
        return connection.execute(select(func.count()).select_from(tables.ledger)).scalar_one()


@contextmanager
def read_only(url: str) -> Iterator[Readable]:
    """Open a store only to look at it: it is neither made nor migrated.

    Raises
    ------
    StoreError
        If there is none, or it has another schema than this guard's.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StoreError("this is no store URL; write sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME") from None
    if parsed.drivername == "sqlite" and not Path(parsed.database or "").is_file():
        raise StoreError(f"there is no store at {parsed.database or ':memory:'}")
    engines = open_engines(url, _BUSY_US)
    try:
        with engines.reading() as connection:
            found = schema.current(connection)
        if found != schema.HEAD:
            raise StoreError(
                f"the store has schema version {found!r}, this feedback_guard reads {schema.HEAD!r}; "
                "open it once with the guard to bring it forward, or use the version that wrote it"
            )
        yield engines
    finally:
        engines.dispose()


def _verify_chain(
    connection: Connection, report: Report, checkpoint: Checkpoint | None, on_progress: Callable[[int], None] | None
) -> None:
    seq, hash_ = 0, GENESIS
    at_checkpoint = GENESIS if checkpoint is not None and checkpoint.seq == 0 else None
    query = select(tables.ledger).order_by(tables.ledger.c.seq).execution_options(yield_per=STREAM)
    for part in connection.execute(query).partitions():
        for row in part:
            entry = Entry(*row)
            _verify_entry(entry, seq, hash_, report)
            seq, hash_ = entry.seq, entry.hash
            if checkpoint is not None and seq == checkpoint.seq:
                at_checkpoint = hash_
        if on_progress is not None:
            on_progress(len(part))
    report.head = Checkpoint(seq, hash_)
    if checkpoint is None:
        return
    if seq < checkpoint.seq:
        report.found(
            Fault.TRUNCATED, f"the ledger ends at entry {seq}; the checkpoint saw entry {checkpoint.seq}", seq=seq
        )
    elif at_checkpoint != checkpoint.hash:
        report.found(
            Fault.REWRITTEN,
            f"entry {checkpoint.seq} is not the one that the checkpoint saw: the ledger was written anew",
            seq=checkpoint.seq,
        )


def _verify_entry(entry: Entry, seq: int, hash_: str, report: Report) -> None:
    """Hold one entry against itself and against the one before it."""
    if entry.seq != seq + 1:
        missing = f"entry {seq + 1} is" if entry.seq == seq + 2 else f"entries {seq + 1} to {entry.seq - 1} are"
        report.found(Fault.MISSING, f"{missing} missing", seq=entry.seq)
    if not _is_canonical(entry.body) or entry_hash(*entry[:6]) != entry.hash:
        report.found(Fault.EDITED, f"entry {entry.seq} does not have the hash it carries", seq=entry.seq)
    if entry.prev_hash != hash_:
        report.found(Fault.UNLINKED, f"entry {entry.seq} does not follow the one before it", seq=entry.seq)


def _is_canonical(body: str) -> bool:
    try:
        value = json.loads(body)
        return isinstance(value, dict) and canonical_text(value) == body
    except (ValueError, LedgerError, RecursionError):
        return False
