"""`feedback-guard snapshot`, from a store to what a training job reads, with its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from feedback_guard.cli.main import run
from feedback_guard.clock import SystemClock, format_iso8601
from feedback_guard.policy.loader import load_policy
from feedback_guard.store.database import Store
from tests.learning.cutting import DAY, one, put


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a policy, and a store in which 25 people taught two days ago."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARTITION_KEY", "a long enough key")
    Path("policy.yaml").write_text(
        "name: test\nsnapshot:\n  mature_after_count: 0\n  certificate: {partitions: 5, key: {env: PARTITION_KEY}}\n"
    )
    now_us = SystemClock().now_us()
    with Store.open(load_policy("policy.yaml").policy.store, clock=SystemClock()) as store:
        put(store, *[one(f"c{n}", f"u{n % 25}", at_us=now_us - 2 * DAY) for n in range(50)])
    return tmp_path


def test_create_verify_list_and_show(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["snapshot", "list", "--policy", "policy.yaml"]) == 0
    assert "no snapshot" in capsys.readouterr().out
    assert run(["snapshot", "create", "--policy", "policy.yaml", "--out", "snap", "--json"]) == 0
    manifest = json.loads(capsys.readouterr().out)
    assert (manifest["contributions"], manifest["certificate"]["partitions"]) == (50, 5)
    assert run(["snapshot", "verify", "snap"]) == 0
    said = capsys.readouterr().out
    assert "50 rows, Parquet alike, 0 findings" in said
    assert "not looked at" in said
    assert run(["snapshot", "verify", "snap", "--policy", "policy.yaml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["clean"] is True
    assert run(["snapshot", "list", "--policy", "policy.yaml"]) == 0
    assert capsys.readouterr().out.startswith(manifest["id"])
    assert run(["snapshot", "show", manifest["id"], "--policy", "policy.yaml"]) == 0
    assert "cap contributor (share 1/20, weight 25): 0 of 25 reduced" in capsys.readouterr().out
    assert run(["snapshot", "show", manifest["id"], "--policy", "policy.yaml", "--members"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0]) == {"id": "c0", "weight_micro": 1_000_000}
    assert run(["snapshot", "show", "c7", "--policy", "policy.yaml", "--holding"]) == 0
    assert manifest["id"] in capsys.readouterr().out


def test_which_snapshots_hold_an_item_or_anything_of_a_contributor(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that is not there is no clean bill: who mistypes one would take it for that."""
    assert run(["snapshot", "create", "--policy", "policy.yaml", "--out", "snap", "--json"]) == 0
    snapshot = json.loads(capsys.readouterr().out)["id"]
    with Store.open(load_policy("policy.yaml").policy.store, clock=SystemClock()) as store:
        found = store.contribution("c7")
        assert found is not None
        item = found.submission
        put(store, one("young", "u7", at_us=SystemClock().now_us()), one("new", 'u"7', at_us=SystemClock().now_us()))
    show = ["snapshot", "show", "--policy", "policy.yaml"]
    assert run([*show, item, "--holding"]) == 0
    assert capsys.readouterr().out == f"{snapshot}  weight 1.000000\n"
    assert run([*show, "young", "--holding"]) == 0
    assert capsys.readouterr().out == "no snapshot holds it\n"
    assert run([*show, "c77", "--holding"]) == 3
    assert "there is no contribution or item 'c77'" in capsys.readouterr().err
    assert run([*show, "u7", "--contributor"]) == 0
    assert capsys.readouterr().out == f"{snapshot}  2 contributions, weight 2.000000\n"
    assert run([*show, "u7", "--contributor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"snapshot": snapshot, "contributions": 2, "weight_micro": 2_000_000}
    ]
    for nobody in ("u", 'u"7', "%", "u7\\"):
        assert run([*show, nobody, "--contributor"]) == 0
        assert capsys.readouterr().out == "no snapshot holds anything of this contributor\n"


def test_an_empty_snapshot_is_said_in_words_and_in_the_exit_code(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    early = format_iso8601(SystemClock().now_us() - 10 * DAY)
    create = ["snapshot", "create", "--policy", "policy.yaml", "--format", "jsonl"]
    assert run([*create, "--out", "early", "--as-of", early]) == 1
    said = capsys.readouterr().out
    assert "left out, too young: 50" in said
    assert "empty: nothing is accepted, delivered and mature" in said
    Path("policy.yaml").write_text(
        "name: test\nsnapshot: {mature_after_count: 0, caps: [{facet: contributor, max_share: 0.03}]}\n"
    )
    assert run([*create, "--out", "few"]) == 1
    assert "empty: 25 contributors took part, and with fewer than 34 one of them" in capsys.readouterr().out
    assert run(["snapshot", "verify", "few"]) == 0


def test_findings_and_wrong_uses_have_codes_of_their_own(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    create = ["snapshot", "create", "--policy", "policy.yaml", "--out"]
    assert run([*create, "snap"]) == 0
    assert run([*create, "snap"]) == 3
    assert "never written over" in capsys.readouterr().err
    assert run([*create, "other", "--as-of", "yesterday"]) == 3
    assert run([*create, "other", "--as-of", "2999-01-01T00:00:00Z"]) == 3
    with Path("snap/contributions.jsonl").open("ab") as file:
        file.write(b"{}\n")
    assert run(["snapshot", "verify", "snap"]) == 1
    assert "row 51: it cannot be read" in capsys.readouterr().out
    assert run(["snapshot", "verify", "nowhere"]) == 2
    assert run(["snapshot", "show", "s-none", "--policy", "policy.yaml"]) == 3


@pytest.mark.parametrize(("key", "said"), [(None, "PARTITION_KEY is not set"), ("short", "at least 16 are needed")])
def test_a_key_that_is_missing_or_short_is_refused(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str | None, said: str
) -> None:
    if key is None:
        monkeypatch.delenv("PARTITION_KEY")
    else:
        monkeypatch.setenv("PARTITION_KEY", key)
    assert run(["snapshot", "create", "--policy", "policy.yaml", "--out", "snap"]) == 2
    assert said in capsys.readouterr().err
    assert not Path("snap").exists()
