"""Keeps a store as a schema version had it, so that upgrades are tested with data: `python -m tests.store.keep FILE`.

`data/store_0001.json` was made by this with the code of version 0.1.0, and is never made anew. Whoever adds a migration
makes the file of the schema before it with the code before it.
"""

from __future__ import annotations

import base64
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from alembic.command import downgrade, upgrade
from alembic.config import Config
from sqlalchemy import MetaData

from feedback_guard.store import schema
from feedback_guard.store.database import Store
from feedback_guard.store.engines import open_engines
from feedback_guard.store.states import Delivery, Learning
from tests.store.build import CLOCK, NOW, claims, decide, deliver, held, insert, policy, submission

MIGRATIONS = str(schema.__file__).replace("schema.py", "migrations")
TABLES = ("submission", "contribution", "ledger", "worker", "meta")


def fill(store: Store) -> None:
    """A request in each state that the first schema had."""
    insert(store, held("held", n=2), held("approved", at_us=NOW + 10), held("denied"))
    insert(store, *[held(name, at_us=NOW + n) for n, name in enumerate(("delivered", "failed", "unknown", "claimed"))])
    insert(store, submission("passed", delivery=Delivery.DISPATCHING, worker="w1"))
    insert(store, submission("lost", Learning.HELD, delivery=Delivery.DISPATCHING, worker="w1"))
    store.submit(lambda tx: tx.heartbeat("w1", NOW)).result()
    for name in ("delivered", "failed", "unknown", "claimed"):
        decide(store, name, approve=True)
    decide(store, "denied", approve=False)
    claims(store, limit=4)
    deliver(store, "delivered", Delivery.DELIVERED, status=200)
    deliver(store, "failed", Delivery.FAILED, status=503)
    deliver(store, "unknown", Delivery.UNKNOWN, cause="the application did not answer")
    deliver(store, "passed", Delivery.DELIVERED, status=200)
    decide(store, "approved", approve=True)


def dump(store: Store) -> dict[str, list[dict[str, Any]]]:
    """All rows; bytes are in base64, in an object of their own."""
    out: dict[str, list[dict[str, Any]]] = {}
    with store.reading() as connection:
        for table in TABLES:
            rows = connection.exec_driver_sql(f"SELECT * FROM {table}")
            out[table] = [
                {
                    name: {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
                    for name, value in row._mapping.items()
                }
                for row in rows
            ]
    return out


def restore(url: str, revision: str, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Make a store of an older schema version with these rows."""
    engines = open_engines(url, 5_000_000)
    try:
        with engines.writer.connect() as connection:
            engines.begin(connection)
            config = Config(attributes={"connection": connection})
            config.set_main_option("script_location", MIGRATIONS)
            upgrade(config, revision)
            metadata = MetaData()
            metadata.reflect(connection, only=TABLES)
            for table in TABLES:
                values = [
                    {
                        name: base64.b64decode(value["base64"]) if isinstance(value, dict) else value
                        for name, value in row.items()
                    }
                    for row in rows[table]
                ]
                if values:
                    connection.execute(metadata.tables[table].insert(), values)
            connection.commit()
    finally:
        engines.dispose()


def downgraded(url: str, revision: str) -> None:
    """Take a store back to an older schema version, with all that fits into it."""
    engines = open_engines(url, 5_000_000)
    try:
        with engines.writer.connect() as connection:
            engines.begin(connection)
            config = Config(attributes={"connection": connection})
            config.set_main_option("script_location", MIGRATIONS)
            downgrade(config, revision)
            connection.commit()
    finally:
        engines.dispose()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, Store.open(policy(f"sqlite:///{folder}/s.db"), clock=CLOCK) as opened:
        fill(opened)
        Path(sys.argv[1]).write_text(json.dumps(dump(opened), indent=1, ensure_ascii=True) + "\n")
