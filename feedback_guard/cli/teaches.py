"""`feedback-guard teaches`: what accepted contributions teach that the trusted set does not say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def teaches(
    policy: Annotated[str, typer.Option(help="Policy file, or the name of a preset; its store is read.")] = "balanced",
    most: Annotated[int, typer.Option(min=1, max=200, help="Most sentences.")] = 20,
) -> None:
    """Say what the stream teaches, from the ledger. Exit 1 if a campaign or the drift alarm stands."""
    from feedback_guard.clock import SystemClock
    from feedback_guard.errors import UsageError
    from feedback_guard.evidence.baseline import load
    from feedback_guard.learning.follower import Follower
    from feedback_guard.learning.memory import Memory
    from feedback_guard.metrics import Metrics
    from feedback_guard.policy.loader import load_policy
    from feedback_guard.store.database import Store

    loaded = load_policy(policy).policy
    if loaded.baseline.path is None or not loaded.evidence.enabled:
        raise UsageError(
            "what is taught is measured against a baseline, with evidence.enabled; the policy has not both"
        )
    memory = Memory(loaded, load(Path(loaded.baseline.path), fingerprint=None, digest=loaded.baseline.digest))
    store = Store.open(loaded.store, clock=SystemClock())
    try:
        Follower(store, memory, Metrics()).catch_up_now()
    finally:
        store.close()
    evidence, drift = memory.evidence, memory.status
    if evidence is None or drift is None:
        raise UsageError("the baseline cannot tell what is taught; build it again with this version")
    status = evidence.teaching.status(most)
    typer.echo(f"{status.n_learnt} accepted contributions of labels and votes were learnt")
    typer.echo(
        f"divergence on the trusted probes: {status.divergence:.1%}; evidence of a campaign: {status.statistic:.2f}"
    )
    typer.echo(f"drift: {drift.message}")
    for each in status.taught:
        typer.echo(each.sentence(quote=True))
    for campaign in evidence.campaigns:
        if campaign.open:
            typer.echo(f"{campaign.ident}: {campaign.sentence(quote=True)}")
    if drift.alarm or any(campaign.open for campaign in evidence.campaigns):
        raise typer.Exit(1)
