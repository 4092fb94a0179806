"""PostgreSQL as a place for records: no lock and no setting outlives a transaction, so a pooler may stand between."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from math import ceil
from typing import Any, Final, LiteralString

import psycopg
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine
from sqlalchemy.exc import OperationalError

from feedback_guard.clock import MICROSECONDS
from feedback_guard.errors import UnsafeDatabaseError
from feedback_guard.ledger.chain import GENESIS, Checkpoint
from feedback_guard.limits.gcra import Level
from feedback_guard.store.locks import WRITER_LOCK
from feedback_guard.store.opening import Opening

_READERS: Final = 8
_IDLE_MS: Final = 30_000
"""How long a process that stopped in the middle of a transaction may keep others waiting, in milliseconds."""
MAX_COUNTERS: Final = 8_192
"""Most counters that are read at the beginning of a transaction."""
LOCK: LiteralString = "SELECT pg_advisory_xact_lock(%s)"
_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"
_SETTINGS: Final = (
    "SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint,"
    " set_config('lock_timeout', %s, true), set_config('idle_in_transaction_session_timeout', %s, true),"
    " CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', true) END"
)
_TIME: Final = "SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint"
_HEAD: Final = "SELECT seq, hash FROM ledger ORDER BY seq DESC LIMIT 1"
_LEVELS: Final = "SELECT key, used_micro, rest, period_us, last_us FROM budget WHERE key = ANY(%s)"


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
    """Bound the waits of this transaction, make its commit durable, and take the writer's lock: one round trip."""
    _begin(connection, busy_timeout_us, [])


def begin_and_look(connection: Connection, busy_timeout_us: int, counters: Sequence[str]) -> Opening:
    """`begin`, and in the same round trip the server's time, the end of the ledger, and the levels of counters.

    While the lock is held every other process waits, so each further round trip would cost all of them its time. The
    statements travel together and are done one after the other, each on what was committed before it began: what is
    read behind the lock is what its last holder left.

    Parameters
    ----------
    counters
        Keys of budgets. No more than `MAX_COUNTERS` of them are read.
    """
    asked = list(dict.fromkeys(counters))[:MAX_COUNTERS]
    sent = time.monotonic()
    found = _begin(connection, busy_timeout_us, [(_TIME, ()), (_HEAD, ()), (_LEVELS, (asked,))])
    ((before_us, *_),), ((now_us,),), heads, rows = found[0], *found[2:]
    levels: dict[str, Level | None] = dict.fromkeys(asked)
    levels.update((row[0], Level(*row[1:])) for row in rows)
    # The lock may have been waited for. So much later than the sending it was, if nobody set the server's clock.
    waited = min(max(0, now_us - before_us) / MICROSECONDS, time.monotonic() - sent)
    return Opening(
        levels=levels,
        head=Checkpoint(*heads[0]) if heads else Checkpoint(0, GENESIS),
        server_time=(now_us, sent + waited),
    )


def _begin(
    connection: Connection, busy_timeout_us: int, queries: Sequence[tuple[LiteralString, tuple[Any, ...]]]
) -> list[list[tuple[Any, ...]]]:
    """Begin a transaction under the writer's lock, and answer queries: the rows of each, the beginning's two first."""
    if not connection.in_transaction():
        connection.begin()
    driver: psycopg.Connection[tuple[Any, ...]] = connection.connection.driver_connection  # type: ignore[assignment]
    bounds = f"{max(1, busy_timeout_us // 1_000)}ms", f"{_IDLE_MS}ms"
    cursors = []
    try:
        # psycopg would begin by itself, and wait for that. With autocommit it leaves both ends to us and SQLAlchemy.
        driver.autocommit = True
        with driver.pipeline() if psycopg.capabilities.has_pipeline() else nullcontext():
            driver.execute(_BEGIN)
            for statement, values in ((_SETTINGS, bounds), (LOCK, (WRITER_LOCK,)), *queries):
                cursors.append(driver.execute(statement, values))
        return [cursor.fetchall() for cursor in cursors]
    except psycopg.Error as error:
        if driver.closed:
            connection.invalidate(error)
        raise OperationalError("BEGIN", None, error, hide_parameters=True) from error


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
