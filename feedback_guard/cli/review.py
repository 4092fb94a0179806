"""`feedback-guard review`: see what is held and decide on it, without a browser, or serve the pages for others.

It works on the store that the policy names, and loads no model. The application's workers find an approval there.
"""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from feedback_guard.guard import Guard
    from feedback_guard.store.records import StoredSubmission

app = typer.Typer(no_args_is_help=True, help="List, show, approve or deny what is held.")

T = TypeVar("T")

Policy = Annotated[str, typer.Option("--policy", help="Policy file, or the name of a preset; its store is used.")]
Ident = Annotated[str, typer.Argument(help="The item, as `list` prints it.")]
Note = Annotated[str, typer.Option(help="Stands in the ledger beside the decision.")]
Moderator = Annotated[str | None, typer.Option(help="Who decides; by default cli: and the name of the system's user.")]
Version = Annotated[
    int | None, typer.Option(help="Decide only if the item is still at this version, which `show` prints.")
]
OneIdent = Annotated[str | None, typer.Argument(metavar="ITEM", help="The item, as `list` prints it.")]
Campaign = Annotated[str | None, typer.Option(help="Instead of an item: the held members of this campaign.")]
Fitting = Annotated[bool, typer.Option("--fitting", help="Only members that fit their content.")]
OddsFrom = Annotated[
    float | None, typer.Option(min=0.001, max=1_000.0, help="Only members that contradict their content so far to 1.")
]
OddsBelow = Annotated[float | None, typer.Option(min=0.001, max=1_000.0, help="Only members below these odds to 1.")]
Undo = Annotated[int | None, typer.Option(min=1, help="Take back this decision, which `campaign` prints.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, in ASCII.")]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@+-]{0,127}")


