"""Snapshots, and what each of them holds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "snapshot",
        sa.Column("number", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("created_us", _NUMBER, nullable=False),
        sa.Column("as_of_us", _NUMBER, nullable=False),
        sa.Column("head_seq", _NUMBER, nullable=False, comment="end of the ledger that it was cut at"),
        sa.Column("contributions", _NUMBER, nullable=False),
        sa.Column("weight_micro", _NUMBER, nullable=False),
        sa.Column("manifest", sa.Text(), nullable=False, comment="canonical JSON"),
        sa.Column("complete", sa.Integer(), nullable=False, comment="0 while its members are being written"),
        sa.UniqueConstraint("id", name="uq_snapshot_id"),
        sqlite_strict=True,
    )
    op.create_table(
        "snapshot_member",
        sa.Column("snapshot", _NUMBER, sa.ForeignKey("snapshot.number"), primary_key=True, autoincrement=False),
        sa.Column(
            "seq",
            _NUMBER,
            sa.ForeignKey("ledger.seq"),
            primary_key=True,
            autoincrement=False,
            comment="the ledger entry that accepted the contribution",
        ),
        sa.Column("weight_micro", _NUMBER, nullable=False),
        sqlite_strict=True,
    )
    op.create_index("ix_snapshot_member_seq", "snapshot_member", ["seq"])


def downgrade() -> None:
    """Drop the tables: the ledger still names every snapshot, but nothing says any more what each of them held."""
    op.drop_table("snapshot_member")
    op.drop_table("snapshot")
