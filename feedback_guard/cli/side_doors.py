"""`feedback-guard doctor --app` and `--openapi`: which write routes does no policy route cover?"""

from __future__ import annotations

import importlib
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from feedback_guard.doors.cover import Coverage, compare
from feedback_guard.doors.frameworks import doors_of
from feedback_guard.doors.interface import Door
from feedback_guard.doors.openapi import ask, load
from feedback_guard.errors import UsageError
from feedback_guard.middleware.routes import own_root_path
from feedback_guard.middleware.spelling import routes_exactly
from feedback_guard.middleware.traces import place_of
from feedback_guard.policy.schema import Policy


def report_side_doors(policy: Policy, *, app: str | None, factory: bool, openapi: str | None) -> None:
    """Print what is open, and how to cover or to waive it; exit 1 if anything is.

    Raises
    ------
    UsageError
        If the application or the document cannot be read.
    """
    if app is not None and openapi is not None:
        raise UsageError("name either --app or --openapi")
    if openapi is not None:
        coverage = compare(policy, load(openapi))
    else:
        if app is None:
            raise UsageError("name --app MODULE:ATTRIBUTE or --openapi FILE")
        found = import_app(app, factory=factory)
        doors = doors_of(found)
        if not doors.doors and doors.dark and (documented := ask(found)) is not None:
            doors = documented
        coverage = compare(policy, doors, root_path=own_root_path(found), exactly=partial(routes_exactly, found))
    _print(coverage)
    if not coverage.sound:
        raise typer.Exit(1)


def import_app(name: str, *, factory: bool = False) -> Any:
    """Import an application as servers do: the working directory comes first.

    Raises
    ------
    UsageError
        If there is none of that name, or its module does not load.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise UsageError(f"--app {name}: write MODULE:ATTRIBUTE, such as main:app")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
        if factory:
            found = found()
    except Exception as error:
        raise UsageError(
            f"--app {name} cannot be loaded: {type(error).__name__}: {error} ({place_of(error)})"
        ) from error
    if not callable(found):
        raise UsageError(f"--app {name} is a {type(found).__name__}, not an application")
    return found


def _print(coverage: Coverage) -> None:
    console = Console()
    table = Table("write route", "", "what to do", box=None, pad_edge=False)
    for door, route in coverage.covered:
        table.add_row(Text(str(door)), Text("covered", style="green"), Text(f"by the route {route!r}"))
    for door in coverage.waived:
        table.add_row(Text(str(door)), Text("ignored", style="dim"), Text("by the policy's `ignore`"))
    for side in coverage.open:
        table.add_row(Text(str(side.door)), Text("open", style="red"), Text(side.advice))
    console.print(table)
    for sentence in coverage.dead:
        console.print(Text(sentence, style="yellow"))
    for sentence in coverage.dark:
        console.print(Text(f"not looked into: {sentence}", style="yellow"))
    if coverage.open:
        first = coverage.open[0].door
        console.print(
            f"\n{len(coverage.open)} write routes pass the guard unseen. In the policy, cover those that take "
            "feedback, and name the others under `ignore`:\n",
            markup=False,
        )
        console.print(_snippet(first), markup=False, soft_wrap=True)


def _snippet(door: Door) -> str:
    path = door.path.replace(":path}", "}")
    return "\n".join(
        [
            "    routes:",
            "      - name: a-name",
            f"        path: {path}",
            f"        methods: [{door.method}]",
            "        extract: \"{kind: 'label', input: …, label: …}\"",
            "    ignore:",
            f"      - {door.method} {re.sub(r'{[^{}]*}', '*', door.path)}",
        ]
    )
