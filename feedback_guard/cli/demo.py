"""`feedback-guard demo`: see an assistant being poisoned, and the same stream stopped by the guard."""

from __future__ import annotations

import importlib
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from feedback_guard.errors import UsageError


def demo(
    exit_: Annotated[
        bool, typer.Option("--exit", help="End once the tables are shown, instead of keeping the servers up.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Keep database, baseline, policy and logs in this folder, which must be empty or new."),
    ] = None,
) -> None:
    """Send one stream of real questions with three attacks in it to an assistant, without and with the guard.

    It needs a checkout of the repository: the assistant and its data are in `examples/`. All servers listen on
    loopback addresses only.
    """
    examples = Path(__file__).resolve().parents[2] / "examples"
    if not (examples / "attack_demo").is_dir():
        raise UsageError(f"there is no demo in {examples}; run it from a checkout of the repository: `make demo`")
    sys.path.insert(0, str(examples))
    try:
        run = importlib.import_module("attack_demo.run").run
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the demo needs {error.name}; install its packages with `pip install feedback-guard[examples]`"
        ) from error
    from rich.console import Console

    signal.signal(signal.SIGTERM, _end)
    run(Console(highlight=False), stay=not exit_, folder=out)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """Leave through every `finally`, so that the children are ended too."""
    raise SystemExit(128 + number)
