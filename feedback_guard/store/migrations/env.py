"""Runs the migrations on the connection that `feedback_guard.store.schema` hands over, inside its transaction."""

from __future__ import annotations

from alembic import context

from feedback_guard.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
context.run_migrations()
