"""PostgreSQL as a place for records: no lock and no setting outlives a transaction, so a pooler may stand between."""

from __future__ import annotations

from math import ceil
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine

from feedback_guard.errors import UnsafeDatabaseError
from feedback_guard.store.locks import take_writer_lock

_READERS: Final = 8
_IDLE_MS: Final = 60_000
"""How long a process that stopped in the middle of a transaction may keep others waiting, in milliseconds."""


def engines(url: URL, busy_timeout_us: int) -> tuple[Engine, Engine]:
    """Make an engine that writes and one that can only read.

    Parameters
    ----------
    url
        `postgresql://…`; connection parameters in its query win over the ones set here.
    busy_timeout_us
        How long to wait for a connection or for another process's lock, in microseconds.
    """
    seconds = max(2, ceil(busy_timeout_us / 1_000_000))
    arguments: dict[str, Any] = {
        "application_name": "feedback_guard",
        "connect_timeout": seconds,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 1_000 * max(10, 2 * seconds),
    }
    arguments = {name: value for name, value in arguments.items() if name not in url.query}
    # A prepared statement belongs to a session, and behind a pooler a session belongs to nobody.
    arguments["prepare_threshold"] = None
    driver_url = url.set(drivername="postgresql+psycopg")
    writer = create_engine(
        driver_url,
        connect_args=arguments,
        poolclass=NullPool,
        hide_parameters=True,
        isolation_level="READ COMMITTED",
    )
    reader = create_engine(
        driver_url,
        connect_args=arguments,
        pool_size=_READERS,
        max_overflow=0,
        pool_timeout=seconds,
        pool_pre_ping=True,
        hide_parameters=True,
        execution_options={"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
    )
    return writer, reader


def begin(connection: Connection, busy_timeout_us: int) -> None:
    """Bound the waits of this transaction, make its commit durable, and take the writer's lock."""
    connection.exec_driver_sql(
        "SELECT set_config('lock_timeout', %s, true),"
        " set_config('idle_in_transaction_session_timeout', %s, true),"
        " CASE WHEN current_setting('synchronous_commit') = 'off'"
        " THEN set_config('synchronous_commit', 'on', true) END",
        (f"{max(1, busy_timeout_us // 1_000)}ms", f"{_IDLE_MS}ms"),
    )
    take_writer_lock(connection)


def assert_settings(connection: Connection) -> dict[str, str]:
    """Refuse a server that would lose records, or alter texts.

    Raises
    ------
    UnsafeDatabaseError
        Naming the setting, what it is and what it must be.
    """
    facts = {"postgresql": str(connection.exec_driver_sql("SHOW server_version").scalar_one())}
    for name, wanted, why in (
        ("fsync", "on", "a power failure could lose or corrupt what was acknowledged"),
        ("full_page_writes", "on", "a power failure could corrupt what was acknowledged"),
        ("server_encoding", "UTF8", "texts would not read back as they were written"),
    ):
        value = str(connection.exec_driver_sql(f"SHOW {name}").scalar_one())
        if value != wanted:
            raise UnsafeDatabaseError(f"PostgreSQL has {name} = {value}, which must be {wanted}: {why}")
        facts[name] = value
    return facts
