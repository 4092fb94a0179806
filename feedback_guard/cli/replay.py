"""`feedback-guard replay`: what the guard would have said about a recorded stream."""

from __future__ import annotations

import collections
import json
import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def replay(
    stream: Annotated[Path, typer.Argument(help="Contributions, JSONL in arrival order, plain or .gz.")],
    policy: Annotated[str, typer.Option(help="Policy file, or the name of a preset.")],
    out: Annotated[Path, typer.Option(help="Where the verdicts go: JSONL, one a line, in the order of the stream.")],
    trusted: Annotated[
        Path | None, typer.Option(help="Vetted contributions, JSONL; a baseline is made of them.")
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="A baseline that was built before, instead of --trusted.")
    ] = None,
) -> None:
    """Judge a recorded stream; `at` is the clock. Deterministic. Verdicts appear only when all are written."""
    from feedback_guard.engine import Engine, observe_all, start_batcher
    from feedback_guard.errors import UsageError
    from feedback_guard.evidence.baseline import build_baseline, load
    from feedback_guard.jsonl import read_contributions
    from feedback_guard.learning.allotment import Outcome, what_caps_did
    from feedback_guard.policy.loader import load_policy
    from feedback_guard.replay import Pulled
    from feedback_guard.replay import replay as judge

    if (trusted is None) == (baseline is None):
        raise UsageError("give either --trusted TRUSTED.jsonl or --baseline DIRECTORY")
    loaded = load_policy(policy)
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    ) as progress:
        loading = progress.add_task("loading the model", total=None)
        total = sum(1 for _ in read_contributions(stream))
        batcher = start_batcher(loaded.policy.embedding)
        try:
            progress.remove_task(loading)
            if trusted is not None:
                vetted = list(read_contributions(trusted))
                task = progress.add_task("trusted set", total=len(vetted))
                observations = observe_all(batcher, vetted, lambda done: progress.update(task, completed=done))
                frozen = build_baseline(observations, fingerprint=batcher.embedder.fingerprint, created_at_us=0)
            else:
                frozen = load(Path(str(baseline)), fingerprint=batcher.embedder.fingerprint, digest=None)
            engine = Engine.assemble(loaded.policy, loaded.digest, batcher, frozen)
            task = progress.add_task("stream", total=total)
            outcomes: list[Outcome] = []
            pulled: list[Pulled] = []
            counts: collections.Counter[str] = collections.Counter()
            out.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as lines:
                    for verdict in judge(
                        engine,
                        read_contributions(stream),
                        on_progress=lambda n: progress.advance(task, n),
                        on_cut=outcomes.append,
                        on_pulled=pulled.extend,
                    ):
                        counts[verdict.verdict.decision.value] += 1
                        lines.write(json.dumps(verdict.to_json(), ensure_ascii=False) + "\n")
                Path(name).replace(out)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
            status = engine.memory.status
        finally:
            batcher.close()
    said = ", ".join(f"{count} {decision}" for decision, count in sorted(counts.items()))
    console.print(f"{total} contributions: {said or 'none'}; policy {loaded.digest}; baseline {frozen.digest}")
    if pulled:
        console.print(
            f"{len(pulled)} that were accepted were held again, by campaigns found later; for recall, since a snapshot "
            f"that was cut before may hold them: {sum(each.mature for each in pulled)}"
        )
    for outcome in outcomes:
        for sentence in what_caps_did(outcome):
            console.print(f"snapshot: {sentence}")
    if status is not None and status.alarm:
        console.print(f"drift: {status.message}")
