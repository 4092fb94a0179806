"""The tables. Times are integer microseconds UTC, weights integer micro-units; digests are SHA-256 in hexadecimal.

The migrations in `migrations/` make the same tables; a test compares the two.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata: Final = MetaData()

Number: Final = BigInteger().with_variant(Integer(), "sqlite")
"""64 bits everywhere: SQLite's INTEGER already has them."""

submission: Final = Table(
    "submission",
    metadata,
    Column("id", Text, primary_key=True),
    Column("route", Text, nullable=False),
    Column("at_us", Number, nullable=False),
    Column("anonymous", Integer, nullable=False),
    Column("delivery", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("n_held", Integer, nullable=False, comment="contributions in state held"),
    Column("waiting", Integer, nullable=False, comment="1 while a moderator's decision is awaited"),
    Column("request", LargeBinary, comment="the held request, byte for byte"),
    Column("worker", Text, nullable=False, comment="the process that dispatches it"),
    Column("moved_us", Number, nullable=False, comment="time of the last change of delivery"),
    Column("detail", Text, comment="canonical JSON of what is known about the last change of delivery"),
    sqlite_strict=True,
)
"""One row for each request that brought contributions."""

Index(
    "ix_submission_waiting",
    submission.c.at_us,
    submission.c.id,
    submission.c.n_held,
    sqlite_where=submission.c.waiting == 1,
    postgresql_where=submission.c.waiting == 1,
)
Index(
    "ix_submission_undelivered",
    submission.c.delivery,
    submission.c.at_us,
    sqlite_where=submission.c.delivery.in_(("approved", "dispatching")),
    postgresql_where=submission.c.delivery.in_(("approved", "dispatching")),
)

STUCK: Final = "delivery = 'unknown' OR (delivery IN ('failed', 'needs_credentials') AND request IS NOT NULL)"
"""Requests that did not plainly arrive, and for which there is a way on; the index has the same words."""
Index(
    "ix_submission_stuck",
    submission.c.at_us,
    submission.c.id,
    sqlite_where=text(STUCK),
    postgresql_where=text(STUCK),
)

replay: Final = Table(
    "replay",
    metadata,
    Column("submission", Text, ForeignKey("submission.id"), primary_key=True),
    Column("fence", Number, nullable=False, comment="grows with every claim; an outcome names the claim it is of"),
    Column("lease_us", Number, nullable=False, comment="until when the claim is good; 0 while there is none"),
    Column("due_us", Number, nullable=False, comment="not given to the application before"),
    Column("attempts", Integer, nullable=False, comment="claims since a moderator last let it through"),
    Column("since_us", Number, nullable=False, comment="time of the first of them; 0 before it"),
    Column("key_id", Text, comment="the key that sealed the credentials; NULL where none are kept"),
    Column("sealed", LargeBinary, comment="the credentials, encrypted"),
    Column("application", Text, comment="which one it is for; NULL where an older guard kept it, and did not say"),
    sqlite_strict=True,
)
"""One row for each kept request: who may give it to the application now, and how often that was tried."""

Index(
    "ix_replay_key",
    replay.c.key_id,
    sqlite_where=replay.c.key_id.is_not(None),
    postgresql_where=replay.c.key_id.is_not(None),
)

contribution: Final = Table(
    "contribution",
    metadata,
    Column("id", Text, primary_key=True),
    Column("submission", Text, ForeignKey("submission.id"), nullable=False),
    Column("position", Integer, nullable=False, comment="place in the submission, from 0"),
    Column("payload", Text, nullable=False, comment="the contribution as canonical JSON"),
    Column("verdict", Text, nullable=False, comment="the verdict as it was made, as JSON"),
    Column("decision", Text, nullable=False),
    Column("learning", Text, nullable=False),
    Column("weight_micro", Number, nullable=False, comment="what may be learned from it in its present state"),
    Column("suspicion_micro", Number, nullable=False),
    Column("charged_micro", Number, nullable=False, comment="influence it was charged for so far"),
    Column("vectors", LargeBinary, nullable=False),
    UniqueConstraint("submission", "position", name="uq_contribution_place"),
    sqlite_strict=True,
)
"""One row for each contribution."""

ledger: Final = Table(
    "ledger",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=False),
    Column("at_us", Number, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("body", Text, nullable=False, comment="canonical JSON (RFC 8785) without floats"),
    Column("prev_hash", Text, nullable=False),
    Column("hash", Text, nullable=False),
    UniqueConstraint("prev_hash", name="uq_ledger_prev_hash"),
    UniqueConstraint("hash", name="uq_ledger_hash"),
    sqlite_strict=True,
)
"""The append-only, hash-chained record. Two entries can never follow the same one."""

Index("ix_ledger_subject", ledger.c.subject, ledger.c.seq)

budget: Final = Table(
    "budget",
    metadata,
    Column("key", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("used_micro", Number, nullable=False),
    Column("rest", Number, nullable=False),
    Column("period_us", Number, nullable=False),
    Column("last_us", Number, nullable=False),
    sqlite_strict=True,
)
"""One row for each budget and value of its facet; see `feedback_guard.limits.gcra.Level`."""

point: Final = Table(
    "point",
    metadata,
    Column("seq", Number, primary_key=True, autoincrement=True, comment="grows"),
    Column("budget", Text, nullable=False, comment="digest of the budget's name"),
    Column("at_us", Number, nullable=False),
    Column("cost_micro", Number, nullable=False),
    Column("vector", LargeBinary, nullable=False, comment="half precision, little-endian"),
    sqlite_strict=True,
)
"""Where the latest accepted contributions lie in embedding space; see `feedback_guard.limits.points`."""

Index("ix_point_budget", point.c.budget, point.c.seq)

worker: Final = Table(
    "worker",
    metadata,
    Column("id", Text, primary_key=True),
    Column("started_us", Number, nullable=False),
    Column("last_us", Number, nullable=False, comment="its latest heartbeat"),
    sqlite_strict=True,
)
"""Processes that dispatch requests to the application."""

review_session: Final = Table(
    "review_session",
    metadata,
    Column("id_sha256", Text, primary_key=True),
    Column("moderator", Text, nullable=False),
    Column("created_us", Number, nullable=False),
    Column("last_us", Number, nullable=False),
    sqlite_strict=True,
)
"""Logins of moderators; the cookie itself is not stored."""

login_failure: Final = Table(
    "login_failure",
    metadata,
    Column("network", Text, nullable=False),
    Column("at_us", Number, nullable=False),
    sqlite_strict=True,
)
"""Failed logins, so that several processes refuse together."""

Index("ix_login_failure", login_failure.c.network, login_failure.c.at_us)

repeat: Final = Table(
    "repeat",
    metadata,
    Column("scope_sha256", Text, primary_key=True, comment="digest of contributor, route and key"),
    Column("route", Text, nullable=False),
    Column("fingerprint_sha256", Text, nullable=False, comment="digest of method, path, query and body"),
    Column("holder", Text, nullable=False, comment="who may bind it; another one after a takeover"),
    Column("lease_us", Number, nullable=False, comment="end of a claim that is not bound"),
    Column("created_us", Number, nullable=False),
    Column("expires_us", Number, nullable=False, comment="when it is forgotten"),
    Column("submission", Text, ForeignKey("submission.id"), comment="what it is bound to"),
    Column("status", Integer, comment="of the kept answer"),
    Column("headers", Text, comment="of the kept answer, as JSON"),
    Column("body", LargeBinary, comment="of the kept answer"),
    sqlite_strict=True,
)
"""One row for each request that may come again: its key, and the answer that the first delivery got."""

Index("ix_repeat_submission", repeat.c.submission, unique=True)
Index("ix_repeat_expires", repeat.c.expires_us)

vote: Final = Table(
    "vote",
    metadata,
    Column("key_sha256", Text, primary_key=True, comment="digest of audience, interaction and contributor"),
    Column("contribution", Text, ForeignKey("contribution.id"), nullable=False, comment="the live one"),
    Column("issued_us", Number, nullable=False, comment="when the receipt that it came with was signed"),
    Column("at_us", Number, nullable=False),
    sqlite_strict=True,
)
"""One row for each served output that a contributor spoke of with a receipt; never two."""

Index("ix_vote_issued", vote.c.issued_us)

served: Final = Table(
    "served",
    metadata,
    Column("key_sha256", Text, primary_key=True, comment="digest of audience, interaction and contributor"),
    Column("output_sha256", Text, nullable=False, comment="digest of the served text"),
    Column("expires_us", Number, nullable=False, comment="when it is forgotten"),
    sqlite_strict=True,
)
"""One row for each streamed answer whose receipt was signed before its end."""

Index("ix_served_expires", served.c.expires_us)

snapshot: Final = Table(
    "snapshot",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False),
    Column("created_us", Number, nullable=False),
    Column("as_of_us", Number, nullable=False),
    Column("head_seq", Number, nullable=False, comment="end of the ledger that it was cut at"),
    Column("contributions", Number, nullable=False),
    Column("weight_micro", Number, nullable=False),
    Column("manifest", Text, nullable=False, comment="canonical JSON"),
    Column("complete", Integer, nullable=False, comment="0 while its members are being written"),
    UniqueConstraint("id", name="uq_snapshot_id"),
    sqlite_strict=True,
)
"""One row for each snapshot that a training job may have read."""

snapshot_member: Final = Table(
    "snapshot_member",
    metadata,
    Column("snapshot", Number, ForeignKey("snapshot.number"), primary_key=True, autoincrement=False),
    Column(
        "seq",
        Number,
        ForeignKey("ledger.seq"),
        primary_key=True,
        autoincrement=False,
        comment="the ledger entry that accepted the contribution",
    ),
    Column("weight_micro", Number, nullable=False),
    sqlite_strict=True,
)
"""What each snapshot holds."""

Index("ix_snapshot_member_seq", snapshot_member.c.seq)

meta: Final = Table(
    "meta",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    sqlite_strict=True,
)
"""Small facts about this store."""

reputation: Final = Table(
    "reputation",
    metadata,
    Column("identity", Text, primary_key=True, comment="digest of the contributor, or `anonymous`"),
    Column("number", Number, nullable=False, comment="place in the order of first acceptance, from 0"),
    Column("endowment", Number, nullable=False, comment="pico-units, as all below"),
    Column("balance", Number, nullable=False, comment="endowment + gained - lost; never below 0"),
    Column("gained", Number, nullable=False),
    Column("lost", Number, nullable=False),
    Column("forfeited", Number, nullable=False),
    Column("n_measured", Number, nullable=False),
    UniqueConstraint("number", name="uq_reputation_number"),
    sqlite_strict=True,
)
"""One row for each identity that ever had something accepted while reputation was on; see `limits.bankroll`."""

Index("ix_reputation_balance", reputation.c.balance)

stake: Final = Table(
    "stake",
    metadata,
    Column("contribution", Text, ForeignKey("contribution.id"), primary_key=True),
    Column("identity", Text, nullable=False),
    Column("base_micro", Number, nullable=False, comment="weight without reputation; 0 where it was not accepted"),
    Column("influence", Number, nullable=False, comment="of the account when it was accepted, pico-units"),
    Column("mature_us", Number, nullable=False),
    Column("belief", Number, nullable=False, comment="chance that it is right, by the trusted set, pico-units"),
    Column("item", Text, comment="audit item that it speaks about"),
    Column("prior", Number, comment="first prediction of that item, pico-units"),
    Column("ratio_micro", Number, comment="likelihood ratio of what it says there"),
    Column("audited", Integer, nullable=False),
    Column("ruling", Text, comment="approved or denied, as a moderator decided last"),
    Column("credited", Number, nullable=False, comment="what that moved the balance by"),
    Column("counted", Text, comment="the campaign that it was ruled on with"),
    sqlite_strict=True,
)
"""One row for each contribution that was judged while reputation was on: what it puts at risk."""

Index(
    "ix_stake_due",
    stake.c.mature_us,
    sqlite_where=text("audited = 0 AND base_micro > 0"),
    postgresql_where=text("audited = 0 AND base_micro > 0"),
)
Index(
    "ix_stake_counted",
    stake.c.identity,
    stake.c.counted,
    sqlite_where=stake.c.counted.is_not(None),
    postgresql_where=stake.c.counted.is_not(None),
)

audited_item: Final = Table(
    "audited_item",
    metadata,
    Column("item", Text, primary_key=True),
    Column("belief", Number, nullable=False, comment="what is predicted of it now, pico-units"),
    sqlite_strict=True,
)
"""What contributions made of the prediction of each audit item that any of them spoke about."""
