from __future__ import annotations

import json
from pathlib import Path

import pysqlite3
import pytest

from feedback_guard.cli.main import run
from feedback_guard.ledger.chain import Checkpoint
from feedback_guard.store.database import Store
from tests.store.build import CLOCK, held, insert, policy, submission
from tests.store.ready import ready


@pytest.fixture
def url(tmp_path: Path) -> str:
    with Store.open(policy(ready(f"sqlite:///{tmp_path}/store.db")), clock=CLOCK) as store:
        insert(store, *[submission(f"s{n}") for n in range(5)], held("h"))
    return f"sqlite:///{tmp_path}/store.db"


def tamper(tmp_path: Path, statement: str) -> None:
    driver = pysqlite3.connect(str(tmp_path / "store.db"), isolation_level=None)
    driver.execute(statement)
    driver.close()


def test_a_sound_ledger_is_clean(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ledger", "verify", "--url", url]) == 0
    told = capsys.readouterr().out
    assert "6 entries, 6 contributions, 6 submissions, 0 snapshots, 0 findings" in told
    assert "no checkpoint was given" in told


def test_an_edited_entry_is_a_finding(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tamper(tmp_path, "UPDATE ledger SET at_us = 1 WHERE seq = 3")
    assert run(["ledger", "verify", "--url", url]) == 1
    assert "edited: entry 3 does not have the hash it carries" in capsys.readouterr().out


def test_findings_are_printed_for_machines_too(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ledger", "verify", "--url", url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["clean"] is True
    tamper(tmp_path, "DELETE FROM ledger WHERE seq = 2")
    assert run(["ledger", "verify", "--url", url, "--json", "--no-rows"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [item["fault"] for item in told["findings"]] == ["missing", "unlinked"]


def test_a_checkpoint_shows_a_cut_off_end(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "checkpoint.json"
    assert run(["ledger", "checkpoint", "--url", url, "--out", str(kept)]) == 0
    assert Checkpoint.from_json(kept.read_text()).seq == 6
    assert run(["ledger", "verify", "--url", url, "--checkpoint", str(kept)]) == 0
    assert "no checkpoint" not in capsys.readouterr().out
    for table, where in (("ledger", "seq = 6"), ("contribution", "id = 'h.0'"), ("submission", "id = 'h'")):
        tamper(tmp_path, f"DELETE FROM {table} WHERE {where}")
    assert run(["ledger", "verify", "--url", url]) == 0
    assert run(["ledger", "verify", "--url", url, "--checkpoint", str(kept)]) == 1
    assert "truncated: the ledger ends at entry 5" in capsys.readouterr().out


def test_a_checkpoint_is_printed_without_a_file(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ledger", "checkpoint", "--url", url]) == 0
    assert Checkpoint.from_json(capsys.readouterr().out).seq == 6


def test_an_unsound_ledger_gets_no_checkpoint(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tamper(tmp_path, "UPDATE ledger SET at_us = 1 WHERE seq = 3")
    assert run(["ledger", "checkpoint", "--url", url]) == 2
    assert "gets no checkpoint" in capsys.readouterr().err


def test_the_store_of_a_policy_is_looked_at(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "policy.yaml").write_text(f"version: 1\nstore:\n  url: {url}\n")
    assert run(["ledger", "verify", "--policy", str(tmp_path / "policy.yaml")]) == 0
    assert "6 entries" in capsys.readouterr().out


def test_what_cannot_be_judged_is_said(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.json").write_text("{}")
    (tmp_path / "rubbish.db").write_bytes(b"rubbish, and enough of it to be read as a header" * 50)
    for arguments in (
        ["--url", f"sqlite:///{tmp_path}/none.db"],
        ["--url", f"sqlite:///{tmp_path}/rubbish.db"],
        ["--url", "nonsense"],
        ["--url", url, "--checkpoint", str(tmp_path / "bad.json")],
        ["--url", url, "--checkpoint", str(tmp_path / "none.json")],
    ):
        assert run(["ledger", "verify", *arguments]) == 2, arguments
        assert capsys.readouterr().err.startswith("feedback-guard: ")
    assert not (tmp_path / "none.db").exists()


def test_wrong_usage_is_said(url: str) -> None:
    assert run(["ledger", "verify"]) == 3
    assert run(["ledger", "verify", "--url", url, "--policy", "balanced"]) == 3
    assert run(["ledger", "verify", "--nonsense"]) == 3
