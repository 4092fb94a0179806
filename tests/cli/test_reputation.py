"""`feedback-guard reputation`: from a vetted file to an audit set, and what it tells of those who earned."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from feedback_guard.cli.main import run
from feedback_guard.clock import ManualClock
from feedback_guard.limits.reputation import identity_of
from tests.cli.test_replay import write
from tests.guards import START_US, labelled, make_guard, make_policy, submit

POLICY = """\
name: test
embedding: {{backend: unsafe-hashing-for-tests}}
store: {{url: "sqlite:///{folder}/guard.db"}}
baseline: {{path: {folder}/baseline}}
signals: {{false_hold_rate: 0.0001}}
evidence: {{enabled: false}}
reputation: {{enabled: true, identities: 4, damage: 1.0{audit}}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_policy(tmp_path)
    (tmp_path / "policy.yaml").write_text(POLICY.format(folder=tmp_path, audit=""))
    write(tmp_path / "vetted.jsonl", labelled(300, seed=3, prefix="v"))
    return tmp_path


def split(folder: Path, *, key: str = "key") -> int:
    return run(
        [
            *("reputation", "split", str(folder / "vetted.jsonl"), "--key", str(folder / key), "--share", "0.4"),
            *("--out-trusted", str(folder / "trusted.jsonl"), "--out-audit", str(folder / "audit.jsonl")),
        ]
    )


def replay(folder: Path) -> int:
    return run(
        [
            *("replay", str(folder / "stream.jsonl"), "--policy", str(folder / "policy.yaml")),
            *("--baseline", str(folder / "baseline"), "--out", str(folder / "verdicts.jsonl")),
        ]
    )


def ids(file: Path) -> set[str]:
    return {json.loads(line)["id"] for line in file.read_text().splitlines()}


def test_the_audit_set_is_drawn_by_a_secret_and_makes_a_policy_that_works(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert split(folder) == 0
    held_out, rest = ids(folder / "audit.jsonl"), ids(folder / "trusted.jsonl")
    assert held_out.isdisjoint(rest)
    assert len(held_out | rest) == 300
    assert 80 <= len(held_out) <= 160
    assert (folder / "key").stat().st_mode & 0o077 == 0
    policy, out = str(folder / "policy.yaml"), str(folder / "audit")
    capsys.readouterr()
    assert run(["reputation", "audit", str(folder / "audit.jsonl"), "--policy", policy, "--out", out]) == 0
    said = capsys.readouterr().out
    digest = said.split("digest: ")[1].split()[0]
    assert "information in it" in said
    # texts do not stand in it
    assert b"card" not in (folder / "audit" / "audit.json").read_bytes()
    assert run(["reputation", "audit", str(folder / "audit.jsonl"), "--policy", policy, "--out", out]) == 3
    pinned = f", audit: {out}, audit_digest: {digest}"
    (folder / "policy.yaml").write_text(POLICY.format(folder=folder, audit=pinned))
    assert run(["policy", "check", policy]) in (0, 1)
    assert "reputation." not in capsys.readouterr().out
    write(folder / "stream.jsonl", labelled(5, seed=8))
    assert replay(folder) == 0
    weights = {json.loads(line)["weight"] for line in (folder / "verdicts.jsonl").read_text().splitlines()}
    assert weights <= {0.125, 0.03125}


def test_an_altered_audit_set_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert split(folder) == 0
    policy, out = str(folder / "policy.yaml"), folder / "audit"
    assert run(["reputation", "audit", str(folder / "audit.jsonl"), "--policy", policy, "--out", str(out)]) == 0
    manifest = out / "audit.json"
    manifest.write_text(manifest.read_text().replace('"agree": ', '"agree": 9'))
    (folder / "policy.yaml").write_text(POLICY.format(folder=folder, audit=f", audit: {out}"))
    write(folder / "stream.jsonl", labelled(1, seed=8))
    capsys.readouterr()
    assert replay(folder) == 2
    assert "altered or damaged" in capsys.readouterr().err
    shutil.rmtree(out)


def test_a_short_key_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "key").write_text("short\n")
    assert split(folder) == 3
    assert "shorter than" in capsys.readouterr().err
    assert not (folder / "audit.jsonl").exists()


def test_it_shows_lists_and_explains(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = str(folder / "policy.yaml")
    (folder / "guard.db").unlink(missing_ok=True)
    assert run(["reputation", "show", "--policy", policy]) == 3
    clock = ManualClock(START_US)
    guard = make_guard(folder, clock, reputation={"enabled": True, "identities": 4, "damage": 1.0})

    async def main() -> None:
        await guard.start()
        for item in labelled(3, seed=5, who="alice"):
            await guard.judge(submit(item))
        clock.advance(60)
        await guard.housekeep()
        page = guard.metrics.render()[0].decode()
        await guard.stop()
        assert 'feedback_guard_reputation_identities{standing="all"} 1.0' in page

    asyncio.run(main())
    capsys.readouterr()
    assert run(["reputation", "show", "--policy", policy]) == 0
    said = capsys.readouterr().out
    assert "at most 1 in net measured damage" in said
    assert "2.1 units of information" in said
    assert run(["reputation", "show", "--policy", policy, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["endowed_pico"] == 125_000_000_000
    assert run(["reputation", "top", "--policy", policy]) == 0
    said = capsys.readouterr().out
    assert "alice" not in said
    assert identity_of("alice", anonymous=False) in said
    assert run(["reputation", "explain", "alice", "--policy", policy]) == 0
    assert "reputation 0.125 = 0.125 at the start (place 1)" in capsys.readouterr().out
    assert run(["reputation", "explain", "nobody", "--policy", policy]) == 3
