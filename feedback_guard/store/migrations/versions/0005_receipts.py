"""Live votes for served outputs, and digests of what was streamed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "vote",
        sa.Column("key_sha256", sa.Text(), primary_key=True, comment="digest of audience, interaction and contributor"),
        sa.Column("contribution", sa.Text(), sa.ForeignKey("contribution.id"), nullable=False, comment="the live one"),
        sa.Column("issued_us", _NUMBER, nullable=False, comment="when the receipt that it came with was signed"),
        sa.Column("at_us", _NUMBER, nullable=False),
        sqlite_strict=True,
    )
    op.create_index("ix_vote_issued", "vote", ["issued_us"])
    op.create_table(
        "served",
        sa.Column("key_sha256", sa.Text(), primary_key=True, comment="digest of audience, interaction and contributor"),
        sa.Column("output_sha256", sa.Text(), nullable=False, comment="digest of the served text"),
        sa.Column("expires_us", _NUMBER, nullable=False, comment="when it is forgotten"),
        sqlite_strict=True,
    )
    op.create_index("ix_served_expires", "served", ["expires_us"])


def downgrade() -> None:
    """Drop the tables: receipts that were used may be used once more."""
    op.drop_table("served")
    op.drop_table("vote")
