from __future__ import annotations

import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.command import downgrade
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from feedback_guard.errors import UnsafeDatabaseError
from feedback_guard.store import schema, tables
from feedback_guard.store.database import Store
from feedback_guard.store.engines import open_engines
from tests.patience import PATIENCE_SECONDS
from tests.store.build import CLOCK, insert, policy, submission

MIGRATIONS = str(schema.__file__).replace("schema.py", "migrations")


def test_migrations_and_tables_agree(store: Store) -> None:
    def differences(tx: object) -> object:
        context = MigrationContext.configure(tx.connection, opts={"compare_type": True})  # type: ignore[attr-defined]
        return compare_metadata(context, tables.metadata)

    assert store.submit(differences).result() == []


def test_migrations_make_the_same_sqlite_tables_as_the_metadata(sqlite_store: Store) -> None:
    """What the comparison above does not see: STRICT, partial indexes, constraints."""
    own = open_engines("sqlite:///:memory:", 1_000_000).writer
    listing = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'alembic_version' ORDER BY name"
    with own.begin() as connection:
        tables.metadata.create_all(connection)
        made = connection.exec_driver_sql(listing).all()
    with sqlite_store.reading() as connection:
        migrated = connection.exec_driver_sql(listing).all()
    assert [(name, " ".join(sql.split())) for name, sql in migrated] == [
        (name, " ".join(sql.split())) for name, sql in made
    ]
    assert all("STRICT" in sql for _, sql in made if sql.startswith("CREATE TABLE"))


def test_the_newest_revision_is_the_one_that_the_code_names() -> None:
    config = Config()
    config.set_main_option("script_location", MIGRATIONS)
    assert ScriptDirectory.from_config(config).get_current_head() == schema.HEAD


def test_opening_again_keeps_what_is_there(new_url: str) -> None:
    with Store.open(policy(new_url), clock=CLOCK) as store:
        insert(store, submission("s1"))
    with Store.open(policy(new_url), clock=CLOCK) as store:
        assert store.submission("s1") is not None


def test_a_newer_schema_is_refused(new_url: str) -> None:
    with Store.open(policy(new_url), clock=CLOCK) as store:
        store.submit(
            lambda tx: tx.connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        ).result()
    with pytest.raises(UnsafeDatabaseError, match=r"'9999'.*upgrade feedback_guard"):
        Store.open(policy(new_url), clock=CLOCK)


def test_the_first_migration_can_be_taken_back(new_url: str) -> None:
    Store.open(policy(new_url), clock=CLOCK).close()
    engines = open_engines(new_url, 5_000_000)
    with engines.writer.connect() as connection:
        engines.begin(connection)
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", MIGRATIONS)
        downgrade(config, "base")
        connection.commit()
        assert inspect(connection).get_table_names() == ["alembic_version"]
    engines.dispose()


OPEN = """
import sys
from feedback_guard.clock import SystemClock
from feedback_guard.policy.store import StorePolicy
from feedback_guard.store.database import Store
sys.stdin.readline()
with Store.open(StorePolicy(url=sys.argv[1]), clock=SystemClock()) as store:
    print(store.submit(lambda tx: tx.append("started", sys.argv[2], {}, 0)).result())
"""


def test_several_processes_may_open_a_new_store_at_once(new_url: str) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, new_url, f"w{n}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for n in range(3)
    ]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    printed = [worker.communicate(timeout=PATIENCE_SECONDS)[0].strip() for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 3
    assert sorted(printed) == ["1", "2", "3"]
