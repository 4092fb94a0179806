"""Who may write: one transaction at a time, whoever's process it is in."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection

from feedback_guard.errors import LimitError

WRITER_LOCK: Final = 0x6667_7772
"""Key of the advisory lock on PostgreSQL that every writing transaction holds until it ends."""
SCHEMA_LOCK: Final = 0x6667_7363
"""Key of the advisory lock on PostgreSQL under which the schema is migrated."""


def take_writer_lock(connection: Connection) -> None:
    """Make sure that nobody else writes until this transaction ends.

    On PostgreSQL it waits for the transaction-level advisory lock. On SQLite the lock is `BEGIN IMMEDIATE`, which
    only the beginning of the transaction can take, so a connection outside a transaction is refused.

    Raises
    ------
    LimitError
        If a SQLite connection is in no transaction: what it read could change before it writes.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (WRITER_LOCK,))
        return
    driver = connection.connection.dbapi_connection
    if driver is not None and not driver.in_transaction:
        raise LimitError("a budget is charged inside a transaction that began with BEGIN IMMEDIATE; there is none")
