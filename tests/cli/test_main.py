"""The shell of the command: what is imported, which exit code, which sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import typer

from feedback_guard.cli import main as cli
from feedback_guard.errors import GuardError, PolicyError, StoreError, UsageError

HEAVY = ("torch", "sentence_transformers", "transformers", "sklearn", "scipy", "river", "pandas", "sqlalchemy")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], list[str]]:
    """Put a function in the place of `feedback-guard doctor`."""

    def place(function: Callable[[], None]) -> list[str]:
        monkeypatch.setattr(sys.modules[__name__], "stand_in", function, raising=False)
        monkeypatch.setattr(cli, "COMMANDS", {**cli.COMMANDS, "doctor": cli.Entry(f"{__name__}:stand_in", "")})
        return ["doctor"]

    return place


def test_help_lists_every_command_without_importing_what_is_heavy() -> None:
    code = (
        "import sys\n"
        "from feedback_guard.cli.main import run\n"
        "assert run(['--help']) == 0\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in cli.COMMANDS:
        assert name in done.stdout


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_command_can_be_loaded(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([name, "--help"]) == 0
    assert f"Usage: feedback-guard {name}" in capsys.readouterr().out


def test_no_arguments_show_the_help_and_are_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([]) == 3
    assert "Usage: feedback-guard" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("feedback-guard 0.")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["--nonsense"], "No such option: --nonsense"),
        (["doctor", "--nonsense"], "`feedback-guard doctor --help` says what fits"),
        (["replay"], "Missing"),
    ],
)
def test_wrong_usage_is_3_and_says_what_fits(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(arguments) == 3
    said = capsys.readouterr().err
    assert sentence in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PolicyError("policy.yaml:3: no such key"), 2),
        (StoreError("the disk is full"), 2),
        (GuardError("anything else"), 2),
        (FileNotFoundError(2, "No such file or directory", "stream.jsonl"), 2),
        (UsageError("give one of the two"), 3),
        (typer.Exit(1), 1),
        (typer.Exit(2), 2),
        (KeyboardInterrupt(), 130),
        (typer.Abort(), 130),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_every_ending_has_its_code_and_no_traceback(
    error: BaseException,
    code: int,
    command: Callable[[Callable[[], None]], list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> None:
        raise error

    assert cli.run(command(fail)) == code
    said = capsys.readouterr().err
    assert "Traceback" not in said
    if isinstance(error, GuardError | OSError):
        assert said == f"feedback-guard: {error}\n"


def test_a_bug_is_shown_whole_and_is_not_taken_for_findings(
    command: Callable[[Callable[[], None]], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    assert cli.run(command(fail)) == 2
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_clean_end_is_0_whatever_the_command_returns(command: Callable[[Callable[[], None]], list[str]]) -> None:
    assert cli.run(command(lambda: None)) == 0


def test_a_reader_that_has_left_gets_no_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "feedback_guard", "--help"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 2
