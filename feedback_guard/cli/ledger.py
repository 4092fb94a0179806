"""`feedback-guard ledger`: is the record what was written?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from feedback_guard.cli.ledger_show import show
from feedback_guard.cli.stores import PolicyOption, UrlOption, store_url

if TYPE_CHECKING:
    from feedback_guard.ledger.chain import Checkpoint
    from feedback_guard.ledger.report import Report

app = typer.Typer(no_args_is_help=True, help="Verify the record, look into it, or take a checkpoint of it.")

FINDINGS = 1
MAX_CHECKPOINT_BYTES = 64 * 1024

app.command("show")(show)


@app.command()
def verify(
    policy: PolicyOption = None,
    url: UrlOption = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="An earlier checkpoint of this ledger, kept elsewhere; shows a cut-off end.")
    ] = None,
    rows: Annotated[bool, typer.Option(help="Hold the stored contributions against the ledger too.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of sentences.")] = False,
) -> None:
    """Find edited, removed and reordered entries. Exit 0 clean, 1 findings, 2 could not judge."""
    from feedback_guard.ledger.verify import count_entries, read_only
    from feedback_guard.ledger.verify import verify as judge

    store = store_url(policy, url)
    expected = _read(checkpoint) if checkpoint is not None else None
    console = Console(stderr=True)
    with read_only(store) as opened, _progress(console) as progress:
        task = progress.add_task("entries", total=count_entries(opened))
        report = judge(opened, expected, rows=rows, on_progress=lambda count: progress.advance(task, count))
    if as_json:
        typer.echo(json.dumps(_as_json(report), sort_keys=True))
    else:
        _tell(report, expected)
    if not report.clean:
        raise typer.Exit(FINDINGS)


@app.command()
def checkpoint(
    policy: PolicyOption = None,
    url: UrlOption = None,
    out: Annotated[Path | None, typer.Option(help="Where to write it; by default it is printed.")] = None,
) -> None:
    """Note the end of the ledger. Keep it where whoever can write the database cannot."""
    from feedback_guard.clock import SystemClock
    from feedback_guard.errors import LedgerError
    from feedback_guard.ledger.chain import Checkpoint
    from feedback_guard.ledger.verify import verify

    report = verify(store_url(policy, url), rows=False)
    if not report.clean:
        raise LedgerError(f"the ledger is not sound, so it gets no checkpoint: {report.findings[0].message}")
    taken = Checkpoint(report.head.seq, report.head.hash, SystemClock().now_us())
    if out is None:
        typer.echo(taken.to_json())
    else:
        out.write_text(taken.to_json() + "\n", encoding="utf-8")
        typer.echo(f"{out}: entry {taken.seq}, {taken.hash}")


def _read(file: Path) -> Checkpoint:
    from feedback_guard.errors import LedgerError
    from feedback_guard.ledger.chain import Checkpoint

    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_CHECKPOINT_BYTES)
        return Checkpoint.from_json(data.decode("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise LedgerError(f"the checkpoint {file} cannot be read: {error}") from None


def _tell(report: Report, expected: Checkpoint | None) -> None:
    for finding in report.findings:
        where = f" [{finding.subject!r}]" if finding.subject is not None else ""
        typer.echo(f"{finding.fault.value}: {finding.message}{where}")
    if report.n_findings > len(report.findings):
        typer.echo(f"and {report.n_findings - len(report.findings)} more")
    typer.echo(
        f"{report.head.seq} entries, {report.contributions} contributions, {report.submissions} submissions, "
        f"{report.snapshots} snapshots, {report.n_findings} findings"
    )
    if expected is None:
        typer.echo("no checkpoint was given: an end that was cut off together with its rows would not show")


def _as_json(report: Report) -> dict[str, object]:
    return {
        "clean": report.clean,
        "head": {"seq": report.head.seq, "hash": report.head.hash},
        "contributions": report.contributions,
        "submissions": report.submissions,
        "snapshots": report.snapshots,
        "n_findings": report.n_findings,
        "findings": [
            {"fault": item.fault.value, "message": item.message, "seq": item.seq, "subject": item.subject}
            for item in report.findings
        ],
    }


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
