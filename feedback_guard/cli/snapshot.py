"""`feedback-guard snapshot`: what a training job reads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, TaskID, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from feedback_guard.learning.partition import Partitions
    from feedback_guard.learning.snapshot_verify import SnapshotReport
    from feedback_guard.policy.schema import Policy
    from feedback_guard.store.database import Store

app = typer.Typer(no_args_is_help=True, help="Cut, verify, list and show snapshots: what a training job reads.")

FINDINGS = 1

PolicyOption = Annotated[str, typer.Option("--policy", help="Policy file; its store and its caps are used.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of sentences.")]


class Format(StrEnum):
    """What is written."""

    BOTH = "both"
    JSONL = "jsonl"


@app.command()
def create(
    policy: PolicyOption,
    out: Annotated[Path, typer.Option(help="The directory to write; it must not be there yet.")],
    as_of: Annotated[
        str | None,
        typer.Option(help="Time by which contributions must be mature, ISO 8601 with an offset; now by default."),
    ] = None,
    file_format: Annotated[
        Format, typer.Option("--format", help="Parquet and JSON lines, or JSON lines alone.")
    ] = Format.BOTH,
    as_json: AsJson = False,
) -> None:
    """Write what is accepted, mature, delivered and not taken back, with weights under which all caps hold.

    Ends with 1 if the snapshot is empty.
    """
    from feedback_guard.clock import parse_iso8601
    from feedback_guard.errors import UsageError
    from feedback_guard.learning.cut import create as cut_snapshot
    from feedback_guard.learning.rows import arrow
    from feedback_guard.learning.writing import Cut
    from feedback_guard.policy.loader import load_policy

    if file_format is Format.BOTH:
        arrow()  # before anything is done
    loaded = load_policy(policy)
    partitions = _partitions(loaded.policy)
    baseline = _baseline(loaded.policy)
    with _existing(policy) as store, _progress() as progress:
        now_us = store.submit(lambda tx: tx.now_us()).result()
        try:
            as_of_us = now_us if as_of is None else parse_iso8601(as_of)
        except ValueError as error:
            raise UsageError(f"--as-of: {error}") from None
        tasks: dict[str, TaskID] = {}

        def tell(doing: str, count: int) -> None:
            if doing not in tasks:
                tasks[doing] = progress.add_task(doing, total=None)
            progress.advance(tasks[doing], count)

        made = Cut(loaded.policy, loaded.digest, baseline, as_of_us, file_format is Format.BOTH, partitions)
        manifest = cut_snapshot(store, made, out, now_us=now_us, on_progress=tell)
    if as_json:
        typer.echo(json.dumps(manifest, sort_keys=True))
    else:
        typer.echo(f"{out}: snapshot {manifest['id']}")
        _tell(manifest)
    if manifest["empty"] is not None:
        raise typer.Exit(FINDINGS)


@app.command()
def verify(
    directory: Annotated[Path, typer.Argument(help="Directory that `snapshot create` wrote.")],
    policy: Annotated[
        str | None,
        typer.Option("--policy", help="Hold it against the record in this policy's store, and against its caps, too."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compute everything anew from the files: digests, sums, caps. Exit 0 clean, 1 findings, 2 could not judge."""
    from feedback_guard.learning.snapshot_verify import verify_snapshot
    from feedback_guard.policy.loader import load_policy

    loaded = load_policy(policy).policy if policy is not None else None
    with _progress() as progress:
        task = progress.add_task("rows", total=None)
        report = verify_snapshot(
            directory,
            partitions=None if loaded is None else _partitions(loaded),
            on_progress=lambda count: progress.advance(task, count),
        )
    if policy is not None:
        from feedback_guard.learning.snapshot_record import verify_record

        with _existing(policy) as store:
            verify_record(store, load_policy(policy), report)
    _tell_report(report, as_json, recorded=policy is not None)
    if report.n_findings:
        raise typer.Exit(FINDINGS)


