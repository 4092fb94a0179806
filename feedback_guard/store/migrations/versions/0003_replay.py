"""Leases, fences and attempts of kept requests, and their credentials; where moderators look for what is stuck."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table, with a row for each request that is kept already; a claim of an older guard has no lease."""
    op.create_table(
        "replay",
        sa.Column("submission", sa.Text(), sa.ForeignKey("submission.id"), primary_key=True),
        sa.Column(
            "fence", _NUMBER, nullable=False, comment="grows with every claim; an outcome names the claim it is of"
        ),
        sa.Column("lease_us", _NUMBER, nullable=False, comment="until when the claim is good; 0 while there is none"),
        sa.Column("due_us", _NUMBER, nullable=False, comment="not given to the application before"),
        sa.Column("attempts", sa.Integer(), nullable=False, comment="claims since a moderator last let it through"),
        sa.Column("since_us", _NUMBER, nullable=False, comment="time of the first of them; 0 before it"),
        sa.Column("key_id", sa.Text(), comment="the key that sealed the credentials; NULL where none are kept"),
        sa.Column("sealed", sa.LargeBinary(), comment="the credentials, encrypted"),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_replay_key",
        "replay",
        ["key_id"],
        sqlite_where=sa.text("key_id IS NOT NULL"),
        postgresql_where=sa.text("key_id IS NOT NULL"),
    )
    stuck = sa.text("delivery = 'unknown' OR (delivery IN ('failed', 'needs_credentials') AND request IS NOT NULL)")
    op.create_index("ix_submission_stuck", "submission", ["at_us", "id"], sqlite_where=stuck, postgresql_where=stuck)
    op.execute(
        "INSERT INTO replay (submission, fence, lease_us, due_us, attempts, since_us)"
        " SELECT id, 0, 0, 0, 0, 0 FROM submission WHERE request IS NOT NULL"
    )


def downgrade() -> None:
    """Drop what the upgrade made; kept credentials are lost, and a pending retry is due at once."""
    op.drop_index("ix_submission_stuck", "submission")
    op.drop_table("replay")
