"""What attacks achieved, as a table for people."""

from __future__ import annotations

from collections.abc import Callable

from rich import box
from rich.table import Table

from feedback_guard.redteam.report import Report


def show(report: Report, write: Callable[[object], None]) -> None:
    """Print a table for people; `write` takes what `rich` can print."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("attack")
    for name in (
        "poison sent",
        "passed",
        "ripened",
        "learnt",
        "success clean",
        "unguarded",
        "guarded",
        "honest held",
        "honest lost",
    ):
        table.add_column(name, justify="right")
    calm = report.calm
    table.add_row("none", *("–",) * 7, _percent(1 - calm.accepted / max(1, calm.sent)), _percent(report.calm_lost))
    for each in report.outcomes:
        n = max(1, each.poison.sent)
        table.add_row(
            each.attack,
            f"{each.poison.sent:,}",
            _percent(each.poison.accepted / n),
            _percent(each.poison.ripened / n),
            _percent(each.poison.learnt / n),
            _percent(each.success.clean),
            _percent(each.success.unguarded),
            _percent(each.success.guarded),
            _percent(1 - each.honest.accepted / max(1, each.honest.sent)),
            _percent(each.honest_lost),
        )
    write(table)
    for finding in report.findings:
        write(f"finding: {finding}")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
