"""Requests that may come again, and the answer that the first delivery got."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "repeat",
        sa.Column("scope_sha256", sa.Text(), primary_key=True, comment="digest of contributor, route and key"),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("fingerprint_sha256", sa.Text(), nullable=False, comment="digest of method, path, query and body"),
        sa.Column("holder", sa.Text(), nullable=False, comment="who may bind it; another one after a takeover"),
        sa.Column("lease_us", _NUMBER, nullable=False, comment="end of a claim that is not bound"),
        sa.Column("created_us", _NUMBER, nullable=False),
        sa.Column("expires_us", _NUMBER, nullable=False, comment="when it is forgotten"),
        sa.Column("submission", sa.Text(), sa.ForeignKey("submission.id"), comment="what it is bound to"),
        sa.Column("status", sa.Integer(), comment="of the kept answer"),
        sa.Column("headers", sa.Text(), comment="of the kept answer, as JSON"),
        sa.Column("body", sa.LargeBinary(), comment="of the kept answer"),
        sqlite_strict=True,
    )
    op.create_index("ix_repeat_submission", "repeat", ["submission"], unique=True)
    op.create_index("ix_repeat_expires", "repeat", ["expires_us"])


def downgrade() -> None:
    """Drop the table: keys that are known are forgotten, and a repeated request counts as a new one."""
    op.drop_table("repeat")
