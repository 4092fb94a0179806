"""The schema's version: brought forward when a store is opened, refused when it comes from a newer guard."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect

from feedback_guard.errors import UnsafeDatabaseError
from feedback_guard.store.locks import SCHEMA_LOCK

HEAD: Final = "0009"
"""Newest revision in `migrations/versions`; a test compares the two."""
_MIGRATIONS: Final = Path(__file__).with_name("migrations")


def current(connection: Connection) -> str | None:
    """Revision of the schema in a database; None if it has none.

    Raises
    ------
    UnsafeDatabaseError
        If it names several.
    """
    if not inspect(connection).has_table("alembic_version"):
        return None
    versions = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars().all()
    if len(versions) > 1:
        raise UnsafeDatabaseError(f"the store names {len(versions)} schema versions at once; restore it from a backup")
    return str(versions[0]) if versions else None


def migrate(connection: Connection) -> None:
    """Bring the schema to `HEAD`, inside the caller's transaction.

    On SQLite that transaction holds the write lock already; on PostgreSQL an advisory lock is taken, so that several
    processes may start together.

    Raises
    ------
    UnsafeDatabaseError
        If the schema is newer than this guard, or of something else.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (SCHEMA_LOCK,))
    before = current(connection)
    if before == HEAD:
        return

    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if before is not None and before not in known:
        raise UnsafeDatabaseError(
            f"the store has schema version {before!r}, this feedback_guard knows up to {HEAD!r}; "
            "a newer one wrote it: upgrade feedback_guard, or restore the backup from before the upgrade"
        )
    command.upgrade(config, "head")
