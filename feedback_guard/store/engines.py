"""From a URL to a database that is safe to write: the two kinds of database behind one small face."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from feedback_guard.errors import GuardError, StoreError
from feedback_guard.store import postgres, sqlite
from feedback_guard.store.opening import Opening
from feedback_guard.store.sqlite import assert_sqlite_version, sqlite_version

__all__ = ["Engines", "assert_sqlite_version", "open_engines", "sqlite_version", "store_error"]

OPENING_US: Final = 60_000_000
"""Least time for which a process that opens a store waits for the write lock: of several that start together the first
brings the schema forward, which may take seconds."""
_HINTS: Final = (
    ("locked", "another process held the write lock for too long"),
    ("lock timeout", "another process held the write lock for too long"),
    ("disk is full", "the disk is full"),
    ("UNIQUE constraint", "something with this identifier is already recorded"),
    ("unique constraint", "something with this identifier is already recorded"),
    ("readonly database", "the database file cannot be written; change its owner, or store.url"),
    ("not a database", "the file is not a SQLite database"),
)


@dataclass
class Engines:
    """The connections of one store.

    Parameters
    ----------
    writer, reader
        The latter cannot change anything, except in memory where both are one.
    busy_timeout_us
        How long a write waits for another process's lock.
    shared
        True when writer and reader are one connection, as in memory.
    """

    writer: Engine
    reader: Engine
    busy_timeout_us: int
    shared: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)
    disposed: bool = False

    @property
    def sqlite(self) -> bool:
        """Whether this is SQLite; otherwise it is PostgreSQL."""
        return self.writer.dialect.name == "sqlite"

    def begin(self, connection: Connection) -> None:
        """Begin a transaction that holds the write lock until it ends."""
        if self.sqlite:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            postgres.begin(connection, self.busy_timeout_us)

    def begin_opening(self, connection: Connection) -> None:
        """`begin`, and wait for as long as another process may take that brings the schema forward just now."""
        waits_us = max(self.busy_timeout_us, OPENING_US)
        if self.sqlite:
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {waits_us // 1_000}")
            self.begin(connection)
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {max(1, self.busy_timeout_us // 1_000)}")
        else:
            postgres.begin(connection, waits_us)

    def begin_and_look(self, connection: Connection, counters: Sequence[str]) -> Opening:
        """`begin`, and what a server can say in the same round trip, such as the levels of counters.

        A database in this process has no round trips to be saved; it is asked when something is needed.
        """
        if not self.sqlite:
            return postgres.begin_and_look(connection, self.busy_timeout_us, counters)
        self.begin(connection)
        return Opening()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Look at one state of the database, however much is written meanwhile.

        Raises
        ------
        StoreError
            If it cannot be read.
        """
        pool = self.reader.pool
        try:
            with self.exclusive(), self.reader.connect() as connection:
                if self.sqlite and not self.shared:
                    connection.exec_driver_sql("BEGIN")
                yield connection
        except GuardError:
            raise
        except (SQLAlchemyError, sqlite.DriverError) as error:
            raise store_error(error, "the store could not be read") from error
        finally:
            if self.disposed and not self.shared:
                # It came back to a pool that had been emptied, and would stay open there.
                pool.dispose()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep others from a shared connection; does nothing where each has its own."""
        if self.shared:
            with self.lock:
                yield
        else:
            yield

    def dispose(self) -> None:
        """Close all connections; one that somebody reads with is closed when he is done."""
        self.disposed = True
        self.writer.dispose()
        self.reader.dispose()


def open_engines(url: str, busy_timeout_us: int) -> Engines:
    """Make the engines for a store's URL. Nothing is connected yet.

    Raises
    ------
    StoreError
        If the URL names no database that can hold a store.
    UnsafeDatabaseError
        If the SQLite library could corrupt it.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StoreError("store.url is no URL; write sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME") from None
    kind = parsed.drivername
    if kind == "sqlite":
        if parsed.database in {None, "", ":memory:"}:
            engine = sqlite.memory_engine()
            return Engines(engine, engine, busy_timeout_us, shared=True)
        return Engines(*sqlite.file_engines(Path(str(parsed.database)), busy_timeout_us), busy_timeout_us)
    if kind in {"postgresql", "postgresql+psycopg"}:
        return Engines(*postgres.engines(parsed, busy_timeout_us), busy_timeout_us)
    raise StoreError(f"store.url begins with {kind}://; a store is kept in sqlite:///FILE or postgresql://…")


def store_error(error: BaseException, what: str) -> StoreError:
    """Say in a sentence what a database's error means. The original is for the `from` clause; texts are not in it."""
    if isinstance(error, StoreError):
        return type(error)(*error.args)
    cause = getattr(error, "orig", None) or error
    primary = getattr(getattr(cause, "diag", None), "message_primary", None)
    text = " ".join(str(primary or cause).split()) or type(cause).__name__
    for sign, meaning in _HINTS:
        if sign in text:
            return StoreError(f"{what}: {meaning} ({type(cause).__name__})")
    return StoreError(f"{what}: {type(cause).__name__}: {text[:300]}")
