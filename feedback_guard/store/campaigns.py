"""Who belongs to a campaign, and what it teaches: written beside what is held, in the same transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Table, bindparam, case, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from feedback_guard.contribution import ANONYMOUS, Contribution
from feedback_guard.store import tables
from feedback_guard.store.campaign_tables import UNKNOWN, campaign, member, sender
from feedback_guard.store.rows import parse_payload, sha256_hex
from feedback_guard.store.states import Learning

_SETTLED: Final = (Learning.HELD.value, Learning.APPROVED.value, Learning.DENIED.value)
"""States of what may be named a member later: what is accepted is pulled back first, or it is none."""
_CHUNK: Final = 500
_JOINABLE: Final = (
    select(tables.contribution.c.id, tables.contribution.c.payload, tables.submission.c.at_us)
    .join(tables.submission, tables.submission.c.id == tables.contribution.c.submission)
    .outerjoin(member, member.c.contribution == tables.contribution.c.id)
    .where(
        tables.contribution.c.id.in_(bindparam("which", expanding=True)),
        tables.contribution.c.learning.in_(_SETTLED),
        member.c.contribution.is_(None),
    )
)
_KNOWN: Final = select(member.c.contribution, member.c.contrary_milli).where(
    member.c.contribution.in_(bindparam("which", expanding=True)), member.c.campaign == bindparam("of")
)
_CONTRARY: Final = (
    update(member)
    .where(member.c.contribution == bindparam("which"), member.c.campaign == bindparam("of"))
    .values(contrary_milli=bindparam("contrary"))
)
_TELL: Final = (
    update(campaign)
    .where(campaign.c.id == bindparam("which"), campaign.c.told_seq <= bindparam("seq"))
    .values(open=bindparam("is_open"), told_seq=bindparam("seq"), summary=bindparam("text"))
)


@dataclass(frozen=True, slots=True)
class NewMember:
    """A contribution that is found to belong to a campaign.

    Parameters
    ----------
    contribution, campaign
        Their identifiers.
    at_us
        When it came.
    senders
        Whom it came from: kind, and SHA-256 of the name.
    mature
        Whether it may have been learnt before it was held.
    contrary_milli
        Log-odds that it contradicts its content, in thousandths; `UNKNOWN` if the evidence has not said.
    """

    contribution: str
    campaign: str
    at_us: int
    senders: tuple[tuple[str, str], ...]
    mature: bool = False
    contrary_milli: int = UNKNOWN


@dataclass(frozen=True, slots=True)
class Told:
    """What the evidence says about a campaign.

    Parameters
    ----------
    campaign
        Its identifier.
    seq
        The ledger entry up to which the evidence has looked; an older telling never replaces a newer one.
    is_open
        Whether its evidence stands.
    summary
        What it teaches and why that is believed, as JSON text.
    contrary
        Its members that were not told before, with the log-odds that each contradicts its content, in thousandths.
    """

    campaign: str
    seq: int
    is_open: bool
    summary: str
    contrary: tuple[tuple[str, int], ...] = ()


def member_of(contribution: Contribution, name: str, at_us: int, *, mature: bool = False) -> NewMember:
    """Make a member of a contribution that was just judged, or held again."""
    return NewMember(contribution.id, name, at_us, _senders(contribution), mature)


def join(connection: Connection, members: Sequence[NewMember]) -> None:
    """Add members to their campaigns, which are made if they are new. Whoever belongs to one already stays there."""
    rows = []
    number = int(connection.execute(select(func.coalesce(func.max(member.c.number), 0))).scalar_one())
    for place, each in enumerate(members, number + 1):
        rows.append(
            {
                "contribution": each.contribution,
                "campaign": each.campaign,
                "number": place,
                "mature": int(each.mature),
                "contrary_milli": each.contrary_milli,
                "decision": None,
            }
        )
    named: dict[str, dict[str, Any]] = {}
    for each in members:
        row = named.setdefault(
            each.campaign,
            {
                "id": each.campaign,
                "since_us": each.at_us,
                "until_us": each.at_us,
                "version": 1,
                "ruled": None,
                "open": 1,
                "told_seq": 0,
                "summary": None,
            },
        )
        row["since_us"], row["until_us"] = min(row["since_us"], each.at_us), max(row["until_us"], each.at_us)
    new = _insert(connection, campaign)
    latest, earliest = new.excluded.until_us, new.excluded.since_us
    connection.execute(
        new.on_conflict_do_update(
            index_elements=["id"],
            set_={
                "until_us": case((latest > campaign.c.until_us, latest), else_=campaign.c.until_us),
                "since_us": case((earliest < campaign.c.since_us, earliest), else_=campaign.c.since_us),
            },
        ),
        [named[name] for name in sorted(named)],
    )
    added = _insert(connection, member)
    connection.execute(
        added.on_conflict_do_update(
            index_elements=["contribution"],
            set_={"mature": case((added.excluded.mature == 1, 1), else_=member.c.mature)},
        ),
        rows,
    )
    senders = {(each.campaign, kind, digest) for each in members for kind, digest in each.senders}
    if senders:
        names = ("campaign", "kind", "value_sha256")
        connection.execute(
            _insert(connection, sender).on_conflict_do_nothing(),
            [dict(zip(names, each, strict=True)) for each in sorted(senders)],
        )


def tell(connection: Connection, told: Sequence[Told]) -> None:
    """Write down what the evidence says now, and members that only it knows of.

    A member that was held for another reason before the campaign was found is named here for the first time.
    """
    for each in told:
        for start in range(0, len(each.contrary), _CHUNK):
            chunk = dict(each.contrary[start : start + _CHUNK])
            found = connection.execute(_JOINABLE, {"which": list(chunk)}).all()
            new = [
                NewMember(row.id, each.campaign, row.at_us, _senders(parse_payload(row.payload)), False, chunk[row.id])
                for row in found
            ]
            if new:
                join(connection, new)
            known = connection.execute(_KNOWN, {"which": list(chunk), "of": each.campaign}).all()
            # Every process tells the same: what was told already costs no write.
            changed = [
                {"which": row.contribution, "of": each.campaign, "contrary": chunk[row.contribution]}
                for row in known
                if row.contrary_milli != chunk[row.contribution]
            ]
            if changed:
                connection.execute(_CONTRARY, changed)
        values = {"which": each.campaign, "seq": each.seq, "is_open": int(each.is_open), "text": each.summary}
        connection.execute(_TELL, values)


def _senders(contribution: Contribution) -> tuple[tuple[str, str], ...]:
    named = [(f"group:{name}", value) for name, value in sorted(contribution.groups.items())]
    if contribution.contributor != ANONYMOUS:
        named.insert(0, ("contributor", contribution.contributor))
    return tuple((kind, sha256_hex(value)) for kind, value in named)


def _insert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)
