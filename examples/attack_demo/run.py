"""The demo from beginning to end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from attack_demo import load
from attack_demo.report import Exam, fate_table, grade, learnt_table, story
from attack_demo.servers import Child, DemoError
from attack_demo.stream import Correction, Party, Probe, make_probes, make_stream
from bank_assistant.student import DATA, Example, Student, read_examples
from feedback_guard.review.auth import new_token

POLICY = DATA.parent / "policy.yaml"
TRUSTED = DATA / "vetted.jsonl.gz"


@dataclass(frozen=True, slots=True)
class Questions:
    """What the assistants are asked in the end."""

    held_out: tuple[str, ...]
    right: tuple[str, ...]
    probes: tuple[Probe, ...]


def run(
    console: Console,
    *,
    stay: bool,
    folder: Path | None = None,
    stream: Sequence[Correction] | None = None,
    base: Path = POLICY,
) -> None:
    """Run the demo.

    Parameters
    ----------
    console
        Where progress and tables are shown.
    stay
        True keeps the servers up until Ctrl-C once the tables are shown.
    folder
        Where database, baseline, policy and logs go, and stay; without one they are removed in the end.
    stream
        What is sent; by default all of `make_stream()`.
    base
        What the guarded assistant's policy extends.

    Raises
    ------
    DemoError
        If a part of it failed.
    """
    corrections = list(stream if stream is not None else make_stream())
    with _work_folder(folder) as work:
        token, token_sha256 = new_token()
        policy = _write_policy(work, token_sha256, base)
        _build_baseline(console, policy, work)
        with (
            Child("unguarded assistant", work, ["assistant"]) as unguarded,
            Child("guarded assistant", work, ["assistant", "review"], [f"--policy={policy}"]) as guarded,
        ):
            with console.status("Starting the assistant twice: without the guard, and behind it"):
                for child in (unguarded, guarded):
                    child.wait_until_ready()
            try:
                _attack(console, corrections, unguarded, guarded)
            except httpx2.HTTPError as error:
                for child in (unguarded, guarded):
                    child.watch(0.5)
                raise DemoError(f"an assistant did not answer: {error!r}") from error
            if stay:
                stay_up(console, unguarded, guarded, token)


@contextlib.contextmanager
def _work_folder(folder: Path | None) -> Iterator[Path]:
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="feedback-guard-demo-") as name:
            yield Path(name)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise DemoError(f"{folder} is not empty; name a folder that the demo may fill")
        yield folder.resolve()


def _write_policy(work: Path, token_sha256: str, base: Path) -> Path:
    """The example's policy with this run's places, and a moderator who may log in."""
    policy = {
        "extends": str(base.resolve()),
        "store": {"url": f"sqlite:///{work / 'guard.db'}"},
        "baseline": {"path": str(work / "baseline")},
        "review": {"moderators": [{"name": "demo", "token_sha256": token_sha256}]},
    }
    path = work / "policy.yaml"
    path.write_text(json.dumps(policy, indent=2) + "\n", encoding="utf-8")  # JSON is YAML
    return path


def _build_baseline(console: Console, policy: Path, work: Path) -> None:
    console.print("Baseline of the questions that the bank's staff has vetted:")
    command = ["baseline", "build", str(TRUSTED), "--policy", str(policy), "--out", str(work / "baseline")]
    done = subprocess.run([sys.executable, "-m", "feedback_guard", *command], stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise DemoError(
            f"the baseline could not be built: feedback-guard {' '.join(command)} ended with {done.returncode}"
        )


def _attack(console: Console, corrections: Sequence[Correction], unguarded: Child, guarded: Child) -> None:
    held_out = read_examples("held_out")
    questions = Questions(
        tuple(example.question for example in held_out),
        tuple(example.intent for example in held_out),
        tuple(make_probes()),
    )
    outcomes = asyncio.run(_send(console, corrections, unguarded, guarded))
    with console.status("Each assistant learns from what it stored, and answers questions it has never seen"):
        exams = {
            "clean stream": _clean_exam(corrections, questions),
            "unguarded": asyncio.run(_exam(unguarded, questions)),
            "guarded": asyncio.run(_exam(guarded, questions)),
        }
    console.print("\nWhat each assistant answers to questions that it has never seen:")
    console.print(learnt_table(exams))
    console.print("(“clean stream” is an assistant that got the honest corrections alone.)")
    console.print("\nWhat the guard did with the corrections:")
    console.print(fate_table(outcomes))
    console.print("(“weight” is how much the assistant learns from them; an ordinary correction weighs 1.)")


async def _send(
    console: Console, corrections: Sequence[Correction], unguarded: Child, guarded: Child
) -> list[load.Outcome]:
    accounts = len({correction.account for correction in corrections})
    console.print(
        f"\nOne stream of {len(corrections):,} corrections by {accounts:,} accounts, to both at the same time:"
    )
    console.print(story())
    console.print()
    columns = (TextColumn("{task.description:>20}"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:

        async def send_to(child: Child) -> list[load.Outcome]:
            task = progress.add_task(child.name, total=len(corrections))
            return await load.send(child.addresses["assistant"], corrections, lambda: progress.advance(task))

        _, outcomes = await asyncio.gather(send_to(unguarded), send_to(guarded))
    return outcomes


async def _exam(child: Child, questions: Questions) -> Exam:
    address = child.addresses["assistant"]
    await load.retrain(address)
    return grade(
        await load.ask(address, questions.held_out),
        questions.right,
        [(probe, await load.ask(address, probe.questions)) for probe in questions.probes],
    )


def _clean_exam(corrections: Sequence[Correction], questions: Questions) -> Exam:
    honest = [Example(c.question, c.intent) for c in corrections if c.party is Party.HONEST]
    student = Student([*read_examples("vetted"), *honest])

    def answers(asked: Sequence[str]) -> list[str]:
        return [answer.intent for answer in student.answer(asked)]

    return grade(
        answers(questions.held_out), questions.right, [(probe, answers(probe.questions)) for probe in questions.probes]
    )


def stay_up(console: Console, unguarded: Child, guarded: Child, token: str) -> None:
    """Say where everything is, and keep it up until Ctrl-C or until a child ends."""
    addresses = Table.grid(padding=(0, 0, 0, 2))
    for what, address in (
        ("assistant, unguarded", f"{unguarded.addresses['assistant']}/"),
        ("assistant, guarded", f"{guarded.addresses['assistant']}/"),
        ("review of what is held", f"{guarded.addresses['review']}/"),
        ("  log in with the token", token),
        ("metrics", f"{guarded.addresses['review']}/metrics"),
    ):
        addresses.add_row(what, address)
    console.print()
    console.print(addresses)
    console.print("\nEverything stays up until you press Ctrl-C.")
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            for child in (unguarded, guarded):
                child.watch(1.0)
