"""SQLite as a place for records: a library that does not corrupt them, and settings that do not lose them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pysqlite3
from sqlalchemy import URL, Connection, Engine, NullPool, StaticPool, create_engine, event

from feedback_guard.errors import StoreError, UnsafeDatabaseError

DriverError: Final[type[Exception]] = pysqlite3.Error
"""What the driver raises where SQLAlchemy does not stand between."""
_SAFE_FROM: Final = (3, 51, 3)
_REPAIRED_BRANCHES: Final[Mapping[tuple[int, int], int]] = {(3, 50): 7, (3, 44): 6}
_READERS: Final = 8
_WAL_ATTEMPTS: Final = 20
_JOURNAL_BYTES: Final = 64 * 1024 * 1024


def sqlite_version() -> tuple[int, int, int]:
    """Version of the SQLite library in use."""
    major, minor, patch = (int(part) for part in pysqlite3.sqlite_version.split(".")[:3])
    return major, minor, patch


def assert_sqlite_version(version: tuple[int, int, int]) -> None:
    """Refuse a library with the WAL-reset bug, by which two processes can corrupt a database in WAL mode.

    Raises
    ------
    UnsafeDatabaseError
        Unless it is 3.51.3 or later, 3.50.7 or later in 3.50, or 3.44.6 or later in 3.44.

    Examples
    --------
    >>> assert_sqlite_version((3, 50, 7))
    """
    major, minor, patch = version
    repaired = _REPAIRED_BRANCHES.get((major, minor))
    if version >= _SAFE_FROM or (repaired is not None and patch >= repaired):
        return
    raise UnsafeDatabaseError(
        f"SQLite {major}.{minor}.{patch} can corrupt a database that two processes use (the WAL-reset bug); "
        "install pysqlite3 with SQLite 3.51.3 or later"
    )


def memory_engine() -> Engine:
    """An engine for `sqlite:///:memory:`: one connection that everybody shares, under a lock that the store holds."""
    engine = _engine(URL.create("sqlite"), poolclass=StaticPool, timeout=1.0)
    event.listen(engine, "connect", _settings(None))
    return engine


def file_engines(path: Path, busy_timeout_us: int) -> tuple[Engine, Engine]:
    """Make an engine that writes and one that can only read.

    Parameters
    ----------
    path
        The database file; made if it does not exist, readable by its owner alone.
    busy_timeout_us
        How long either waits for another process's lock, in microseconds.

    Raises
    ------
    UnsafeDatabaseError
        If the library has the WAL-reset bug.
    StoreError
        If the file cannot be made.
    """
    assert_sqlite_version(sqlite_version())
    try:
        path.touch(mode=0o600, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"the store {path} cannot be written: {error.strerror}; "
            "make its folder, change its owner, or change store.url"
        ) from None
    url = URL.create("sqlite", database=str(path))
    timeout = busy_timeout_us / 1_000_000
    writer = _engine(url, poolclass=NullPool, timeout=timeout)
    event.listen(writer, "connect", _settings("writer"))
    reader = _engine(url, poolclass=None, timeout=timeout, pool_size=_READERS, max_overflow=0)
    event.listen(reader, "connect", _settings("reader"))
    return writer, reader


def assert_settings(connection: Connection) -> dict[str, str]:
    """Read back what keeps records safe, and refuse a database where it did not take.

    Raises
    ------
    UnsafeDatabaseError
        Naming the setting, what it is and what it must be.
    """
    facts = {"sqlite": ".".join(map(str, sqlite_version()))}
    for name, wanted, why in (
        ("journal_mode", ("wal",), "the file system may not support shared memory: use a local disk"),
        ("synchronous", (2, 3), "a power failure could lose what was acknowledged"),
        ("foreign_keys", (1,), "this SQLite was built without them"),
    ):
        value = connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
        if value not in wanted:
            raise UnsafeDatabaseError(f"SQLite has {name} = {value}, which must be {wanted[0]}: {why}")
        facts[name] = str(value)
    return facts


def _engine(url: URL, *, timeout: float, **options: Any) -> Engine:
    return create_engine(
        url,
        module=pysqlite3,
        connect_args={"timeout": timeout, "check_same_thread": False, "isolation_level": None},
        hide_parameters=True,
        **options,
    )


def _settings(role: str | None) -> Any:
    def on_connect(driver: Any, _: object) -> None:
        driver.execute("PRAGMA foreign_keys=ON")
        driver.execute("PRAGMA trusted_schema=OFF")
        if role == "reader":
            driver.execute("PRAGMA query_only=ON")
        elif role == "writer":
            _switch_to_wal(driver)
            driver.execute("PRAGMA synchronous=FULL")
            driver.execute(f"PRAGMA journal_size_limit={_JOURNAL_BYTES}")

    return on_connect


def _switch_to_wal(driver: Any) -> None:
    """Switching takes an exclusive lock without waiting for it; a write lock is waited for, so it is the pause."""
    for attempt in range(_WAL_ATTEMPTS):
        try:
            driver.execute("PRAGMA journal_mode=WAL").fetchone()
        except pysqlite3.OperationalError:
            if attempt == _WAL_ATTEMPTS - 1:
                raise
            driver.execute("BEGIN IMMEDIATE")
            driver.execute("ROLLBACK")
        else:
            return
