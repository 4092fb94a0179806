"""`feedback-guard drift`, and `baseline propose --changed`: from an alarm to the trusted set that ends it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import yaml

from feedback_guard.cli.main import ExitCode, run
from feedback_guard.evidence.baseline import load
from feedback_guard.jsonl import read_contributions
from tests.drifted import mortgages
from tests.guards import labelled, make_guard, submit


@pytest.fixture
def policy(tmp_path: Path) -> str:
    path = tmp_path / "policy.yaml"
    whole = {
        "version": 1,
        "name": "test",
        "store": {"url": f"sqlite:///{tmp_path}/guard.db"},
        "baseline": {"path": str(tmp_path / "baseline")},
        "embedding": {"backend": "unsafe-hashing-for-tests"},
    }
    path.write_text(yaml.safe_dump(whole))
    return str(path)


async def drift_away(folder: Path) -> None:
    guard = make_guard(folder, limits=[])
    await guard.start()
    try:
        for item in (*labelled(80, seed=3), *mortgages(60)):
            await guard.judge(submit(item, request=None))
        await guard.catch_up()
    finally:
        await guard.stop()


def test_from_the_alarm_to_a_new_trusted_set(tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(drift_away(tmp_path))
    assert run(["drift", "show", "--policy", policy]) == ExitCode.FINDINGS
    said = capsys.readouterr()
    assert "label, one that the trusted set has never seen" in said.out
    assert "baseline propose --changed" in said.err
    proposal = tmp_path / "proposal.jsonl"
    assert run(["baseline", "propose", "--changed", "--policy", policy, "--out", str(proposal)]) == 0
    assert "on the trusted set that you have" in capsys.readouterr().out
    chosen = list(read_contributions(proposal, max_lines=1_000))
    new = [item for item in chosen if item.label == "mortgage"]
    assert len(new) >= 40, "held or accepted"
    assert len(new) >= 0.7 * len(chosen), "what the trusted set knows is not read again"
    trusted = tmp_path / "trusted.jsonl"
    trusted.write_text("".join(json.dumps(item.to_json()) + "\n" for item in labelled(400, seed=9, prefix="t")))
    made = tmp_path / "second"
    assert run(["baseline", "build", str(trusted), str(proposal), "--policy", policy, "--out", str(made)]) == 0
    assert "mortgage" in load(made, fingerprint=None, digest=None).labels


def test_acknowledge_stands_in_the_ledger(tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(drift_away(tmp_path))
    run(["drift", "show", "--policy", policy, "--json"])
    before = json.loads(capsys.readouterr().out)
    assert before["alarm"]
    seq = before["entries"][0]["entry"]
    wrong = ["drift", "acknowledge", "--policy", policy, "--moderator", "ada", "--entry", str(seq + 1)]
    assert run(wrong) == ExitCode.USAGE
    assert run([*wrong[:-1], str(seq), "--note", "x" * 5_000]) != 0
    capsys.readouterr()
    assert run([*wrong[:-1], str(seq), "--note", "a \x1b[2Jholiday\u202e"]) == 0
    capsys.readouterr()
    assert run(["drift", "show", "--policy", policy]) == 0
    out = capsys.readouterr().out
    assert "acknowledged by ada | a \\u{1b}[2Jholiday" in out
    assert not {"\x1b", "\u202e"} & set(out)
    assert run(["drift", "show", "--policy", policy, "--json"]) == 0
    after = json.loads(capsys.readouterr().out)
    assert (after["alarm"], [each["kind"] for each in after["entries"]]) == (
        False,
        ["drift_acknowledged", "drift_raised"],
    )
    assert run(["drift", "acknowledge", "--policy", policy]) == ExitCode.USAGE
    assert "no drift alarm stands" in capsys.readouterr().err


def test_without_a_change_there_is_nothing_to_propose(
    tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["drift", "show", "--policy", policy]) == ExitCode.USAGE
    assert (
        run(["baseline", "propose", "--changed", "--policy", "observe", "--out", str(tmp_path / "p")]) == ExitCode.USAGE
    )
    assert "names none" in capsys.readouterr().err
