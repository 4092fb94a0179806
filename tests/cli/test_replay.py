"""`feedback-guard replay` on real questions and the real command: a verdict a line, in order, the same every time."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from feedback_guard.cli.main import run
from feedback_guard.contribution import Contribution
from tests.evidence.test_accumulator import mixed, triggered
from tests.guards import START_US, labelled

POLICY = """\
name: test
embedding: {backend: unsafe-hashing-for-tests}
signals: {false_hold_rate: 0.05}
limits:
  - {name: lifetime, facet: contributor, measure: weight, amount: 5}
"""
CONTRACT = {"id", "decision", "weight", "suspicion", "campaign", "reasons", "policy", "baseline", "final"}


def write(path: Path, items: Iterable[Contribution]) -> Path:
    text = "".join(json.dumps(item.to_json()) + "\n" for item in items)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "policy.yaml").write_text(POLICY)
    stream = [*labelled(60, seed=1), *labelled(20, seed=2, flip=True, prefix="x"), *labelled(10, seed=3, who="busy")]
    return {
        "policy": str(tmp_path / "policy.yaml"),
        "trusted": str(write(tmp_path / "trusted.jsonl", labelled(400, seed=9, prefix="t"))),
        "stream": str(write(tmp_path / "stream.jsonl.gz", stream)),
        "out": str(tmp_path / "verdicts.jsonl"),
    }


def replay(files: dict[str, str], **changes: str) -> int:
    use = {**files, **changes}
    return run(["replay", use["stream"], "--trusted", use["trusted"], "--policy", use["policy"], "--out", use["out"]])


def verdicts(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_a_verdict_for_each_contribution_in_order_with_the_contracts_fields(files: dict[str, str]) -> None:
    assert replay(files) == 0
    got = verdicts(files["out"])
    with gzip.open(files["stream"], "rt") as lines:
        assert [v["id"] for v in got] == [json.loads(line)["id"] for line in lines]
    assert {frozenset(v) for v in got} == {frozenset(CONTRACT)}
    settled = [v for v in got if v["final"] == {"decision": v["decision"], "weight": v["weight"]}]
    pulled = [v for v in got if v["decision"] == "accept" and v["final"] == {"decision": "quarantine", "weight": 0.0}]
    # The busiest contributor would be more than 5 % of a snapshot: her weight shrinks, and nobody else's.
    capped = [v for v in got if v["decision"] == "accept" and 0.0 < v["final"]["weight"] < v["weight"]]
    assert {v["id"].split("-")[0] for v in capped} == {"c3"}
    total = sum(round(v["final"]["weight"] * 1_000_000) for v in got)
    assert sum(round(v["final"]["weight"] * 1_000_000) for v in got if v["id"].startswith("c3-")) == total // 20
    assert len(settled) + len(pulled) + len(capped) == len(got)
    assert all(v["campaign"] for v in pulled)
    assert sum(v["decision"] == "accept" for v in got[:60]) >= 50
    assert sum(v["decision"] == "quarantine" for v in got[60:80]) >= 14
    busy = [v for v in got[80:] if v["decision"] == "limit"]
    assert len(busy) >= 4
    assert "lifetime" in busy[0]["reasons"][0]["signal"]


def test_what_is_found_late_is_in_no_final_and_what_was_mature_is_counted_for_recall(
    files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four come two days before the others. When the campaign is found, three more were judged after the fourth, so
    the first three alone may be in a snapshot if it asks for four; and none if it asks for more than there are."""
    bad, honest, day = triggered(28, accounts=100), list(labelled(230, seed=3)), 86_400_000_000
    early = [*honest[:27], *bad[:3], *honest[27:30], bad[3]]
    late = mixed(bad[4:], honest[30:])
    stream = [
        replace(item, at_us=START_US + when + n)
        for when, part in ((0, early), (2 * day, late))
        for n, item in enumerate(part)
    ]
    policy = POLICY.replace("0.05", "0.0001") + "snapshot: {mature_after_count: COUNT}\n"
    said = []
    for count in (4, 33 + len(late)):
        (tmp_path / "policy.yaml").write_text(policy.replace("COUNT", str(count)))
        assert replay(files, stream=str(write(tmp_path / "stream.jsonl", stream))) == 0
        said.append(" ".join(capsys.readouterr().err.split()))
    got = {verdict["id"]: verdict for verdict in verdicts(files["out"])}
    held_again = [v for v in got.values() if v["decision"] == "accept" and v["final"]["decision"] == "quarantine"]
    assert {item.id for item in bad[:4]} < {v["id"] for v in held_again} <= {item.id for item in bad}
    assert all(v["final"]["weight"] == 0.0 and v["campaign"] for v in held_again)
    words = f"{len(held_again)} that were accepted were held again"
    assert [words in each for each in said] == [True, True]
    assert [each.split("may hold them: ")[1].split()[0] for each in said] == ["3", "0"]


def test_the_same_input_gives_the_same_bytes(files: dict[str, str], tmp_path: Path) -> None:
    again = str(tmp_path / "again.jsonl")
    assert replay(files) == 0
    assert replay(files, out=again) == 0
    assert Path(files["out"]).read_bytes() == Path(again).read_bytes()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"id": "a"}\n', "stream.jsonl:1"),
        ("not json\n", "stream.jsonl:1"),
        ('{"id": "a", "id": "b"}\n', "stream.jsonl:1"),
    ],
)
def test_a_bad_line_is_named_and_leaves_no_verdicts_behind(
    files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, says: str
) -> None:
    (tmp_path / "stream.jsonl").write_text(content)
    assert replay(files, stream=str(tmp_path / "stream.jsonl")) == 2
    assert says in capsys.readouterr().err
    assert not Path(files["out"]).exists()
    assert not list(tmp_path.glob(".verdicts*"))


def test_an_id_that_occurs_twice_is_refused(
    files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    item = next(labelled(1))
    assert replay(files, stream=str(write(tmp_path / "twice.jsonl", [item, item]))) == 2
    assert "occurs twice" in capsys.readouterr().err


def test_without_anything_trusted_it_says_what_to_give(
    files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["replay", files["stream"], "--policy", files["policy"], "--out", files["out"]]) == 3
    assert "--trusted" in capsys.readouterr().err


def test_an_empty_stream_gives_an_empty_file(files: dict[str, str], tmp_path: Path) -> None:
    assert replay(files, stream=str(write(tmp_path / "none.jsonl", []))) == 0
    assert Path(files["out"]).read_bytes() == b""
