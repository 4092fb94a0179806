"""`feedback-guard baseline`: built from a file, shown, refused, and proposed from what the guard has observed."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from feedback_guard.cli.main import run
from feedback_guard.contribution import Contribution
from feedback_guard.evidence.baseline import load
from feedback_guard.jsonl import read_contributions
from feedback_guard.policy.routes import OnHold
from tests.guards import labelled, make_guard, submit

POLICY = "name: test\nstore: {{url: 'sqlite:///{folder}/guard.db'}}\nembedding: {{backend: unsafe-hashing-for-tests}}\n"


@pytest.fixture
def policy(tmp_path: Path) -> str:
    (tmp_path / "policy.yaml").write_text(POLICY.format(folder=tmp_path))
    return str(tmp_path / "policy.yaml")


def write(path: Path, items: Iterable[Contribution]) -> str:
    text = "".join(json.dumps(item.to_json()) + "\n" for item in items).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return str(path)


def build(trusted: str, policy: str, out: Path, *more: str) -> int:
    return run(["baseline", "build", trusted, "--policy", policy, "--out", str(out), *more])


def test_build_prints_the_digest_that_a_policy_pins_and_show_confirms_it(
    tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(write(tmp_path / "trusted.jsonl.gz", labelled(200)), policy, tmp_path / "b") == 0
    built = capsys.readouterr()
    digest = built.out.splitlines()[0].removeprefix("digest: ")
    assert load(tmp_path / "b", fingerprint=None, digest=digest).n_trusted == 200
    assert "trusted: 200 (200 label)" in built.out
    assert "least p-value: 0.005 for a label" in built.out
    assert "note: 200 trusted labels: novelty alone cannot hold one" in built.out
    assert run(["baseline", "show", str(tmp_path / "b")]) == 0
    assert capsys.readouterr().out == built.out
    assert run(["baseline", "show", str(tmp_path / "b"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["digest"], shown["labels"]["card"]) == (f"sha256:{digest}", 50)


def test_show_speaks_of_the_policy_that_is_given(
    tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    build(write(tmp_path / "trusted.jsonl", labelled(200)), policy, tmp_path / "b")
    (tmp_path / "loose.yaml").write_text(Path(policy).read_text() + "signals: {false_hold_rate: 0.2}\n")
    capsys.readouterr()
    assert run(["baseline", "show", str(tmp_path / "b"), "--policy", str(tmp_path / "loose.yaml")]) == 0
    assert "cannot hold" not in capsys.readouterr().out


def test_show_of_an_altered_baseline_ends_with_2(
    tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    build(write(tmp_path / "trusted.jsonl", labelled(100)), policy, tmp_path / "b")
    manifest = tmp_path / "b" / "baseline.json"
    manifest.write_text(manifest.read_text().replace('"n_trusted": 100', '"n_trusted": 999'))
    assert run(["baseline", "show", str(tmp_path / "b")]) == 2
    assert "altered or damaged" in capsys.readouterr().err


def test_an_existing_baseline_is_kept_unless_forced(
    tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    trusted = write(tmp_path / "trusted.jsonl", labelled(100))
    assert build(trusted, policy, tmp_path / "b") == 0
    assert build(trusted, policy, tmp_path / "b") == 3
    assert "--force" in capsys.readouterr().err
    assert build(write(tmp_path / "more.jsonl", labelled(120)), policy, tmp_path / "b", "--force") == 0
    assert load(tmp_path / "b", fingerprint=None, digest=None).n_trusted == 120


@pytest.mark.parametrize(
    ("items", "says"),
    [
        ([], "the trusted set is empty"),
        ([*labelled(60), *labelled(1)], "stands 2 times"),
        ([*labelled(3)], "the trusted set has 3"),
    ],
    ids=["nothing", "an id twice", "too few"],
)
def test_a_trusted_set_that_cannot_be_used_leaves_nothing_behind(
    tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str], items: list[Contribution], says: str
) -> None:
    assert build(write(tmp_path / "trusted.jsonl", items), policy, tmp_path / "b") == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_a_bad_line_is_named(tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "trusted.jsonl").write_text("{}\n")
    assert build(str(tmp_path / "trusted.jsonl"), policy, tmp_path / "b") == 2
    assert "trusted.jsonl:1: " in capsys.readouterr().err


def observe(folder: Path, items: Iterable[Contribution]) -> None:
    async def judge() -> None:
        guard = make_guard(folder, baseline={})
        for item in items:
            await guard.judge(submit(item, on_hold=OnHold.PASS, request=None))
        await guard.stop()

    asyncio.run(judge())


def test_propose_takes_from_what_was_observed_and_its_file_is_read_by_build(
    tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    observe(tmp_path, [*labelled(160, seed=1), *labelled(60, seed=2, who="flooder", prefix="f")])
    out = tmp_path / "proposal.jsonl"
    assert run(["baseline", "propose", "--policy", policy, "--out", str(out), "--size", "100"]) == 0
    assert "Read every line" in capsys.readouterr().out
    chosen = list(read_contributions(out))
    assert len(chosen) == 100
    assert max(Counter(item.contributor for item in chosen).values()) <= 3
    assert set(Counter(item.label for item in chosen)) == {"card", "transfer", "cash", "pin"}
    assert build(str(out), policy, tmp_path / "b") == 0


def test_propose_writes_over_nothing_and_says_when_there_is_nothing_yet(
    tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "proposal.jsonl"
    assert run(["baseline", "propose", "--policy", policy, "--out", str(out)]) == 3
    assert "no contribution yet" in capsys.readouterr().err
    assert not out.exists()
    out.write_text("vetted by hand\n")
    assert run(["baseline", "propose", "--policy", policy, "--out", str(out)]) == 3
    assert out.read_text() == "vetted by hand\n"


def test_a_label_cannot_command_the_terminal(tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    items = [
        Contribution(f"x{i}", i, "u", item.kind, item.input, "\x1b]0;owned\x07") for i, item in enumerate(labelled(60))
    ]
    assert build(write(tmp_path / "trusted.jsonl", items), policy, tmp_path / "b") == 0
    shown = capsys.readouterr().out
    assert "?]0;owned?" in shown
    assert not {"\x1b", "\x07"} & set(shown)