@app.command("list")
def list_snapshots(
    policy: PolicyOption,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the snapshots that were cut, newest first."""
    from feedback_guard.clock import format_iso8601
    from feedback_guard.store.snapshots import listed

    with _existing(policy) as store, store.reading() as connection:
        found = listed(connection, limit)
    if as_json:
        shown = [{"created_us": item.created_us, **json.loads(item.manifest)} for item in found]
        typer.echo(json.dumps(shown, sort_keys=True))
        return
    for item in found:
        typer.echo(
            f"{item.id}  {format_iso8601(item.created_us)}  {item.contributions} contributions, "
            f"weight {item.weight_micro / 1e6:.1f}"
        )
    if not found:
        typer.echo("no snapshot was cut from this store yet")


@app.command()
def show(
    what: Annotated[str, typer.Argument(help="Name of a snapshot; with an option below, of something else.")],
    policy: PolicyOption,
    holding: Annotated[
        bool, typer.Option(help="Say which snapshots hold this contribution, or those of this item of `review`.")
    ] = False,
    contributor: Annotated[
        bool, typer.Option("--contributor", help="Say which snapshots hold contributions of this contributor.")
    ] = False,
    members: Annotated[
        bool, typer.Option(help="List what the snapshot holds: contribution and weight, a line each.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a snapshot was cut by, what it holds, or which snapshots hold something."""
    from feedback_guard.errors import UsageError
    from feedback_guard.store import snapshots

    with _existing(policy) as store, store.reading() as connection:
        if contributor:
            theirs = snapshots.holding_of(connection, what)
            if as_json:
                typer.echo(json.dumps([asdict(each) for each in theirs]))
            else:
                for one in theirs:
                    typer.echo(
                        f"{one.snapshot}  {one.contributions} contributions, weight {one.weight_micro / 1e6:.6f}"
                    )
                if not theirs:
                    typer.echo("no snapshot holds anything of this contributor")
            return
        if holding:
            idents = snapshots.named(connection, what)
            if not idents:
                raise UsageError(
                    f"there is no contribution or item {what!r}; `feedback-guard ledger show --contributor NAME` lists "
                    "somebody's contributions"
                )
            held = [each for ident in idents for each in snapshots.holding(connection, ident)]
            if as_json:
                typer.echo(json.dumps([{"snapshot": h.snapshot, "weight_micro": h.weight_micro} for h in held]))
            else:
                for each in held:
                    typer.echo(f"{each.snapshot}  weight {each.weight_micro / 1e6:.6f}")
                if not held:
                    typer.echo("no snapshot holds it")
            return
        found = snapshots.find(connection, what)
        if found is None:
            raise UsageError(f"there is no snapshot {what!r}; `feedback-guard snapshot list` names them")
        if members:
            for ident, _seq, weight in snapshots.members(connection, what):
                typer.echo(json.dumps({"id": ident, "weight_micro": weight}, ensure_ascii=True))
            return
    if as_json:
        typer.echo(found.manifest)
    else:
        typer.echo(f"snapshot {found.id}")
        _tell(json.loads(found.manifest))


def _tell(manifest: Mapping[str, Any]) -> None:
    whole = manifest["weight_micro"]
    typer.echo(
        f"{manifest['contributions']} contributions, weight {whole / 1e6:.1f} of {manifest['judged_micro'] / 1e6:.1f}; "
        f"{manifest['contributors']} contributors took part; mature by {manifest['as_of']}; "
        f"ledger entry {manifest['ledger']['seq']}"
    )
    for cap in manifest["caps"]:
        bounds = [f"share {cap['max_share']}"] if cap["max_share"] is not None else []
        bounds += [f"weight {cap['max_weight_micro'] / 1e6:g}"] if cap["max_weight_micro"] is not None else []
        bounds += [f"{cap['max_count']} contributions"] if cap["max_count"] is not None else []
        largest = f"{cap['largest_micro'] / whole:.4%}" if whole else "nothing"
        typer.echo(
            f"cap {cap['facet']} ({', '.join(bounds)}): {cap['reduced']} of {cap['took_part']} reduced, "
            f"the largest has {largest}"
        )
    for reason, count in manifest["left_out"].items():
        typer.echo(f"left out, {reason.replace('_', ' ')}: {count}")
    if manifest["certificate"] is not None:
        typer.echo(f"{manifest['certificate']['partitions']} partitions by the key {manifest['certificate']['key_id']}")
    if manifest["empty"] is not None:
        typer.echo(f"empty: {manifest['empty']}")


def _tell_report(report: SnapshotReport, as_json: bool, *, recorded: bool) -> None:
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "id": report.manifest["id"],
                    "clean": not report.n_findings,
                    "rows": report.rows,
                    "n_findings": report.n_findings,
                    "findings": report.findings,
                },
                sort_keys=True,
            )
        )
        return
    for finding in report.findings:
        typer.echo(finding)
    if report.n_findings > len(report.findings):
        typer.echo(f"and {report.n_findings - len(report.findings)} more")
    compared = ", Parquet alike" if report.parquet else ""
    typer.echo(f"snapshot {report.manifest['id']}: {report.rows} rows{compared}, {report.n_findings} findings")
    if not recorded:
        typer.echo("no policy was given: whether this is the snapshot that the ledger speaks of was not looked at")


def _partitions(policy: Policy) -> Partitions | None:
    from feedback_guard.learning.partition import Partitions

    return None if policy.snapshot.certificate is None else Partitions.read(policy.snapshot.certificate)


def _baseline(policy: Policy) -> str | None:
    from feedback_guard.evidence.baseline import load

    if policy.baseline.path is None:
        return None
    return load(Path(policy.baseline.path), fingerprint=None, digest=policy.baseline.digest).digest


@contextmanager
def _existing(policy: str) -> Iterator[Store]:
    from feedback_guard.cli.stores import existing

    guard = existing(policy)
    try:
        yield guard.store
    finally:
        asyncio.run(guard.stop())


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        TextColumn("{task.completed:.0f}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
