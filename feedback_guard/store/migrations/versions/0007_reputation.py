"""Accounts of reputation, what each contribution puts at stake, and the audited predictions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables. What was judged before puts nothing at stake."""
    op.create_table(
        "reputation",
        sa.Column("identity", sa.Text(), primary_key=True, comment="digest of the contributor, or `anonymous`"),
        sa.Column("number", _NUMBER, nullable=False, comment="place in the order of first acceptance, from 0"),
        sa.Column("endowment", _NUMBER, nullable=False, comment="pico-units, as all below"),
        sa.Column("balance", _NUMBER, nullable=False, comment="endowment + gained - lost; never below 0"),
        sa.Column("gained", _NUMBER, nullable=False),
        sa.Column("lost", _NUMBER, nullable=False),
        sa.Column("forfeited", _NUMBER, nullable=False),
        sa.Column("n_measured", _NUMBER, nullable=False),
        sa.UniqueConstraint("number", name="uq_reputation_number"),
        sqlite_strict=True,
    )
    op.create_index("ix_reputation_balance", "reputation", ["balance"])
    op.create_table(
        "stake",
        sa.Column("contribution", sa.Text(), sa.ForeignKey("contribution.id"), primary_key=True),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column(
            "base_micro", _NUMBER, nullable=False, comment="weight without reputation; 0 where it was not accepted"
        ),
        sa.Column("influence", _NUMBER, nullable=False, comment="of the account when it was accepted, pico-units"),
        sa.Column("mature_us", _NUMBER, nullable=False),
        sa.Column("belief", _NUMBER, nullable=False, comment="chance that it is right, by the trusted set, pico-units"),
        sa.Column("item", sa.Text(), comment="audit item that it speaks about"),
        sa.Column("prior", _NUMBER, comment="first prediction of that item, pico-units"),
        sa.Column("ratio_micro", _NUMBER, comment="likelihood ratio of what it says there"),
        sa.Column("audited", sa.Integer(), nullable=False),
        sa.Column("ruling", sa.Text(), comment="approved or denied, as a moderator decided last"),
        sa.Column("credited", _NUMBER, nullable=False, comment="what that moved the balance by"),
        sa.Column("counted", sa.Text(), comment="the campaign that it was ruled on with"),
        sqlite_strict=True,
    )
    due = sa.text("audited = 0 AND base_micro > 0")
    op.create_index("ix_stake_due", "stake", ["mature_us"], sqlite_where=due, postgresql_where=due)
    counted = sa.text("counted IS NOT NULL")
    op.create_index(
        "ix_stake_counted", "stake", ["identity", "counted"], sqlite_where=counted, postgresql_where=counted
    )
    op.create_table(
        "audited_item",
        sa.Column("item", sa.Text(), primary_key=True),
        sa.Column("belief", _NUMBER, nullable=False, comment="what is predicted of it now, pico-units"),
        sqlite_strict=True,
    )


def downgrade() -> None:
    """Drop the tables. Weights stay as reputation left them."""
    op.drop_table("audited_item")
    op.drop_table("stake")
    op.drop_table("reputation")
