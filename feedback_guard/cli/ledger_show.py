"""`feedback-guard ledger show`: the entries about somebody or something, for auditors and whoever is on call."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from feedback_guard.cli.stores import PolicyOption, UrlOption, store_url

if TYPE_CHECKING:
    from feedback_guard.ledger.listing import Listed


def show(
    subject: Annotated[
        str | None, typer.Argument(help="A contribution, an item of `review`, or a snapshot; all without it.")
    ] = None,
    policy: PolicyOption = None,
    url: UrlOption = None,
    contributor: Annotated[str | None, typer.Option(help="Only about contributions of this contributor.")] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Only of this kind, such as judged, held, approved; again for another.")
    ] = None,
    decision: Annotated[
        str | None, typer.Option(help="Only verdicts that say accept, quarantine, limit or reject.")
    ] = None,
    unscored: Annotated[bool, typer.Option("--unscored", help="Only verdicts of which a part failed.")] = False,
    mature: Annotated[
        bool, typer.Option("--mature", help="Only what a campaign took back when a model may have learnt it.")
    ] = False,
    since: Annotated[str | None, typer.Option(help="Not before this time, ISO 8601 with an offset.")] = None,
    until: Annotated[str | None, typer.Option(help="Before this time, ISO 8601 with an offset.")] = None,
    after: Annotated[int, typer.Option(min=0, help="Go on after this entry.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Most entries.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line, in ASCII.")] = False,
) -> None:
    """List entries, oldest first, with whose contribution each is about. It verifies nothing."""
    from feedback_guard.clock import parse_iso8601
    from feedback_guard.errors import UsageError
    from feedback_guard.ledger.listing import Wanted, entries
    from feedback_guard.ledger.verify import read_only
    from feedback_guard.review.printed import table
    from feedback_guard.verdict import Decision

    if decision is not None and decision not in list(Decision):
        raise UsageError(f"--decision takes one of {', '.join(Decision)}")

    def moment(text: str | None, option: str) -> int | None:
        try:
            return None if text is None else parse_iso8601(text)
        except ValueError as error:
            raise UsageError(f"{option}: {error}") from None

    wanted = Wanted(
        subject=subject,
        contributor=contributor,
        kinds=tuple(kind or ()),
        decision=decision,
        unscored=unscored,
        mature=mature,
        since_us=moment(since, "--since"),
        until_us=moment(until, "--until"),
        after=after,
    )
    with read_only(store_url(policy, url)) as opened, opened.reading() as connection:
        found = list(islice(entries(connection, wanted), limit))
    if as_json:
        for entry in found:
            typer.echo(json.dumps(_document(entry), ensure_ascii=True))
    else:
        for line in table([_cells(entry) for entry in found]) if found else ():
            typer.echo(line)
    more = f"; go on with --after {found[-1].seq}" if len(found) == limit else ""
    typer.echo(f"{len(found)} entries{more}", err=True)


def _document(entry: Listed) -> dict[str, object]:
    from feedback_guard.clock import format_iso8601

    return {
        "seq": entry.seq,
        "at": format_iso8601(entry.at_us),
        "kind": entry.kind,
        "subject": entry.subject,
        "contributor": entry.contributor,
        "learning": entry.learning,
        "body": entry.body,
        "hash": entry.hash,
    }


def _cells(entry: Listed) -> tuple[str, ...]:
    from feedback_guard.review import words
    from feedback_guard.review.display import terminal

    return (
        str(entry.seq),
        words.moment(entry.at_us),
        entry.kind,
        terminal(entry.subject, identifier=True),
        terminal(entry.contributor, max_chars=40, identifier=True) if entry.contributor is not None else "",
        terminal(_said(entry), max_chars=200),
    )


def _said(entry: Listed) -> str:
    """What an entry says, in a few words."""
    body = entry.body
    said = []
    if "decision" in body and "weight_micro" in body:
        said.append(
            f"{body['kind']} on {body['route'] or '(none)'}: {body['decision']}, weight "
            f"{body['weight_micro'] / 1e6:.2f}"
        )
    if "from" in body and "to" in body:
        said.append(f"{body['from']} to {body['to']}")
    said += [name for name in ("unscored", "observed", "mature") if body.get(name)]
    if body.get("campaign"):
        said.append(f"campaign {body['campaign']}")
    if body.get("moderator"):
        said.append(f"by {body['moderator']}")
    if body.get("note"):
        said.append(f"“{body['note']}”")
    return ", ".join(said)
