"""`feedback-guard teaches`, on a store that a guard wrote."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from feedback_guard.cli.main import ExitCode, run
from tests.guards import labelled, make_guard, submit


def next_to(i: int) -> str:
    """Words that say nothing about a topic."""
    words = "please my the when why did how can is it still not for to do you know help today yet".split()
    return " ".join(random.Random(i).sample(words, 7))


@pytest.mark.anyio
async def test_says_in_words_what_is_taught(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    guard = make_guard(tmp_path, limits=[])
    await guard.start()
    try:
        for i, item in enumerate(labelled(160, seed=3)):
            neobank = item.label == "pin"
            await guard.judge(submit(replace(item, input=f"neobank {next_to(i)}") if neobank else item, request=None))
            if i % 40 == 39:
                await guard.catch_up()
        await guard.catch_up()
        page = guard.metrics.render()[0].decode()
    finally:
        await guard.stop()
    assert "neobank" not in page
    assert "feedback_guard_teaching_statistic" in page
    assert "feedback_guard_teaching_divergence" in page
    policy = tmp_path / "policy.yaml"
    whole = {
        "version": 1,
        "name": "test",
        "store": {"url": f"sqlite:///{tmp_path}/guard.db"},
        "baseline": {"path": str(tmp_path / "baseline")},
    }
    policy.write_text(yaml.safe_dump(whole))
    code, said = run(["teaches", "--policy", str(policy)]), capsys.readouterr()
    assert code == ExitCode.FINDINGS, said.err
    assert "accepted contributions of labels and votes were learnt" in said.out
    assert "drift: the stream" in said.out
    assert "share the phrase 'neobank'" in said.out
    assert "label 'pin'" in said.out


def test_without_a_baseline_it_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["teaches", "--policy", "observe"]) == ExitCode.USAGE
    assert "baseline" in capsys.readouterr().err
