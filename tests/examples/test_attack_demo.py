"""The demo from beginning to end, shortened, with an embedder that is no model; and its report."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from attack_demo.load import Fate, Outcome
from attack_demo.report import fate_table, grade, learnt_table
from attack_demo.run import POLICY, run, stay_up
from attack_demo.servers import Child, DemoError
from attack_demo.stream import ATTACKERS, Correction, Party, Probe, make_stream
from feedback_guard.cli.main import run as command


def shown(console: Console) -> str:
    return " ".join(console.export_text(clear=False).split())


def recorder() -> Console:
    return Console(record=True, width=200, file=io.StringIO())


def test_the_whole_demo_runs_and_ends(tmp_path: Path) -> None:
    base = tmp_path / "base.yaml"
    base.write_text(json.dumps({"extends": str(POLICY), "embedding": {"backend": "unsafe-hashing-for-tests"}}))
    console = recorder()
    run(console, stay=False, folder=tmp_path / "out", stream=make_stream()[::25], base=base)
    text = shown(console)
    for words in ("clean stream", "unguarded", "guarded", "the right intent", "what the crew of five wants", "weight"):
        assert words in text
    assert {file.name for file in (tmp_path / "out").iterdir()} >= {"baseline", "guard.db", "policy.yaml"}
    assert command(["ledger", "verify", "--policy", str(tmp_path / "out" / "policy.yaml")]) == 0


def test_it_stays_up_until_ctrl_c_and_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = Child("guarded assistant", tmp_path, ["assistant", "review"])
    guarded.addresses = {"assistant": "http://127.0.0.1:1", "review": "http://127.0.0.1:2"}
    watched: list[str] = []

    def watch(child: Child, seconds: float) -> None:
        watched.append(child.name)
        if len(watched) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(Child, "watch", watch)
    unguarded = Child("unguarded assistant", tmp_path, ["assistant"])
    unguarded.addresses = {"assistant": "http://127.0.0.1:3"}
    console = recorder()
    stay_up(console, unguarded, guarded, "the-token")
    assert set(watched) == {"guarded assistant", "unguarded assistant"}
    for words in ("127.0.0.1:1/", "127.0.0.1:2/", "127.0.0.1:2/metrics", "127.0.0.1:3/", "the-token", "Ctrl-C"):
        assert words in shown(console)


def test_a_child_that_dies_while_it_stays_up_ends_the_demo(tmp_path: Path) -> None:
    child = Child("guarded assistant", tmp_path, [])
    child.addresses = dict.fromkeys(("assistant", "review"), "http://127.0.0.1:1")
    with pytest.raises(DemoError, match="was not started"):
        stay_up(recorder(), child, child, "the-token")


def test_a_folder_with_something_in_it_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(DemoError, match="not empty"):
        run(recorder(), stay=False, folder=tmp_path, stream=[])
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]


def test_an_exam_is_graded_by_hand() -> None:
    attacked = [(Probe(party, ("q1", "q2"), "x"), ["x", "a"]) for party in ATTACKERS]
    exam = grade(["a", "b", "c", "c"], ["a", "b", "c", "d"], attacked)
    assert exam.accuracy == 0.75
    assert exam.success == dict.fromkeys(ATTACKERS, 0.5)
    console = recorder()
    console.print(learnt_table({"guarded": exam}))
    assert "the right intent 75.0 %" in shown(console)
    assert "what the crew of five wants 50.0 %" in shown(console)


def test_the_fates_of_a_party_are_counted() -> None:
    def outcome(party: Party, account: str, fate: Fate, weight: float) -> Outcome:
        return Outcome(Correction(party, account, "q", "i"), fate, weight)

    outcomes = [outcome(party, "a", Fate.HELD, 0.0) for party in Party if party is not Party.HONEST]
    outcomes += [outcome(Party.HONEST, "a", Fate.ACCEPTED, 1.0), outcome(Party.HONEST, "b", Fate.ACCEPTED, 0.5)]
    outcomes += [outcome(Party.HONEST, "a", Fate.LIMITED, 0.0), outcome(Party.HONEST, "a", Fate.HELD, 0.0)]
    console = recorder()
    console.print(fate_table(outcomes))
    row = next(line for line in console.export_text(clear=False).splitlines() if Party.HONEST in line)
    assert re.split(r"\s{3,}", row.strip()) == ["honest users", "4", "2  50.0%", "1  25.0%", "1  25.0%", "1.5"]
