"""`feedback-guard redteam`: adaptive attackers against a policy, on a stream of your own."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def redteam(
    policy: Annotated[str, typer.Option(help="Policy file, or the name of a preset.")],
    trusted: Annotated[Path, typer.Option(help="Vetted contributions, JSONL; a baseline is made of them.")],
    stream: Annotated[Path, typer.Option(help="Honest contributions, JSONL in arrival order; labels are attacked.")],
    out: Annotated[Path, typer.Option(help="Where the report goes, as JSON.")],
    attack: Annotated[
        list[str] | None, typer.Option(help="An attack by name; again for another. All by default.")
    ] = None,
    poison: Annotated[float, typer.Option(min=0.001, max=0.5, help="Share of poison among what arrives.")] = 0.05,
    accounts: Annotated[int, typer.Option(min=1, max=100_000, help="Accounts of an attacker.")] = 40,
    days: Annotated[
        float | None, typer.Option(min=0.01, max=3_650, help="Spread the stream over so many days.")
    ] = None,
    blind: Annotated[bool, typer.Option("--blind", help="Attackers do not see verdicts.")] = False,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn at random.")] = 0,
) -> None:
    """Let attackers who see verdicts adapt to a policy, and report what they achieve. Deterministic.

    A quarter of the stream is what the attackers write with, and 15 % (600 at most) are what models are asked about in
    the end. Ends with 1 if an attack succeeds in 5 points more of the texts asked than with a clean model.
    """
    from feedback_guard import settings
    from feedback_guard.cli.main import ExitCode
    from feedback_guard.cli.redteam_table import show
    from feedback_guard.engine import Engine, observe_all, start_batcher
    from feedback_guard.evidence.baseline import build_baseline
    from feedback_guard.jsonl import read_contributions
    from feedback_guard.policy.loader import load_policy
    from feedback_guard.redteam.material import part
    from feedback_guard.redteam.registry import ATTACKS, make_attacker
    from feedback_guard.redteam.report import Examiner, Report, Tally, lost
    from feedback_guard.redteam.simulator import Simulator

    loaded = load_policy(policy)
    attackers = [make_attacker(name, accounts=accounts, seed=seed) for name in dict.fromkeys(attack or ATTACKS)]
    vetted = list(read_contributions(trusted, max_lines=settings.MAX_TRUSTED))
    material = part(vetted, list(read_contributions(stream)), seed=seed, days=days)
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    ) as progress:
        loading = progress.add_task("loading the model", total=None)
        batcher = start_batcher(loaded.policy.embedding)
        try:
            progress.remove_task(loading)
            task = progress.add_task("trusted set", total=len(vetted))
            observations = observe_all(batcher, vetted, lambda done: progress.update(task, completed=done))
            frozen = build_baseline(observations, fingerprint=batcher.embedder.fingerprint, created_at_us=0)
            simulator = Simulator(
                lambda: Engine.assemble(loaded.policy, loaded.digest, batcher, frozen),
                material,
                poison=poison,
                mature_after_us=loaded.policy.staging.mature_after,
                seed=seed,
                blind=blind,
            )
            task = progress.add_task("no attack", total=len(material.honest))
            calm = simulator.play(None, on_progress=lambda n: progress.advance(task, n))
            examiner, outcomes = Examiner(material, seed), []
            for attacker in attackers:
                task = progress.add_task(attacker.name, total=len(material.honest))
                run = simulator.play(attacker, on_progress=lambda n, task=task: progress.advance(task, n))  # type: ignore[misc]
                outcomes.append(examiner.examine(run, attacker))
        finally:
            batcher.close()
    about = {
        "policy": loaded.digest,
        "baseline": frozen.digest,
        "seed": seed,
        "honest": len(material.honest),
        "attempts": simulator.attempts,
        "accounts": accounts,
        "blind": blind,
        "asked": len(material.exam),
    }
    report = Report(about, Tally.of(calm.fates), lost(calm.fates), tuple(outcomes))
    _write(out, report.to_json())
    show(report, Console(width=150).print)
    if report.findings:
        raise typer.Exit(ExitCode.FINDINGS)


def _write(out: Path, report: dict[str, object]) -> None:
    """All of it, or nothing."""
    out.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as lines:
            lines.write(json.dumps(report, ensure_ascii=False, indent=1) + "\n")
        Path(name).replace(out)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
