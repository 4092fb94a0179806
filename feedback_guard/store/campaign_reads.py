"""Questions about campaigns. Each looks at one state of the database and changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import JsonValue
from sqlalchemy import ColumnElement, Connection, func, select, tuple_

from feedback_guard.settings import MAX_REVIEW_PAGE
from feedback_guard.store import tables
from feedback_guard.store.campaign_decisions import CampaignDecision, stored_decision
from feedback_guard.store.campaign_tables import RUNNING, UNKNOWN, campaign, decision, member, sender
from feedback_guard.store.records import StoredContribution
from feedback_guard.store.rows import AnyRow, stored_contribution
from feedback_guard.store.states import Learning

MAX_DECISIONS: Final = 20
"""Most decisions on a campaign that are shown, the latest ones."""

_C: Final = tables.contribution.c
_S: Final = tables.submission.c
_M: Final = member.c


@dataclass(frozen=True, slots=True)
class StoredCampaign:
    """A campaign as it stands.

    Parameters
    ----------
    since_us, until_us
        When its first and its last member came.
    version
        Grows with every decision on it.
    ruled
        How all of it was decided, if it was.
    is_open
        Whether its evidence stands, as far as the store was told.
    told_seq
        The ledger entry up to which that is.
    summary
        What it teaches and why that is believed; empty before the evidence has said so.
    counts
        Members in each state.
    n_mature
        Members that may have been learnt before they were held.
    senders
        How many contributors and groups of each kind they came from.
    fence
        Number of its last member; 0 if it has none.
    """

    id: str
    since_us: int
    until_us: int
    version: int
    ruled: Learning | None
    is_open: bool
    told_seq: int
    summary: Mapping[str, JsonValue]
    counts: Mapping[Learning, int]
    n_mature: int
    senders: Mapping[str, int]
    fence: int

    @property
    def n_members(self) -> int:
        """How many contributions belong to it."""
        return sum(self.counts.values())

    @property
    def n_held(self) -> int:
        """How many of them wait for a decision."""
        return self.counts.get(Learning.HELD, 0)


@dataclass(frozen=True, slots=True)
class Member:
    """A contribution as a member of a campaign.

    Parameters
    ----------
    number
        Its place among all members of campaigns.
    submission
        The request that brought it.
    at_us
        When it came.
    mature
        Whether it may have been learnt before it was held.
    contrary_milli
        Log-odds that it contradicts its content, in thousandths; None while that is not known.
    """

    number: int
    submission: str
    at_us: int
    mature: bool
    contrary_milli: int | None
    stored: StoredContribution


def campaigns(connection: Connection, *, limit: int, offset: int = 0, waiting: bool = False) -> list[StoredCampaign]:
    """Campaigns, a page at a time.

    Parameters
    ----------
    limit
        Most campaigns, at most `settings.MAX_REVIEW_PAGE`.
    offset
        How many to leave out before them.
    waiting
        True for those with held members, the ones with most of them first; False for all, newest first.
    """
    limit = max(0, min(limit, MAX_REVIEW_PAGE))
    if waiting:
        held = _held().subquery()
        query = (
            select(campaign)
            .join(held, held.c.campaign == campaign.c.id)
            .order_by(held.c.n.desc(), campaign.c.until_us.desc(), campaign.c.id)
        )
    else:
        query = select(campaign).order_by(campaign.c.until_us.desc(), campaign.c.id.desc())
    return _whole(connection, connection.execute(query.limit(limit).offset(offset)).all())


def read_campaign(connection: Connection, name: str) -> StoredCampaign | None:
    """A campaign; None if there is none of that name."""
    found = _whole(connection, connection.execute(select(campaign).where(campaign.c.id == name)).all())
    return found[0] if found else None


def count_campaigns(connection: Connection) -> tuple[int, int, int]:
    """How many campaigns there are, how many of them have held members, and how many members those are."""
    total = connection.execute(select(func.count()).select_from(campaign)).scalar_one()
    held = _held().subquery()
    row = connection.execute(select(func.count(), func.coalesce(func.sum(held.c.n), 0)).select_from(held)).one()
    return int(total), int(row[0]), int(row[1])


def members(
    connection: Connection,
    name: str,
    *,
    limit: int,
    state: Learning | None = None,
    mature: bool = False,
    after: tuple[int, int] | None = None,
) -> list[Member]:
    """Members of a campaign, the ones first that the evidence indicts least.

    Parameters
    ----------
    limit
        Most members, at most `settings.MAX_REVIEW_PAGE`.
    state
        Only those in that state.
    mature
        Only those that may have been learnt.
    after
        `contrary_milli` (`UNKNOWN` for None) and number of the last member of the page before.
    """
    where: list[ColumnElement[bool]] = [_M.campaign == name]
    if state is not None:
        where.append(_C.learning == state.value)
    if mature:
        where.append(_M.mature == 1)
    if after is not None:
        where.append(tuple_(_M.contrary_milli, _M.number) > tuple_(*after))
    rows = connection.execute(
        select(tables.contribution, _M.number, _M.mature, _M.contrary_milli, _S.at_us)
        .join(member, _M.contribution == _C.id)
        .join(tables.submission, _S.id == _C.submission)
        .where(*where)
        .order_by(_M.contrary_milli, _M.number)
        .limit(max(0, min(limit, MAX_REVIEW_PAGE)))
    )
    return [_member(row) for row in rows]


def examples(connection: Connection, name: str, limit: int) -> list[Member]:
    """Held members that the evidence indicts most: what the campaign is."""
    rows = connection.execute(
        select(tables.contribution, _M.number, _M.mature, _M.contrary_milli, _S.at_us)
        .join(member, _M.contribution == _C.id)
        .join(tables.submission, _S.id == _C.submission)
        .where(_M.campaign == name, _C.learning == Learning.HELD.value, _M.contrary_milli < UNKNOWN)
        .order_by(_M.contrary_milli.desc(), _M.number)
        .limit(limit)
    )
    return [_member(row) for row in rows]


def count_new(connection: Connection, name: str, after: int) -> int:
    """Held members of a campaign that joined after a number."""
    query = (
        select(func.count())
        .select_from(member)
        .join(tables.contribution, _C.id == _M.contribution)
        .where(_M.campaign == name, _M.number > after, _C.learning == Learning.HELD.value)
    )
    return int(connection.execute(query).scalar_one())


def decisions_on_campaign(connection: Connection, name: str) -> list[CampaignDecision]:
    """The latest decisions on a campaign, newest first."""
    query = select(decision).where(decision.c.campaign == name).order_by(decision.c.id.desc()).limit(MAX_DECISIONS)
    return [stored_decision(row) for row in connection.execute(query)]


def running_decisions(connection: Connection, *, idle_since_us: int, limit: int) -> list[CampaignDecision]:
    """Decisions that are not carried out yet, and that nobody has gone on with since a time."""
    query = (
        select(decision)
        .where(decision.c.state == RUNNING, decision.c.moved_us <= idle_since_us)
        .order_by(decision.c.id)
        .limit(limit)
    )
    return [stored_decision(row) for row in connection.execute(query)]


def campaigns_of(connection: Connection, contributions: Iterable[str]) -> dict[str, str]:
    """The campaigns that contributions belong to, by contribution."""
    rows = connection.execute(select(_M.contribution, _M.campaign).where(_M.contribution.in_(list(contributions))))
    return {row.contribution: row.campaign for row in rows}


def _held() -> Any:
    """Held members by campaign. It goes by what waits, which is bounded, not by all that ever was a member."""
    return (
        select(_M.campaign, func.count().label("n"))
        .select_from(tables.submission)
        .join(tables.contribution, _C.submission == _S.id)
        .join(member, _M.contribution == _C.id)
        .where(_S.waiting == 1, _C.learning == Learning.HELD.value)
        .group_by(_M.campaign)
    )


def _whole(connection: Connection, rows: Iterable[AnyRow]) -> list[StoredCampaign]:
    found = list(rows)
    names = [row.id for row in found]
    counts: dict[str, dict[Learning, int]] = {name: {} for name in names}
    mature, fences = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    senders: dict[str, dict[str, int]] = {name: {} for name in names}
    if names:
        for row in connection.execute(
            select(_M.campaign, _C.learning, func.count(), func.sum(_M.mature), func.max(_M.number))
            .join(tables.contribution, _C.id == _M.contribution)
            .where(_M.campaign.in_(names))
            .group_by(_M.campaign, _C.learning)
        ):
            counts[row[0]][Learning(row[1])] = int(row[2])
            mature[row[0]] += int(row[3])
            fences[row[0]] = max(fences[row[0]], int(row[4]))
        for row in connection.execute(
            select(sender.c.campaign, sender.c.kind, func.count())
            .where(sender.c.campaign.in_(names))
            .group_by(sender.c.campaign, sender.c.kind)
            .order_by(sender.c.kind)
        ):
            senders[row[0]][row[1]] = int(row[2])
    return [
        StoredCampaign(
            id=row.id,
            since_us=row.since_us,
            until_us=row.until_us,
            version=row.version,
            ruled=None if row.ruled is None else Learning(row.ruled),
            is_open=bool(row.open),
            told_seq=row.told_seq,
            summary=json.loads(row.summary) if row.summary else {},
            counts=counts[row.id],
            n_mature=mature[row.id],
            senders=senders[row.id],
            fence=fences[row.id],
        )
        for row in found
    ]


def _member(row: AnyRow) -> Member:
    return Member(
        number=row.number,
        submission=row.submission,
        at_us=row.at_us,
        mature=bool(row.mature),
        contrary_milli=None if row.contrary_milli == UNKNOWN else row.contrary_milli,
        stored=stored_contribution(row),
    )
