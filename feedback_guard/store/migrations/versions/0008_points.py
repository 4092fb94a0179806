"""Where the latest accepted contributions lie in embedding space, for budgets on a radius."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table. What was accepted before is not in it: a radius begins to count now."""
    op.create_table(
        "point",
        sa.Column("seq", _NUMBER, primary_key=True, autoincrement=True, comment="grows"),
        sa.Column("budget", sa.Text(), nullable=False, comment="digest of the budget's name"),
        sa.Column("at_us", _NUMBER, nullable=False),
        sa.Column("cost_micro", _NUMBER, nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False, comment="half precision, little-endian"),
        sqlite_strict=True,
    )
    op.create_index("ix_point_budget", "point", ["budget", "seq"])


def downgrade() -> None:
    """Drop what the upgrade made."""
    op.drop_index("ix_point_budget", "point")
    op.drop_table("point")
