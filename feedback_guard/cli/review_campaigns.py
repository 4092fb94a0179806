"""`feedback-guard review campaigns|campaign`: what many contributions teach together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feedback_guard.cli.review_jobs import at_store, print_json
from feedback_guard.cli.review_options import AsJson, Policy

if TYPE_CHECKING:
    from feedback_guard.guard import Guard
    from feedback_guard.store.campaign_decisions import CampaignDecision


def campaigns(
    policy: Policy,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Most campaigns.")] = 50,
    page: Annotated[int, typer.Option(min=1, max=10_000, help="Which page of so many.")] = 1,
    newest: Annotated[
        bool, typer.Option(help="All campaigns, the newest first, instead of those that wait, the largest first.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print the campaigns: what many contributions teach together, to be decided on as one."""
    from feedback_guard.review.printed import table

    async def look(guard: Guard) -> Mapping[str, Any]:
        return await asyncio.to_thread(list_campaigns, guard, limit=limit, page=page, newest=newest)

    found = at_store(policy, look)
    if as_json:
        print_json(found)
        return
    for line in table([cells(each) for each in found["items"]]):
        typer.echo(line)
    left = f"; go on with --page {found['next']}" if found["next"] else ""
    typer.echo(f"{found['held']} held in {found['waiting']} of {found['count']} campaigns{left}", err=True)


def campaign(
    name: Annotated[str, typer.Argument(help="The campaign, as `campaigns` prints it.")],
    policy: Policy,
    shown: Annotated[
        str, typer.Option("--show", help="Which members: all, held, approved, denied, rejected, accepted or mature.")
    ] = "held",
    limit: Annotated[int, typer.Option(min=0, max=200, help="Most members.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Print one campaign: what it teaches, why that is believed, and members, the least indicted ones first."""
    from feedback_guard.errors import UsageError
    from feedback_guard.review.campaign_api import SHOWN

    if shown not in SHOWN:
        raise UsageError(f"--show takes one of {', '.join(SHOWN)}")
    lines, document = at_store(policy, lambda guard: describe(guard, name, shown=shown, limit=limit))
    if as_json:
        print_json(document)
        return
    for line in lines:
        typer.echo(line)


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
