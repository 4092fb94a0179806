"""`feedback-guard review list|show|undelivered`: see what waits for a moderator."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from feedback_guard.cli.review_jobs import at_store, print_json
from feedback_guard.cli.review_options import After, AsJson, Ident, Most, Policy

if TYPE_CHECKING:
    from feedback_guard.guard import Guard
    from feedback_guard.store.records import StoredSubmission


def list_held(policy: Policy, limit: Most = 50, after: After = None, as_json: AsJson = False) -> None:
    """Print what waits for a decision, oldest first."""
    from feedback_guard.review.documents import row_document
    from feedback_guard.review.printed import row

    found, count = _page(
        policy,
        after,
        lambda guard: guard.store.held(limit=limit, after=after),
        lambda guard: guard.store.held_summary().count,
    )
    _print_page(found, count, "held", limit, row_document if as_json else None, row)


def undelivered(policy: Policy, limit: Most = 50, after: After = None, as_json: AsJson = False) -> None:
    """Print the requests that did not plainly arrive at the application, oldest first, with their ways on."""
    from feedback_guard.review.documents import item_document
    from feedback_guard.review.printed import undelivered_row

    found, count = _page(
        policy,
        after,
        lambda guard: guard.store.stuck(limit=limit, after=after),
        lambda guard: guard.store.count_stuck(),
    )
    _print_page(found, count, "undelivered", limit, item_document if as_json else None, undelivered_row)


def show(ident: Ident, policy: Policy, as_json: AsJson = False) -> None:
    """Print one item whole: what it would teach, why it is held, and where it stands."""
    from feedback_guard.clock import SystemClock
    from feedback_guard.review.documents import item_document
    from feedback_guard.review.printed import describe
    from feedback_guard.review.rulings import find

    async def look(guard: Guard) -> tuple[StoredSubmission, dict[str, str]]:
        stored = await find(guard, ident)
        names = [item.contribution.id for item in stored.contributions]
        return stored, await asyncio.to_thread(_campaigns, guard, names)

    stored, campaigns = at_store(policy, look)
    if as_json:
        print_json(item_document(stored))
        return
    for line in describe(stored, SystemClock().now_us(), campaigns):
        typer.echo(line)


def _campaigns(guard: Guard, contributions: Sequence[str]) -> dict[str, str]:
    from feedback_guard.store.campaign_reads import campaigns_of

    with guard.store.reading() as connection:
        return campaigns_of(connection, contributions)


def _page(
    policy: str,
    after: str | None,
    find: Callable[[Guard], list[StoredSubmission]],
    count: Callable[[Guard], int],
) -> tuple[list[StoredSubmission], int]:
    from feedback_guard.errors import UsageError

    async def look(guard: Guard) -> tuple[list[StoredSubmission], int]:
        if after is not None and await asyncio.to_thread(guard.store.submission, after) is None:
            raise UsageError(f"there is no item {after!r} to go on after")
        return await asyncio.to_thread(find, guard), await asyncio.to_thread(count, guard)

    return at_store(policy, look)


def _print_page(
    found: Sequence[StoredSubmission],
    count: int,
    what: str,
    limit: int,
    document: Callable[[StoredSubmission], Mapping[str, Any]] | None,
    cells: Callable[[StoredSubmission, int], tuple[str, ...]],
) -> None:
    from feedback_guard.clock import SystemClock
    from feedback_guard.review.printed import table

    following = found[-1].id if len(found) == limit else None
    if document is not None:
        print_json({"count": count, "items": [document(stored) for stored in found], "next": following})
        return
    now_us = SystemClock().now_us()
    for line in table([cells(stored, now_us) for stored in found]):
        typer.echo(line)
    left = f"; go on with --after {following}" if following is not None and len(found) < count else ""
    typer.echo(f"{count} {what}{left}", err=True)
