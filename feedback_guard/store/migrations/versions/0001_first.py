"""The first schema: submissions, contributions, ledger, budgets, workers, review logins."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "submission",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("at_us", _NUMBER, nullable=False),
        sa.Column("anonymous", sa.Integer(), nullable=False),
        sa.Column("delivery", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("n_held", sa.Integer(), nullable=False, comment="contributions in state held"),
        sa.Column("waiting", sa.Integer(), nullable=False, comment="1 while a moderator's decision is awaited"),
        sa.Column("request", sa.LargeBinary(), comment="the held request, byte for byte"),
        sa.Column("worker", sa.Text(), nullable=False, comment="the process that dispatches it"),
        sa.Column("moved_us", _NUMBER, nullable=False, comment="time of the last change of delivery"),
        sa.Column("detail", sa.Text(), comment="canonical JSON of what is known about the last change of delivery"),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_submission_waiting",
        "submission",
        ["at_us", "id", "n_held"],
        sqlite_where=sa.text("waiting = 1"),
        postgresql_where=sa.text("waiting = 1"),
    )
    undelivered = sa.text("delivery IN ('approved', 'dispatching')")
    op.create_index(
        "ix_submission_undelivered",
        "submission",
        ["delivery", "at_us"],
        sqlite_where=undelivered,
        postgresql_where=undelivered,
    )
    op.create_table(
        "contribution",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("submission", sa.Text(), sa.ForeignKey("submission.id"), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False, comment="place in the submission, from 0"),
        sa.Column("payload", sa.Text(), nullable=False, comment="the contribution as canonical JSON"),
        sa.Column("verdict", sa.Text(), nullable=False, comment="the verdict as it was made, as JSON"),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("learning", sa.Text(), nullable=False),
        sa.Column("weight_micro", _NUMBER, nullable=False, comment="what may be learned from it in its present state"),
        sa.Column("suspicion_micro", _NUMBER, nullable=False),
        sa.Column("charged_micro", _NUMBER, nullable=False, comment="influence it was charged for so far"),
        sa.Column("vectors", sa.LargeBinary(), nullable=False),
        sa.UniqueConstraint("submission", "position", name="uq_contribution_place"),
        sqlite_strict=True,
    )
    op.create_table(
        "ledger",
        sa.Column("seq", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("at_us", _NUMBER, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False, comment="canonical JSON (RFC 8785) without floats"),
        sa.Column("prev_hash", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.UniqueConstraint("prev_hash", name="uq_ledger_prev_hash"),
        sa.UniqueConstraint("hash", name="uq_ledger_hash"),
        sqlite_strict=True,
    )
    op.create_index("ix_ledger_subject", "ledger", ["subject", "seq"])
    op.create_table(
        "budget",
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("used_micro", _NUMBER, nullable=False),
        sa.Column("rest", _NUMBER, nullable=False),
        sa.Column("period_us", _NUMBER, nullable=False),
        sa.Column("last_us", _NUMBER, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "worker",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("started_us", _NUMBER, nullable=False),
        sa.Column("last_us", _NUMBER, nullable=False, comment="its latest heartbeat"),
        sqlite_strict=True,
    )
    op.create_table(
        "review_session",
        sa.Column("id_sha256", sa.Text(), primary_key=True),
        sa.Column("moderator", sa.Text(), nullable=False),
        sa.Column("created_us", _NUMBER, nullable=False),
        sa.Column("last_us", _NUMBER, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "login_failure",
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("at_us", _NUMBER, nullable=False),
        sqlite_strict=True,
    )
    op.create_index("ix_login_failure", "login_failure", ["network", "at_us"])
    op.create_table(
        "meta",
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("value", sa.Text(), nullable=False),
        sqlite_strict=True,
    )


def downgrade() -> None:
    """Drop all tables, and with them the record."""
    for name in (
        "meta",
        "login_failure",
        "review_session",
        "worker",
        "budget",
        "ledger",
        "contribution",
        "submission",
    ):
        op.drop_table(name)
