from __future__ import annotations

import stat
import threading
from pathlib import Path

import pysqlite3
import pytest

from feedback_guard.errors import StoreError, UnsafeDatabaseError
from feedback_guard.store import sqlite
from feedback_guard.store.database import Store
from feedback_guard.store.engines import open_engines
from tests.postgres import server
from tests.store.build import CLOCK, insert, policy, submission

SAFE = [(3, 51, 3), (3, 52, 0), (4, 0, 0), (3, 50, 7), (3, 50, 12), (3, 44, 6)]
UNSAFE = [(3, 51, 2), (3, 51, 0), (3, 50, 6), (3, 49, 9), (3, 45, 7), (3, 44, 5), (3, 40, 1), (2, 99, 99)]


@pytest.mark.parametrize("version", SAFE)
def test_a_repaired_sqlite_is_taken(version: tuple[int, int, int]) -> None:
    sqlite.assert_sqlite_version(version)


@pytest.mark.parametrize("version", UNSAFE)
def test_a_sqlite_with_the_wal_reset_bug_is_refused(version: tuple[int, int, int]) -> None:
    with pytest.raises(UnsafeDatabaseError, match=r"WAL-reset.*3\.51\.3"):
        sqlite.assert_sqlite_version(version)


def test_the_version_is_looked_at_when_a_store_is_opened(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "sqlite_version", lambda: (3, 40, 1))
    with pytest.raises(UnsafeDatabaseError):
        Store.open(policy(sqlite_url), clock=CLOCK)


def test_what_keeps_records_safe_is_set(sqlite_store: Store) -> None:
    assert {name: sqlite_store.facts[name] for name in ("journal_mode", "synchronous", "foreign_keys")} == {
        "journal_mode": "wal",
        "synchronous": "2",
        "foreign_keys": "1",
    }
    seen = sqlite_store.submit(
        lambda tx: [
            tx.connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("synchronous", "foreign_keys")
        ]
    ).result()
    assert seen == [2, 1]


@pytest.mark.parametrize(
    ("pragma", "named"), [("synchronous=OFF", "synchronous"), ("foreign_keys=OFF", "foreign_keys")]
)
def test_a_setting_that_did_not_take_is_refused(sqlite_url: str, pragma: str, named: str) -> None:
    engines = open_engines(sqlite_url, 1_000_000)
    with engines.writer.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA {pragma}")
        with pytest.raises(UnsafeDatabaseError, match=named):
            sqlite.assert_settings(connection)


def test_a_database_that_is_not_in_wal_mode_is_refused(sqlite_url: str) -> None:
    engines = open_engines(sqlite_url, 1_000_000)
    with engines.writer.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=DELETE")
        with pytest.raises(UnsafeDatabaseError, match="journal_mode"):
            sqlite.assert_settings(connection)


def test_the_file_is_for_its_owner_alone(sqlite_url: str, tmp_path: Path) -> None:
    with Store.open(policy(sqlite_url), clock=CLOCK) as store:
        insert(store, submission("s1"))
        for name in ("store.db", "store.db-wal", "store.db-shm"):
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_readers_cannot_write(store: Store) -> None:
    with pytest.raises(StoreError, match="could not be read"), store.reading() as connection:
        connection.exec_driver_sql("INSERT INTO meta VALUES ('a', 'b')")
    with store.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM meta").scalar() == 0


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("sqlite:////no/such/folder/store.db", "make its folder"),
        ("mysql://host/name", "sqlite:///FILE"),
        ("nonsense", "no URL"),
    ],
)
def test_a_store_that_cannot_be_is_refused_with_a_sentence(url: str, sentence: str) -> None:
    with pytest.raises(StoreError, match=sentence):
        Store.open(policy(url), clock=CLOCK)


def test_switching_to_wal_waits_for_another_process_that_writes(sqlite_url: str, tmp_path: Path) -> None:
    """SQLite itself does not wait here: it says at once that the database is locked."""
    other = pysqlite3.connect(str(tmp_path / "store.db"), isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE something (x)")
    other.execute("BEGIN IMMEDIATE")
    letting_go = threading.Timer(0.1, other.rollback)
    letting_go.start()
    with Store.open(policy(sqlite_url), clock=CLOCK) as store:
        assert store.facts["journal_mode"] == "wal"
    letting_go.join()
    other.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("these are not the bytes of a database, but there are enough of them" * 20)
    with pytest.raises(StoreError, match="not a SQLite database"):
        Store.open(policy(f"sqlite:///{tmp_path}/a.db"), clock=CLOCK)


def test_a_store_in_memory_works_for_many_threads() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with Store.open(policy("sqlite:///:memory:"), clock=CLOCK) as store, ThreadPoolExecutor(8) as pool:
        writes = [store.submit(lambda tx, n=n: tx.append("note", "x", {"n": n}, 0)) for n in range(50)]  # type: ignore[misc]
        reads = list(pool.map(lambda _: len(store.events_after(0, 100)), range(50)))
        assert [write.result() for write in writes] == list(range(1, 51))
        assert all(0 <= seen <= 50 for seen in reads)
        assert len(store.events_after(0, 100)) == 50


@pytest.mark.postgres
def test_a_server_that_does_not_flush_is_refused(postgres_url: str) -> None:
    running = server()
    running.execute("ALTER SYSTEM SET full_page_writes = off")
    running.execute("SELECT pg_reload_conf()")
    try:
        engines = open_engines(postgres_url, 5_000_000)
        with engines.writer.connect() as connection:
            while connection.exec_driver_sql("SHOW full_page_writes").scalar_one() == "on":
                connection.rollback()
        with pytest.raises(UnsafeDatabaseError, match="full_page_writes"):
            Store.open(policy(postgres_url), clock=CLOCK)
    finally:
        running.execute("ALTER SYSTEM RESET full_page_writes")
        running.execute("SELECT pg_reload_conf()")


@pytest.mark.postgres
def test_an_unreachable_server_is_a_sentence() -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        Store.open(policy("postgresql://nobody@127.0.0.1:1/none"), clock=CLOCK)
