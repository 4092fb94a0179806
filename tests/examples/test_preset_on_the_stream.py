"""What the example's policy holds of honest corrections, all of them by accounts that nobody has seen before."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from attack_demo.run import POLICY, TRUSTED
from attack_demo.stream import Party, make_stream
from feedback_guard.cli.main import run as command

MINUTE_US = 60_000_000


def _policy(folder: Path, **changes: object) -> Path:
    file = folder / "policy.yaml"
    own = {"extends": str(POLICY), "embedding": {"backend": "unsafe-hashing-for-tests"}, **changes}
    file.write_text(json.dumps(own))
    return file


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of what the bank's staff has vetted: to build it takes longer than to judge the stream."""
    folder = tmp_path_factory.mktemp("preset")
    made = folder / "baseline"
    assert command(["baseline", "build", str(TRUSTED), "--policy", str(_policy(folder)), "--out", str(made)]) == 0
    return made


def _decisions(tmp_path: Path, baseline: Path, **changes: object) -> Counter[str]:
    """Decisions on the honest corrections, sent within a minute as the demo does."""
    honest = [each for each in make_stream() if each.party is Party.HONEST]
    stream, verdicts = tmp_path / "stream.jsonl", tmp_path / "verdicts.jsonl"
    with stream.open("w") as out:
        for n, each in enumerate(honest):
            second, micro = divmod(round(each.due * (MINUTE_US - 1)), 1_000_000)
            row = {"id": f"c{n}", "at": f"2026-01-05T12:00:{second:02d}.{micro:06d}Z", "contributor": each.account}
            out.write(json.dumps({**row, "kind": "label", "input": each.question, "label": each.intent}) + "\n")
    judged_by = ["--baseline", str(baseline), "--policy", str(_policy(tmp_path, **changes))]
    assert command(["replay", str(stream), *judged_by, "--out", str(verdicts)]) in (0, 1)
    return Counter(json.loads(line)["decision"] for line in verdicts.read_text().splitlines())


def test_few_honest_corrections_are_held_on_the_first_day(tmp_path: Path, baseline: Path) -> None:
    """Everybody is new on the day on which a guard is set up; that alone holds nobody."""
    found = _decisions(tmp_path, baseline)
    assert found["quarantine"] + found["limit"] <= 0.06 * found.total(), found


def test_a_pool_of_newcomers_that_is_too_small_shows(tmp_path: Path, baseline: Path) -> None:
    """What went wrong once, and what the test above is for."""
    found = _decisions(tmp_path, baseline, newcomers={"pool": 1000})
    assert found["quarantine"] > 0.5 * found.total(), found
