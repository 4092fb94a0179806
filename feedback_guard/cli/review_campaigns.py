"""`feedback-guard review campaigns|campaign`, and `approve` or `deny --campaign`: many held contributions as one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from feedback_guard.guard import Guard
    from feedback_guard.store.campaign_decisions import CampaignDecision, Selection


def list_campaigns(guard: Guard, *, limit: int, page: int, newest: bool) -> Mapping[str, Any]:
    """A page of campaigns, as JSON."""
    from feedback_guard.review.campaign_views import campaign_document
    from feedback_guard.store import campaign_reads

    with guard.store.reading() as connection:
        found = campaign_reads.campaigns(connection, limit=limit, offset=limit * (page - 1), waiting=not newest)
        total, waiting, held = campaign_reads.count_campaigns(connection)
    return {
        "count": total,
        "waiting": waiting,
        "held": held,
        "items": [campaign_document(each) for each in found],
        "next": page + 1 if len(found) == limit else None,
    }


def cells(document: Mapping[str, Any]) -> tuple[str, ...]:
    """The cells of a campaign in a list."""
    from feedback_guard.review.display import terminal

    members, summary = document["members"], document["summary"]
    shares, teaches = summary.get("shares") or [], summary.get("teaches") or []
    shared = str(shares[0]["phrase"]) if shares else ""
    return (
        str(document["id"]),
        f"{members.get('held', 0)} held of {sum(members.values())}",
        f"{document['senders'].get('contributor', 0)} accounts",
        "open" if document["open"] else "over",
        terminal(str(teaches[0][0]), max_chars=60) if teaches else "",
        f"share {terminal(shared, max_chars=60)}" if shared else "",
    )


async def describe(guard: Guard, name: str, *, shown: str, limit: int) -> tuple[list[str], dict[str, Any]]:
    """A campaign line by line, with members, and as JSON."""
    from feedback_guard.review import words
    from feedback_guard.review.campaign_api import filters
    from feedback_guard.review.campaign_views import (
        accounts,
        campaign_document,
        decision_document,
        member_document,
        progress,
        view,
        which_words,
    )
    from feedback_guard.review.campaigns import find_campaign
    from feedback_guard.review.display import terminal
    from feedback_guard.store import campaign_reads

    found = await find_campaign(guard, name)

    def look() -> tuple[list[campaign_reads.Member], list[CampaignDecision]]:
        with guard.store.reading() as connection:
            return (
                campaign_reads.members(connection, name, limit=limit, **filters(shown)),
                campaign_reads.decisions_on_campaign(connection, name),
            )

    members, decisions = await asyncio.to_thread(look)
    seen = view(found)
    counts = ", ".join(f"{n} {state.value}" for state, n in found.counts.items())
    lines = [
        f"campaign  {found.id}, version {found.version}, {'open' if found.is_open else 'over'}",
        f"members   {counts}; {found.n_mature} for recall",
        f"from      {', '.join(accounts(found, shown=lambda name: terminal(name, identifier=True)))}",
        f"since     {words.moment(found.since_us)}, until {words.moment(found.until_us)}",
    ]
    summary: Any = found.summary
    lines += [f"teaches   {terminal(str(what), max_chars=200)} ({n})" for what, n in summary.get("teaches") or []]
    lines += [
        f"shares    {each.kind}{f' | {terminal(each.raw, max_chars=200)} |' if each.raw else ''} {each.facts}"
        for each in seen.shares
    ]
    lines += [f"because   {sentence}" for sentence in seen.why]
    lines += [
        f"decided   {made.id}: {which_words(made)}: {progress(made)} ({terminal(made.moderator, identifier=True)})"
        for made in decisions
    ]
    lines.append("")
    for member in members:
        contribution = member.stored.contribution
        target = f" -> {terminal(contribution.target, max_chars=60, identifier=True)}" if contribution.target else ""
        lines.append(
            f"{member.number}  {member.submission}  {member.stored.learning.value}"
            f"{', mature' if member.mature else ''}  {words.contrary(member.contrary_milli)}  "
            f"{terminal(contribution.contributor, max_chars=40, identifier=True)}"
        )
        lines.append(f"    | {terminal(contribution.input, max_chars=140)}{target}")
    document = {
        **campaign_document(found),
        "decisions": [decision_document(made) for made in decisions],
        "listed": [member_document(each) for each in members],
    }
    return lines, document


def selection_of(*, odds_from: float | None, odds_below: float | None, fitting: bool, undo: int | None) -> Selection:
    """What the options of a decision select.

    Raises
    ------
    UsageError
        If they contradict each other.
    """
    from feedback_guard.errors import UsageError
    from feedback_guard.review.campaigns import below_odds, from_odds
    from feedback_guard.store.campaign_decisions import Selection

    if fitting and odds_below is not None:
        raise UsageError("--fitting is --odds-below 1; give one of them")
    if undo is not None and (fitting or odds_from is not None or odds_below is not None):
        raise UsageError("--undo takes a whole decision back; give no odds")
    below = 1.0 if fitting else odds_below
    return Selection(
        least_milli=None if odds_from is None else from_odds(odds_from).least_milli,
        most_milli=None if below is None else below_odds(below).most_milli,
        undoes=undo,
    )


async def decide(
    guard: Guard,
    name: str,
    selection: Selection,
    *,
    approve: bool,
    moderator: str,
    note: str,
    version: int | None,
) -> CampaignDecision:
    """Make a decision on a campaign and carry it out to its end, with a count on stderr."""
    from feedback_guard.review.campaigns import carry_out, rule_campaign

    made = await rule_campaign(guard, name, selection, approve=approve, moderator=moderator, note=note, version=version)
    while made.running:
        made = await carry_out(guard, made, seconds=1.0)
        typer.echo(f"{made.n_moved} of {made.n_total}", err=True)
    return made
