"""`feedback-guard drift`: what the ledger says of the drift alarm, and that somebody has looked at it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feedback_guard.cli.review_jobs import moderator_named

if TYPE_CHECKING:
    from feedback_guard.store.drift_alarms import DriftEntry

app = typer.Typer(no_args_is_help=True, help="Show the drift alarm of the whole stream, or acknowledge it.")

Policy = Annotated[str, typer.Option("--policy", help="Policy file; its store is read.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def show(
    policy: Policy,
    most: Annotated[int, typer.Option(min=1, max=200, help="Most entries, newest first.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Say whether the drift alarm stands, what grew, and what became of earlier ones. Exit 1 if it stands."""
    from feedback_guard.cli.stores import existing
    from feedback_guard.evidence.drift import WHAT_TO_DO
    from feedback_guard.review.words import moment
    from feedback_guard.store import drift_alarms

    store = existing(policy).store
    try:
        with store.reading() as connection:
            entries = drift_alarms.latest(connection, most)
    finally:
        store.close()
    stands = bool(entries) and entries[0].stands
    if as_json:
        typer.echo(json.dumps({"alarm": stands, "entries": [_document(entry) for entry in entries]}))
    elif not entries:
        typer.echo("the stream has not left the trusted set")
    for entry in entries if not as_json else ():
        typer.echo(f"{moment(entry.at_us)}  entry {entry.seq}  {_sentence(entry)}")
    if stands:
        typer.echo(WHAT_TO_DO, err=True)
        raise typer.Exit(1)


@app.command()
def acknowledge(
    policy: Policy,
    note: Annotated[str, typer.Option(help="Why; it stands in the ledger.")] = "",
    moderator: Annotated[
        str | None, typer.Option(help="Who says so; by default the user of the system, as `cli:NAME`.")
    ] = None,
    entry: Annotated[int | None, typer.Option(help="The ledger entry of the alarm that you looked at.")] = None,
) -> None:
    """Say that you have looked at the alarm. Its evidence begins anew: if the stream stays away, it is raised again."""
    from feedback_guard.cli.stores import existing
    from feedback_guard.errors import TransitionError, UsageError

    who, store = moderator_named(moderator), existing(policy).store
    try:
        made = asyncio.run(
            store.run(lambda tx: tx.acknowledge_drift(moderator=who, note=note.strip(), seq=entry, now_us=tx.now_us()))
        )
    except TransitionError as error:
        raise UsageError(str(error)) from None
    finally:
        store.close()
    typer.echo(f"acknowledged by {who}, ledger entry {made.seq}")


def _sentence(entry: DriftEntry) -> str:
    from feedback_guard.review.display import terminal
    from feedback_guard.store.drift_alarms import ACKNOWLEDGED, RAISED

    alarm = entry.alarm
    if entry.kind == RAISED:
        grown = "; ".join(alarm.grown) or "nothing by itself"
        name = alarm.baseline.removeprefix("sha256:")[:12]
        return f"raised after {alarm.n_seen} contributions under baseline {name}: {grown}"
    if entry.kind == ACKNOWLEDGED:
        note = f" | {terminal(entry.note, max_chars=200)}" if entry.note else ""
        return f"acknowledged by {terminal(entry.moderator, identifier=True)}{note}"
    return "ended by a new baseline"


def _document(entry: DriftEntry) -> dict[str, Any]:
    return {
        "entry": entry.seq,
        "at_us": entry.at_us,
        "kind": entry.kind,
        "baseline": entry.alarm.baseline,
        "n_seen": entry.alarm.n_seen,
        "grown": list(entry.alarm.grown),
        "moderator": entry.moderator,
        "note": entry.note,
    }
