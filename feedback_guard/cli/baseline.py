"""`feedback-guard baseline`: make, show or propose what is normal."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from feedback_guard.contribution import Contribution
    from feedback_guard.evidence.baseline import Baseline
    from feedback_guard.evidence.propose import Candidate
    from feedback_guard.policy.schema import Policy
    from feedback_guard.store.database import Store

app = typer.Typer(no_args_is_help=True, help="Make, or show, what is normal: the baseline of a trusted set.")

PolicyOption = Annotated[str, typer.Option("--policy", help="Policy file, or the name of a preset.")]
PAGE = 500
SHOWN_LABELS = 20


@app.command()
def build(
    trusted: Annotated[
        list[Path], typer.Argument(help="Vetted contributions, JSONL, plain or .gz; several files are read as one.")
    ],
    out: Annotated[Path, typer.Option(help="Directory to write; it must not exist.")],
    policy: PolicyOption,
    force: Annotated[bool, typer.Option("--force", help="Replace a baseline that is there.")] = False,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn at random.")] = 0,
) -> None:
    """Compute a baseline from vetted contributions and freeze it. Prints its digest, for `baseline.digest`."""
    from feedback_guard import settings
    from feedback_guard.clock import SystemClock
    from feedback_guard.engine import observe_all, start_batcher
    from feedback_guard.errors import UsageError
    from feedback_guard.evidence.baseline import build_baseline, save
    from feedback_guard.jsonl import read_contributions
    from feedback_guard.policy.loader import load_policy

    if out.exists() and not force:
        raise UsageError(f"{out} exists; name another directory, or give --force to replace the baseline there")
    loaded = load_policy(policy).policy
    vetted: list[Contribution] = []
    for path in trusted:
        vetted += read_contributions(path, max_lines=settings.MAX_TRUSTED)
    with _progress() as progress:
        loading = progress.add_task("loading the model", total=None)
        batcher = start_batcher(loaded.embedding)
        try:
            fingerprint = batcher.embedder.fingerprint
            progress.remove_task(loading)
            task = progress.add_task("trusted set", total=len(vetted))
            observations = observe_all(batcher, vetted, lambda done: progress.update(task, completed=done))
        finally:
            batcher.close()
        fitting = progress.add_task("fitting", total=None)
        baseline = build_baseline(
            observations,
            fingerprint=fingerprint,
            created_at_us=SystemClock().now_us(),
            seed=seed,
            on_progress=lambda part: progress.update(fitting, description=f"fitting {part}"),
        )
        save(baseline, out, replace=force)
    _tell(baseline, loaded)


@app.command()
def show(
    directory: Annotated[Path, typer.Argument(help="Directory that `baseline build` wrote.")],
    policy: Annotated[
        str | None, typer.Option("--policy", help="Say what this baseline cannot support under a policy.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of sentences.")] = False,
) -> None:
    """Check that a baseline is whole and unaltered, and say what it was made from."""
    from feedback_guard.evidence.baseline import load
    from feedback_guard.policy.loader import load_policy

    baseline = load(directory, fingerprint=None, digest=None)
    if as_json:
        typer.echo(json.dumps(_as_json(baseline), sort_keys=True))
    else:
        _tell(baseline, load_policy(policy).policy if policy is not None else None)


@app.command()
def propose(
    policy: PolicyOption,
    out: Annotated[Path, typer.Option(help="Where the proposal goes: JSONL, to be vetted line by line.")],
    size: Annotated[int, typer.Option(min=1, help="How many contributions at most.")] = 2_000,
    per_contributor: Annotated[int, typer.Option(min=1, help="Most of one contributor.")] = 3,
    changed: Annotated[
        bool,
        typer.Option(
            "--changed",
            help="Only what the trusted set hardly has, held or accepted, since its baseline is in use: after a drift "
            "alarm.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn at random.")] = 0,
) -> None:
    """Choose contributions from the store for a human to vet. Nothing is trusted until somebody has read it."""
    from feedback_guard.clock import SystemClock
    from feedback_guard.errors import UsageError
    from feedback_guard.evidence.propose import gather
    from feedback_guard.evidence.propose import propose as choose
    from feedback_guard.learning.changed import changed_since
    from feedback_guard.policy.loader import load_policy
    from feedback_guard.store.database import Store

    if out.exists():
        raise UsageError(f"{out} exists; a proposal is never written over another file")
    loaded = load_policy(policy).policy
    if changed and loaded.baseline.path is None:
        raise UsageError("--changed compares with the baseline in use, and the policy names none")
    with _progress() as progress, Store.open(loaded.store, clock=SystemClock()) as store:
        task = progress.add_task("contributions", total=None)
        observed = changed_since(loaded.baseline, store) if changed else _observed(store, progress, task)
        pool = gather(observed, seed=seed)
    if changed and not pool:
        raise UsageError("nothing that came since the baseline is in use is new to its trusted set")
    if not pool:
        raise UsageError("the store holds no contribution yet; let the guard observe for a while first")
    chosen = choose(pool, size=size, per_contributor=per_contributor, seed=seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(item.to_json(), ensure_ascii=False) + "\n" for item in chosen)
        Path(name).replace(out)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    authors = len({item.contributor for item in chosen})
    typer.echo(f"{len(chosen)} contributions of {authors} contributors proposed in {out}")
    if changed:
        typer.echo(
            "Read every line, remove what is wrong, then run `feedback-guard baseline build` on the trusted set that "
            "you have and on what is left, and pin the new digest."
        )
        return
    typer.echo("Read every line, remove what is wrong, then run `feedback-guard baseline build` on what is left.")


def _observed(store: Store, progress: Progress, task: TaskID) -> Iterator[Candidate]:
    """Every contribution that was judged and may be learnt, in the order of the ledger."""
    from feedback_guard.embedding.pack import unpack
    from feedback_guard.evidence.propose import Candidate
    from feedback_guard.store.states import Learning

    seq = 0
    while events := store.events_after(seq, PAGE):
        for event in events:
            stored = event.stored if event.kind == "judged" else None
            if stored is not None and stored.learning in (Learning.ACCEPTED, Learning.APPROVED):
                yield Candidate.of(stored.contribution, unpack(stored.vectors))
        seq = events[-1].seq
        progress.advance(task, len(events))


def _tell(baseline: Baseline, policy: Policy | None) -> None:
    """Say what a baseline is made from, and what it cannot support."""
    from feedback_guard.clock import format_iso8601
    from feedback_guard.policy.checks import reach
    from feedback_guard.policy.schema import Policy

    kinds = ", ".join(f"{n} {kind}" for kind, n in baseline.counts.items())
    typer.echo(f"digest: {baseline.digest.removeprefix('sha256:')}")
    typer.echo(f"made at: {format_iso8601(baseline.created_at_us)}")
    typer.echo(f"model: {baseline.fingerprint}")
    typer.echo(f"trusted: {baseline.n_trusted} ({kinds})")
    typer.echo(f"least p-value: {', '.join(f'{p:.2g} for a {kind}' for kind, p in baseline.resolution.items())}")
    if baseline.label_counts:
        most = sorted(baseline.label_counts.items(), key=lambda item: (-item[1], item[0]))
        shown = ", ".join(f"{_plain(label)} {n}" for label, n in most[:SHOWN_LABELS])
        more = f", and {len(most) - SHOWN_LABELS} more" if len(most) > SHOWN_LABELS else ""
        typer.echo(f"labels: {len(most)} ({shown}{more})")
    for note in reach(policy or Policy(), baseline.counts, baseline.label_counts):
        typer.echo(f"note: {note}")


def _plain(text: str) -> str:
    """A label on one line without control characters: a terminal obeys them."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _as_json(baseline: Baseline) -> dict[str, object]:
    return {
        "digest": baseline.digest,
        "created_at_us": baseline.created_at_us,
        "fingerprint": baseline.fingerprint,
        "n_trusted": baseline.n_trusted,
        "counts": dict(baseline.counts),
        "labels": dict(baseline.label_counts),
        "resolution": baseline.resolution,
        "seed": baseline.seed,
        "versions": dict(baseline.versions),
        "notes": list(baseline.notes),
    }


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
