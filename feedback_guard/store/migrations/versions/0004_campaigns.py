"""Campaigns: their members, what they teach, and decisions on them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_CHUNK = 500
_UNKNOWN = 1_000_000


def upgrade() -> None:
    """Make the tables, with the members that verdicts and the ledger name already."""
    campaign, member, sender = _tables()
    op.create_index("ix_campaign_until", "campaign", ["until_us", "id"])
    op.create_index("ix_campaign_member_number", "campaign_member", ["number"], unique=True)
    op.create_index("ix_campaign_member_campaign", "campaign_member", ["campaign", "number"])
    op.create_index("ix_campaign_member_contrary", "campaign_member", ["campaign", "contrary_milli", "number"])
    op.create_index("ix_campaign_decision_campaign", "campaign_decision", ["campaign", "id"])
    running = sa.text("state = 'running'")
    op.create_index(
        "ix_campaign_decision_running", "campaign_decision", ["id"], sqlite_where=running, postgresql_where=running
    )
    _fill(op.get_bind(), campaign, member, sender)


def _tables() -> tuple[sa.Table, sa.Table, sa.Table]:
    campaign = op.create_table(
        "campaign",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("since_us", _NUMBER, nullable=False, comment="when its first member came"),
        sa.Column("until_us", _NUMBER, nullable=False, comment="when its last member came"),
        sa.Column("version", sa.Integer(), nullable=False, comment="grows with every decision on it"),
        sa.Column("ruled", sa.Text(), comment="approved or denied, once all of it was; NULL before"),
        sa.Column("open", sa.Integer(), nullable=False, comment="1 while its evidence stands"),
        sa.Column("told_seq", _NUMBER, nullable=False, comment="the ledger entry up to which the summary has looked"),
        sa.Column(
            "summary", sa.Text(), comment="what it teaches and why that is believed, as JSON; NULL before that is known"
        ),
        sqlite_strict=True,
    )
    member = op.create_table(
        "campaign_member",
        sa.Column("contribution", sa.Text(), sa.ForeignKey("contribution.id"), primary_key=True),
        sa.Column("campaign", sa.Text(), nullable=False),
        sa.Column("number", _NUMBER, nullable=False, comment="counts all members in the order in which they joined"),
        sa.Column("mature", sa.Integer(), nullable=False, comment="1 if it may have been learnt before it was held"),
        sa.Column(
            "contrary_milli",
            _NUMBER,
            nullable=False,
            comment="log-odds that it contradicts its content, in thousandths",
        ),
        sa.Column("decision", _NUMBER, comment="the decision on the campaign that moved it"),
        sqlite_strict=True,
    )
    sender = op.create_table(
        "campaign_sender",
        sa.Column("campaign", sa.Text(), primary_key=True),
        sa.Column("kind", sa.Text(), primary_key=True, comment="contributor, or group: and its name"),
        sa.Column("value_sha256", sa.Text(), primary_key=True),
        sqlite_strict=True,
    )
    op.create_table(
        "campaign_decision",
        sa.Column("id", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("campaign", sa.Text(), nullable=False),
        sa.Column("approve", sa.Integer(), nullable=False),
        sa.Column("moderator", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("at_us", _NUMBER, nullable=False),
        sa.Column("fence", _NUMBER, nullable=False, comment="number of the last member that it is about"),
        sa.Column("selection", sa.Text(), nullable=False, comment="which members, as JSON"),
        sa.Column("state", sa.Text(), nullable=False, comment="running or done"),
        sa.Column("reached", _NUMBER, nullable=False, comment="number of the last member that was looked at"),
        sa.Column("moved_us", _NUMBER, nullable=False, comment="time of the last batch"),
        sa.Column("n_total", sa.Integer(), nullable=False, comment="members that it was about when it was made"),
        sa.Column("n_moved", sa.Integer(), nullable=False, comment="contributions that it approved or denied"),
        sa.Column(
            "n_own",
            sa.Integer(),
            nullable=False,
            comment="members left alone: they came from the moderator's own name",
        ),
        sa.Column(
            "n_mixed",
            sa.Integer(),
            nullable=False,
            comment="members left alone: their request holds something else too",
        ),
        sqlite_strict=True,
    )
    return campaign, member, sender


def _fill(connection: sa.Connection, campaign: sa.Table, member: sa.Table, sender: sa.Table) -> None:
    """Read the members out of what is there: held by their verdict, or held again by an entry of the ledger."""
    told = sa.text(
        "SELECT l.seq, l.kind, l.subject, l.body, c.payload, s.at_us FROM ledger l"
        " JOIN contribution c ON c.id = l.subject JOIN submission s ON s.id = c.submission"
        " WHERE l.seq > :after AND l.kind IN ('judged', 'held') AND l.body LIKE '%\"campaign\":\"%'"
        " ORDER BY l.seq LIMIT :most"
    )
    after, seen, number = 0, set[str](), 0
    campaigns: dict[str, dict[str, Any]] = {}
    senders = set[tuple[str, str, str]]()
    while rows := connection.execute(told, {"after": after, "most": _CHUNK}).all():
        after = rows[-1].seq
        members = []
        for row in rows:
            body, payload = json.loads(row.body), json.loads(row.payload)
            name = body.get("campaign")
            if not isinstance(name, str) or row.subject in seen:
                continue
            seen.add(row.subject)
            number += 1
            members.append(
                {
                    "contribution": row.subject,
                    "campaign": name,
                    "number": number,
                    "mature": int(bool(body.get("mature"))),
                    "contrary_milli": _UNKNOWN,
                    "decision": None,
                }
            )
            found = campaigns.setdefault(
                name,
                {
                    "id": name,
                    "since_us": row.at_us,
                    "until_us": row.at_us,
                    "version": 1,
                    "ruled": None,
                    "open": 1,
                    "told_seq": 0,
                    "summary": None,
                },
            )
            found["since_us"] = min(found["since_us"], row.at_us)
            found["until_us"] = max(found["until_us"], row.at_us)
            own = {"contributor": payload["contributor"]} if payload["contributor"] != "(anonymous)" else {}
            own |= {f"group:{kind}": value for kind, value in payload.get("groups", {}).items()}
            senders |= {(name, kind, hashlib.sha256(value.encode()).hexdigest()) for kind, value in own.items()}
        if members:
            connection.execute(member.insert(), members)
    if campaigns:
        connection.execute(campaign.insert(), list(campaigns.values()))
        names = ("campaign", "kind", "value_sha256")
        connection.execute(sender.insert(), [dict(zip(names, each, strict=True)) for each in sorted(senders)])


def downgrade() -> None:
    """Drop the tables; the ledger keeps what was decided."""
    for name in ("campaign_decision", "campaign_sender", "campaign_member", "campaign"):
        op.drop_table(name)
