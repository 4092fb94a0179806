"""`feedback-guard doctor`: is this deployment sound?"""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

_STYLES = {"ok": "green", "warning": "yellow", "failure": "red"}


def doctor(
    policy: Annotated[str, typer.Option(help="Policy file, or the name of a preset.")] = "balanced",
    model: Annotated[
        Path | None, typer.Option(help="Only print the digest of a model directory, for embedding.digest.")
    ] = None,
    load_model: Annotated[bool, typer.Option(help="Load the embedding model; takes seconds.")] = True,
    app: Annotated[
        str | None,
        typer.Option(
            help="Only list the write routes of an application (MODULE:ATTRIBUTE) that no policy route covers."
        ),
    ] = None,
    factory: Annotated[
        bool, typer.Option(help="With --app: the attribute is a function that makes the application.")
    ] = False,
    openapi: Annotated[
        str | None,
        typer.Option(help="The same for an OpenAPI document: a file, or an address of this machine."),
    ] = None,
) -> None:
    """Check store, Redis, model, cores, baseline, clock, policy, writable paths and metrics. Exit 1 if any is amiss."""
    from feedback_guard.clock import SystemClock
    from feedback_guard.cores import diagnose_cores
    from feedback_guard.diagnosis import Health, diagnose
    from feedback_guard.limits.diagnosis import diagnose_redis
    from feedback_guard.middleware.diagnosis import diagnose_routes, diagnose_tokens
    from feedback_guard.policy.loader import load_policy

    if model is not None:
        from feedback_guard.embedding.digest import model_digest

        print(model_digest(model))
        return
    if app is not None or openapi is not None:
        from feedback_guard.cli.side_doors import report_side_doors

        report_side_doors(load_policy(policy).policy, app=app, factory=factory, openapi=openapi)
        return
    table = Table("check", "", Column("what was found", overflow="fold"), box=None, pad_edge=False)  # digests whole
    worst = Health.OK
    loaded = load_policy(policy)
    checks = chain(
        diagnose_routes(loaded.policy),
        diagnose_tokens(loaded.policy),
        diagnose_redis(loaded.policy),
        diagnose_cores(loaded.policy.embedding),
        diagnose(loaded, SystemClock(), with_model=load_model),
    )
    for found in checks:
        table.add_row(found.check, Text(found.health.value, style=_STYLES[found.health.value]), Text(found.message))
        if found.health is Health.FAILURE or worst is Health.OK:
            worst = found.health
    Console().print(table)
    if worst is not Health.OK:
        raise typer.Exit(1)
