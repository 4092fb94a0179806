"""The tables of campaigns: which contributions belong to one, what it teaches, and what moderators decided on it whole.

Which contributions belong is written in the transaction that holds them, so a list of members is never behind what is
held. What a campaign teaches is known to the evidence alone, and comes a moment later.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, ForeignKey, Index, Integer, Table, Text

from feedback_guard.store.tables import Number, metadata

UNKNOWN: Final = 1_000_000
"""In place of how much a member contradicts its content, while that is not known: beyond all that can be."""
RUNNING: Final = "running"
DONE: Final = "done"

campaign: Final = Table(
    "campaign",
    metadata,
    Column("id", Text, primary_key=True),
    Column("since_us", Number, nullable=False, comment="when its first member came"),
    Column("until_us", Number, nullable=False, comment="when its last member came"),
    Column("version", Integer, nullable=False, comment="grows with every decision on it"),
    Column("ruled", Text, comment="approved or denied, once all of it was; NULL before"),
    Column("open", Integer, nullable=False, comment="1 while its evidence stands"),
    Column("told_seq", Number, nullable=False, comment="the ledger entry up to which the summary has looked"),
    Column("summary", Text, comment="what it teaches and why that is believed, as JSON; NULL before that is known"),
    sqlite_strict=True,
)
"""One row for each campaign."""

Index("ix_campaign_until", campaign.c.until_us, campaign.c.id)

member: Final = Table(
    "campaign_member",
    metadata,
    Column("contribution", Text, ForeignKey("contribution.id"), primary_key=True),
    Column("campaign", Text, nullable=False),
    Column("number", Number, nullable=False, comment="counts all members in the order in which they joined"),
    Column("mature", Integer, nullable=False, comment="1 if it may have been learnt before it was held"),
    Column(
        "contrary_milli", Number, nullable=False, comment="log-odds that it contradicts its content, in thousandths"
    ),
    Column("decision", Number, comment="the decision on the campaign that moved it"),
    sqlite_strict=True,
)
"""One row for each contribution that belongs to a campaign; it belongs to one at most."""

Index("ix_campaign_member_number", member.c.number, unique=True)
Index("ix_campaign_member_campaign", member.c.campaign, member.c.number)
Index("ix_campaign_member_contrary", member.c.campaign, member.c.contrary_milli, member.c.number)

sender: Final = Table(
    "campaign_sender",
    metadata,
    Column("campaign", Text, primary_key=True),
    Column("kind", Text, primary_key=True, comment="contributor, or group: and its name"),
    Column("value_sha256", Text, primary_key=True),
    sqlite_strict=True,
)
"""One row for each contributor and group that a campaign's members came from."""

decision: Final = Table(
    "campaign_decision",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=False),
    Column("campaign", Text, nullable=False),
    Column("approve", Integer, nullable=False),
    Column("moderator", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("at_us", Number, nullable=False),
    Column("fence", Number, nullable=False, comment="number of the last member that it is about"),
    Column("selection", Text, nullable=False, comment="which members, as JSON"),
    Column("state", Text, nullable=False, comment="running or done"),
    Column("reached", Number, nullable=False, comment="number of the last member that was looked at"),
    Column("moved_us", Number, nullable=False, comment="time of the last batch"),
    Column("n_total", Integer, nullable=False, comment="members that it was about when it was made"),
    Column("n_moved", Integer, nullable=False, comment="contributions that it approved or denied"),
    Column("n_own", Integer, nullable=False, comment="members left alone: they came from the moderator's own name"),
    Column("n_mixed", Integer, nullable=False, comment="members left alone: their request holds something else too"),
    sqlite_strict=True,
)
"""One row for each decision on members of a campaign, with how far it got."""

Index("ix_campaign_decision_campaign", decision.c.campaign, decision.c.id)
Index(
    "ix_campaign_decision_running",
    decision.c.id,
    sqlite_where=decision.c.state == RUNNING,
    postgresql_where=decision.c.state == RUNNING,
)
