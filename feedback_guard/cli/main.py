"""The command `feedback-guard`: finds the subcommand, and turns what went wrong into a sentence and an exit code.

Only the module of the subcommand that was asked for is imported, so `--help` is there at once.

Exit codes: 0 clean, 1 findings, 2 could not judge, 3 usage; 130 after Ctrl-C.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from importlib.metadata import version
from typing import Annotated

import typer

from feedback_guard.errors import GuardError, UsageError

PROGRAM = "feedback-guard"


class ExitCode(IntEnum):
    """What the shell is told."""

    CLEAN = 0
    FINDINGS = 1
    COULD_NOT_JUDGE = 2
    USAGE = 3
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a subcommand is, and what `--help` says of it.

    Parameters
    ----------
    target
        `module:name` of a function, or of a `typer.Typer` with subcommands of its own.
    help
        One line.
    """

    target: str
    help: str


COMMANDS: Mapping[str, Entry] = {
    "baseline": Entry(
        "feedback_guard.cli.baseline:app", "Make, or show, what is normal: the baseline of a trusted set."
    ),
    "drift": Entry("feedback_guard.cli.drift:app", "Show the drift alarm of the whole stream, or acknowledge it."),
    "policy": Entry("feedback_guard.cli.policy:app", "Check a policy, compare two, or print the schema for editors."),
    "replay": Entry("feedback_guard.cli.replay:replay", "Judge a recorded stream; `at` is the clock."),
    "serve": Entry(
        "feedback_guard.cli.serve:serve", "Stand in front of an application in any language, with review and metrics."
    ),
    "review": Entry("feedback_guard.cli.review:app", "List, show, approve or deny what is held."),
    "credentials": Entry("feedback_guard.cli.credentials:app", "Make keys for kept credentials, and rotate them."),
    "reputation": Entry(
        "feedback_guard.cli.reputation:app", "Who has earned how much influence, why, and what it costs."
    ),
    "ledger": Entry("feedback_guard.cli.ledger:app", "Verify the record, or take a checkpoint of it."),
    "snapshot": Entry("feedback_guard.cli.snapshot:app", "Cut, verify, list and show what a training job reads."),
    "teaches": Entry("feedback_guard.cli.teaches:teaches", "Say what the accepted contributions teach, in words."),
    "doctor": Entry("feedback_guard.cli.doctor:doctor", "Say whether this deployment is sound."),
    "redteam": Entry("feedback_guard.cli.redteam:redteam", "Let adaptive attackers loose on a policy, and report."),
    "demo": Entry("feedback_guard.cli.demo:demo", "See an assistant being poisoned, and the same stream stopped."),
}


def build(wanted: str | None) -> typer.Typer:
    """The whole command, in which only the subcommand `wanted` is loaded; of the others there is the name and help."""
    app = typer.Typer(
        name=PROGRAM,
        help="May the model learn this, from whom, and how much?",
        epilog="Exit codes: 0 clean, 1 findings, 2 could not judge, 3 usage.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    for name, entry in COMMANDS.items():
        if name != wanted:
            app.command(name, help=entry.help)(_not_loaded)
            continue
        module, _, attribute = entry.target.partition(":")
        loaded = getattr(importlib.import_module(module), attribute)
        if isinstance(loaded, typer.Typer):
            app.add_typer(loaded, name=name, help=entry.help)
        else:
            app.command(name)(loaded)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run a command line.

    Parameters
    ----------
    arguments
        What follows the program's name.

    Returns
    -------
    int
        The exit code. Whatever went wrong has been said on standard error, in one sentence.
    """
    wanted = next((argument for argument in arguments if not argument.startswith("-")), None)
    try:
        code = build(wanted)(args=list(arguments), prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        # Without a message the help was just shown, because nothing was asked for.
        where = f"{PROGRAM} {wanted}" if wanted in COMMANDS else PROGRAM
        message = error.format_message()
        return _say(f"{message}\n`{where} --help` says what fits.", ExitCode.USAGE) if message else ExitCode.USAGE
    except UsageError as error:
        return _say(str(error), ExitCode.USAGE)
    except GuardError as error:
        return _say(str(error), ExitCode.COULD_NOT_JUDGE)
    except typer.Abort:
        return _say("aborted", ExitCode.INTERRUPTED)
    except BrokenPipeError:
        return _reader_left()
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # typer met it first
            return _reader_left()
        raise
    except OSError as error:
        return _say(str(error), ExitCode.COULD_NOT_JUDGE)
    except Exception:  # noqa: BLE001 - a bug: shown whole, and never mistaken for findings, which Python's own 1 would be
        traceback.print_exc()
        return ExitCode.COULD_NOT_JUDGE
    return code if isinstance(code, int) else ExitCode.CLEAN


def main() -> None:
    """Run the command line of this process."""
    sys.exit(run(sys.argv[1:]))


def _say(message: str, code: ExitCode) -> ExitCode:
    print(f"{PROGRAM}: {message}", file=sys.stderr)
    return code


def _reader_left() -> ExitCode:
    """Whoever read our output has gone, as `head` does: nothing more can be written there, not even at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return ExitCode.COULD_NOT_JUDGE


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"{PROGRAM} {version(PROGRAM)}")
        raise typer.Exit


def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Options of the program itself."""


def _not_loaded() -> None:
    raise AssertionError("a subcommand was run that `build` was not asked for")
