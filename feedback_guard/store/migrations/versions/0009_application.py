"""Which application a kept request is for, so that several guards may share a store."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. What is kept already names none, and goes to any application with its route, as it did before."""
    op.add_column(
        "replay",
        sa.Column(
            "application", sa.Text(), comment="which one it is for; NULL where an older guard kept it, and did not say"
        ),
    )


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("replay", "application")
