"""`feedback-guard redteam` as a user runs it: the real engine, the hashing embedder, a small stream."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from feedback_guard.cli.main import run
from feedback_guard.contribution import Contribution
from feedback_guard.engine import Engine, start_batcher
from feedback_guard.evidence.baseline import load
from feedback_guard.redteam.material import part
from feedback_guard.redteam.registry import make_attacker
from feedback_guard.redteam.simulator import Party, Simulator
from tests.guards import labelled, make_policy

GUARDED = """\
name: test
embedding: {backend: unsafe-hashing-for-tests}
signals: {false_hold_rate: 0.05}
"""
BARE = """\
name: bare
embedding: {backend: unsafe-hashing-for-tests}
signals: {false_hold_rate: 0.001, disagreement: {share: 0}, novelty: {share: 0}, anomaly: {share: 0}}
evidence: {enabled: false}
"""


def write(path: Path, items: Iterable[Contribution]) -> str:
    path.write_text("".join(json.dumps(item.to_json()) + "\n" for item in items))
    return str(path)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    for name, policy in (("guarded", GUARDED), ("bare", BARE)):
        (tmp_path / f"{name}.yaml").write_text(policy)
    return {
        "guarded": str(tmp_path / "guarded.yaml"),
        "bare": str(tmp_path / "bare.yaml"),
        "trusted": write(tmp_path / "trusted.jsonl", labelled(400, seed=9, prefix="t")),
        "stream": write(tmp_path / "stream.jsonl", labelled(400, seed=1)),
        "out": str(tmp_path / "report.json"),
    }


def redteam(files: dict[str, str], policy: str, *more: str, **changes: str) -> tuple[int, dict[str, Any]]:
    use = {**files, **changes}
    paths = [f"--policy={use[policy]}", f"--trusted={use['trusted']}", f"--stream={use['stream']}"]
    code = run(["redteam", *paths, f"--out={use['out']}", *more])
    out = Path(use["out"])
    return code, json.loads(out.read_text()) if out.exists() else {}


def test_what_a_bare_policy_lets_through_is_a_finding(
    files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, report = redteam(files, "bare", "--attack=plain")
    assert code == 1
    [attack] = report["attacks"]
    assert attack["poison"]["learnt"] >= 0.8 * attack["poison"]["sent"] > 0
    assert attack["success"]["guarded"] >= attack["success"]["clean"] + 0.3
    assert attack["success"]["guarded"] == pytest.approx(attack["success"]["unguarded"], abs=0.2)
    [finding] = report["findings"]
    assert finding.startswith("plain: ")
    assert "finding: plain" in capsys.readouterr().out


def test_a_guarded_stream_withstands_what_a_bare_one_learns_and_the_same_input_gives_the_same_report(
    files: dict[str, str], tmp_path: Path
) -> None:
    again = str(tmp_path / "again.json")
    arguments = ("--attack=mixed", "--days=20", "--poison=0.1")
    code, report = redteam(files, "guarded", *arguments)
    assert (code, report["findings"]) == (0, [])
    [attack] = report["attacks"]
    assert attack["success"]["unguarded"] >= 0.3
    assert attack["poison"]["learnt"] <= 0.2 * attack["poison"]["sent"]
    assert attack["honest_lost"] <= report["calm"]["honest_lost"] + 0.05
    assert attack["cover"]["sent"] > 0
    assert 0 < attack["poison"]["sent"] <= report["about"]["attempts"]
    assert attack["honest"]["sent"] == report["about"]["honest"] == 240
    for party in ("poison", "cover", "honest"):
        tally = attack[party]
        assert tally["accepted"] + tally["held"] + tally["limited"] == tally["sent"]
        assert tally["learnt"] <= tally["accepted"] - tally["pulled_back"]
    redteam(files, "guarded", *arguments, out=again)
    assert Path(files["out"]).read_bytes() == Path(again).read_bytes()


def test_who_is_told_of_refusals_adapts_and_who_is_blind_does_not(tmp_path: Path) -> None:
    policy = make_policy(tmp_path)
    batcher = start_batcher(policy.embedding)
    try:
        frozen = load(tmp_path / "baseline", fingerprint=batcher.embedder.fingerprint, digest=None)
        material = part(list(labelled(400, seed=9, prefix="t")), list(labelled(240, seed=1)), seed=0)
        words = {}
        for blind in (False, True):
            simulator = Simulator(
                lambda: Engine.assemble(policy, "digest", batcher, frozen),
                material,
                poison=0.1,
                mature_after_us=policy.staging.mature_after,
                seed=0,
                blind=blind,
            )
            run = simulator.play(make_attacker("boundary", accounts=40, seed=0))
            words[blind] = [len(fate.taught.text.split()) for fate in run.fates if fate.party is Party.POISON]
    finally:
        batcher.close()
    assert set(words[True]) == {13}  # ten of the text, and the trigger
    assert words[False][0] == 13
    assert sum(words[False][1:]) >= 15 * len(words[False][1:])


@pytest.mark.parametrize(
    ("changes", "more", "says"),
    [
        ({}, ["--attack=magic"], "there is no attack 'magic'"),
        ({"stream": "few.jsonl"}, [], "the stream has 20 contributions of the kind `label`"),
        ({"trusted": "few.jsonl"}, [], "the trusted set has 20"),
        ({"trusted": "one.jsonl"}, [], "one label only"),
        ({"trusted": "others.jsonl"}, [], "not those of the trusted set"),
        ({}, ["--poison=0.9"], "--poison"),
    ],
    ids=["attack", "stream", "trusted", "one-label", "labels", "share"],
)
def test_what_cannot_be_attacked_is_said(
    files: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, str],
    more: list[str],
    says: str,
) -> None:
    write(tmp_path / "few.jsonl", labelled(20))
    one = [item for item in labelled(1_000) if item.label == "pin"]
    write(tmp_path / "one.jsonl", one)
    lines = [json.dumps({**item.to_json(), "label": f"x{item.label}"}) + "\n" for item in labelled(300)]
    (tmp_path / "others.jsonl").write_text("".join(lines))
    code, report = redteam(files, "guarded", *more, **{name: str(tmp_path / file) for name, file in changes.items()})
    assert (code, report) == (3, {})
    assert says in capsys.readouterr().err


def test_a_bad_line_is_named(files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.jsonl").write_text("not json\n")
    assert redteam(files, "guarded", stream=str(tmp_path / "bad.jsonl"))[0] == 2
    assert "bad.jsonl:1" in capsys.readouterr().err