@app.command("list")
def list_held(
    policy: Policy,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Most items.")] = 50,
    after: Annotated[str | None, typer.Option(help="Go on after this item.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print what waits for a decision, oldest first."""
    from feedback_guard.clock import SystemClock
    from feedback_guard.errors import UsageError
    from feedback_guard.review.documents import row_document
    from feedback_guard.review.printed import row, table

    async def look(guard: Guard) -> tuple[list[StoredSubmission], int]:
        if after is not None and await asyncio.to_thread(guard.store.submission, after) is None:
            raise UsageError(f"there is no item {after!r} to go on after")
        found = await asyncio.to_thread(guard.store.held, limit=limit, after=after)
        return found, (await asyncio.to_thread(guard.store.held_summary)).count

    found, count = _at(policy, look)
    if as_json:
        following = found[-1].id if len(found) == limit else None
        _print_json({"count": count, "items": [row_document(stored) for stored in found], "next": following})
        return
    now_us = SystemClock().now_us()
    for line in table([row(stored, now_us) for stored in found]):
        typer.echo(line)
    left = f"; go on with --after {found[-1].id}" if len(found) < count and len(found) == limit else ""
    typer.echo(f"{count} held{left}", err=True)


@app.command()
def show(ident: Ident, policy: Policy, as_json: AsJson = False) -> None:
    """Print one item whole: what it would teach, why it is held, and where it stands."""
    from feedback_guard.clock import SystemClock
    from feedback_guard.review.documents import item_document
    from feedback_guard.review.printed import describe
    from feedback_guard.review.rulings import find

    stored = _at(policy, lambda guard: find(guard, ident))
    if as_json:
        _print_json(item_document(stored))
        return
    for line in describe(stored, SystemClock().now_us()):
        typer.echo(line)


@app.command()
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
    from feedback_guard.cli.review_campaigns import cells, list_campaigns
    from feedback_guard.review.printed import table

    async def look(guard: Guard) -> Mapping[str, Any]:
        return await asyncio.to_thread(list_campaigns, guard, limit=limit, page=page, newest=newest)

    found = _at(policy, look)
    if as_json:
        _print_json(found)
        return
    for line in table([cells(each) for each in found["items"]]):
        typer.echo(line)
    left = f"; go on with --page {found['next']}" if found["next"] else ""
    typer.echo(f"{found['held']} held in {found['waiting']} of {found['count']} campaigns{left}", err=True)


@app.command()
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
    from feedback_guard.cli.review_campaigns import describe
    from feedback_guard.errors import UsageError
    from feedback_guard.review.campaign_api import SHOWN

    if shown not in SHOWN:
        raise UsageError(f"--show takes one of {', '.join(SHOWN)}")
    lines, document = _at(policy, lambda guard: describe(guard, name, shown=shown, limit=limit))
    if as_json:
        _print_json(document)
        return
    for line in lines:
        typer.echo(line)


@app.command()
def approve(
    policy: Policy,
    ident: OneIdent = None,
    campaign: Campaign = None,
    fitting: Fitting = False,
    odds_from: OddsFrom = None,
    odds_below: OddsBelow = None,
    undo: Undo = None,
    note: Note = "",
    moderator: Moderator = None,
    version: Version = None,
    as_json: AsJson = False,
) -> None:
    """Approve an item, or the held members of a campaign: the model may learn them.

    Kept requests are given to the application.
    """
    chosen = _Chosen(campaign, fitting, odds_from, odds_below, undo)
    _decide(ident, chosen, policy, note, moderator, version, as_json=as_json, yes=True)


@app.command()
def deny(
    policy: Policy,
    ident: OneIdent = None,
    campaign: Campaign = None,
    fitting: Fitting = False,
    odds_from: OddsFrom = None,
    odds_below: OddsBelow = None,
    undo: Undo = None,
    note: Note = "",
    moderator: Moderator = None,
    version: Version = None,
    as_json: AsJson = False,
) -> None:
    """Deny an item, or the held members of a campaign: the model does not learn them.

    Kept requests are never given to the application.
    """
    chosen = _Chosen(campaign, fitting, odds_from, odds_below, undo)
    _decide(ident, chosen, policy, note, moderator, version, as_json=as_json, yes=False)


@app.command()
def undelivered(
    policy: Policy,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Most items.")] = 50,
    after: Annotated[str | None, typer.Option(help="Go on after this item.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print the requests that did not plainly arrive at the application, oldest first, with their ways on."""
    from feedback_guard.clock import SystemClock
    from feedback_guard.errors import UsageError
    from feedback_guard.review.documents import item_document
    from feedback_guard.review.printed import table, undelivered_row

    async def look(guard: Guard) -> tuple[list[StoredSubmission], int]:
        if after is not None and await asyncio.to_thread(guard.store.submission, after) is None:
            raise UsageError(f"there is no item {after!r} to go on after")
        found = await asyncio.to_thread(guard.store.stuck, limit=limit, after=after)
        return found, await asyncio.to_thread(guard.store.count_stuck)

    found, count = _at(policy, look)
    if as_json:
        following = found[-1].id if len(found) == limit else None
        _print_json({"count": count, "items": [item_document(stored) for stored in found], "next": following})
        return
    now_us = SystemClock().now_us()
    for line in table([undelivered_row(stored, now_us) for stored in found]):
        typer.echo(line)
    left = f"; go on with --after {found[-1].id}" if len(found) < count and len(found) == limit else ""
    typer.echo(f"{count} undelivered{left}", err=True)


@app.command()
def retry(
    ident: Ident,
    policy: Policy,
    note: Note = "",
    moderator: Moderator = None,
    version: Version = None,
    as_json: AsJson = False,
) -> None:
    """Have a request sent again that failed, needed credentials, or was given up."""
    _go_on(ident, policy, note, moderator, version, "retry", as_json=as_json)


@app.command()
def arrived(
    ident: Ident,
    policy: Policy,
    note: Note = "",
    moderator: Moderator = None,
    version: Version = None,
    as_json: AsJson = False,
) -> None:
    """Say of an unknown request that it arrived: you looked in the application. Nothing is sent."""
    _go_on(ident, policy, note, moderator, version, "arrived", as_json=as_json)


@app.command("not-arrived")
def not_arrived(
    ident: Ident,
    policy: Policy,
    note: Note = "",
    moderator: Moderator = None,
    version: Version = None,
    as_json: AsJson = False,
) -> None:
    """Say of an unknown request that it did not arrive: you looked in the application. It is sent again."""
    _go_on(ident, policy, note, moderator, version, "not-arrived", as_json=as_json)


@app.command("give-up")
def give_up(
    ident: Ident,
    policy: Policy,
    note: Note = "",
    moderator: Moderator = None,
    version: Version = None,
    as_json: AsJson = False,
) -> None:
    """Give up a request that did not arrive. What the model may learn stays as it is."""
    _go_on(ident, policy, note, moderator, version, "give-up", as_json=as_json)


@app.command()
def token(
    name: Annotated[str, typer.Option(help="The moderator's name.")] = "moderator", as_json: AsJson = False
) -> None:
    """Make a token for a moderator, and the line for `review.moderators` in the policy."""
    from feedback_guard.errors import UsageError
    from feedback_guard.review.auth import new_token

    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", name):
        raise UsageError("a moderator's name has small letters, digits, - and _, at most 64 of them")
    secret, digest = new_token()
    if as_json:
        _print_json({"token": secret, "name": name, "token_sha256": digest})
        return
    typer.echo("For the moderator; it is stored nowhere:", err=True)
    typer.echo(secret)
    typer.echo("For the policy, under review.moderators:", err=True)
    typer.echo(f"- {{name: {name}, token_sha256: {digest}}}")


@app.command()
def serve(
    policy: Policy,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on.")] = 8788,
    trusted_proxy: Annotated[
        str | None,
        typer.Option(help="Addresses of your own proxies, with commas; their X-Forwarded-For and -Proto are believed."),
    ] = None,
) -> None:
    """Serve the moderators' pages, the JSON API and /metrics."""
    import uvicorn

    from feedback_guard.guard import Guard
    from feedback_guard.review.app import review_app

    guard = Guard.from_policy(policy)
    if not guard.policy.review.moderators:
        typer.echo("nobody can log in: review.moderators is empty; `review token` makes a line for it", err=True)
    try:
        guard.store  # noqa: B018 - opened here, so that an unsound store is told before anything listens
        uvicorn.run(
            review_app(guard),
            host=host,
            port=port,
            proxy_headers=trusted_proxy is not None,
            forwarded_allow_ips=trusted_proxy,
            server_header=False,
            access_log=False,
            ws="none",
        )
    finally:
        asyncio.run(guard.stop())


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The options that choose members of a campaign."""

    campaign: str | None
    fitting: bool
    odds_from: float | None
    odds_below: float | None
    undo: int | None


def _decide(
    ident: str | None,
    chosen: _Chosen,
    policy: str,
    note: str,
    moderator: str | None,
    version: int | None,
    *,
    as_json: bool,
    yes: bool,
) -> None:
    from feedback_guard.errors import UsageError
    from feedback_guard.review.documents import item_document
    from feedback_guard.review.printed import delivery
    from feedback_guard.review.rulings import rule

    if (ident is None) is (chosen.campaign is None):
        raise UsageError("name either one item, or a campaign with --campaign")
    who = _moderator(moderator)
    if ident is None:
        _decide_campaign(chosen, policy, note, who, version, as_json=as_json, yes=yes)
        return
    if chosen != _Chosen(None, False, None, None, None):
        raise UsageError("--fitting, --odds-from, --odds-below and --undo go with --campaign")
    stored = _at(
        policy, lambda guard: rule(guard, ident, approve=yes, moderator=who, note=note.strip(), version=version)
    )
    if as_json:
        _print_json(item_document(stored))
    else:
        typer.echo(f"{stored.id} {'approved' if yes else 'denied'} by {who}; the request: {delivery(stored)}")


def _decide_campaign(
    chosen: _Chosen, policy: str, note: str, who: str, version: int | None, *, as_json: bool, yes: bool
) -> None:
    from feedback_guard.cli.review_campaigns import decide, selection_of
    from feedback_guard.review.campaign_views import decision_document, progress

    name = chosen.campaign or ""
    selection = selection_of(
        odds_from=chosen.odds_from, odds_below=chosen.odds_below, fitting=chosen.fitting, undo=chosen.undo
    )
    made = _at(
        policy,
        lambda guard: decide(guard, name, selection, approve=yes, moderator=who, note=note.strip(), version=version),
    )
    if as_json:
        _print_json(decision_document(made))
    else:
        typer.echo(f"{name}, decision {made.id} by {who}: {progress(made)}")


def _go_on(
    ident: str, policy: str, note: str, moderator: str | None, version: int | None, way: str, *, as_json: bool
) -> None:
    from feedback_guard.review.documents import item_document
    from feedback_guard.review.ways import WAYS, go_on
    from feedback_guard.store.states import Resolution

    who, resolution = _moderator(moderator), Resolution(way)
    stored = _at(
        policy,
        lambda guard: go_on(guard, ident, resolution, moderator=who, note=note.strip(), version=version),
    )
    if as_json:
        _print_json(item_document(stored))
    else:
        typer.echo(f"{stored.id} by {who}: {WAYS[resolution].done}")


def _moderator(name: str | None) -> str:
    from feedback_guard.errors import UsageError
    from feedback_guard.names import CLI_PREFIX

    if name is None:
        try:
            name = CLI_PREFIX + getpass.getuser()
        except (KeyError, OSError):
            name = f"{CLI_PREFIX}uid-{os.getuid()}"
    if not _NAME.fullmatch(name):
        raise UsageError(
            "--moderator takes letters, digits and _ . : @ + -, at most 128, beginning with a letter or digit"
        )
    return name


def _at(policy: str, job: Callable[[Guard], Awaitable[T]]) -> T:
    """Do a job at the store of a policy, and turn a refusal into an error that the command line knows."""
    from feedback_guard.cli.stores import existing
    from feedback_guard.errors import StoreError, UsageError
    from feedback_guard.review.problems import Refused

    guard = existing(policy)

    async def work() -> T:
        try:
            return await job(guard)
        finally:
            await guard.stop()

    try:
        return asyncio.run(work())
    except Refused as refused:
        kind = UsageError if refused.status in (404, 422) else StoreError
        raise kind(refused.detail) from None


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, ensure_ascii=True, indent=1))
