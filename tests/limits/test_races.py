"""Real processes race for one budget on real servers and are killed; what was admitted is counted afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.races import excess
from feedback_guard.limits.checks import over_admitted, rate
from feedback_guard.limits.interface import UNIT
from tests.patience import PATIENCE_SECONDS
from tests.redis import Server


def raced(*arguments: str, bug: str | None = None) -> dict[str, Any]:
    """What came of a race in a process of its own, which forks the others before it has any threads."""
    module = ["benchmarks.races"] if bug is None else ["tests.limits.wrong_races", bug]
    done = subprocess.run(
        [sys.executable, "-m", *module, *arguments],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr[-2000:]
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def fast(processes: int = 6, attempts: int = 2_000, kills: int = 4) -> list[str]:
    return [
        *("--processes", str(processes), "--attempts", str(attempts), "--kills", str(kills), "--group", "16"),
        *("--lifetime", "1000", "--burst", "300", "--per-hour", "3600"),
    ]


def test_nothing_more_is_admitted_and_nothing_leaks_on_sqlite(tmp_path: Path) -> None:
    result = raced("--url", f"sqlite:///{tmp_path}/race.db", *fast())
    assert result["broken"] == []
    assert (result["lifetime_admitted"], result["lifetime_leaked"], result["killed"]) == (1_000, 0, 4)
    assert result["rate_admitted"] >= 300


@pytest.mark.postgres
def test_nothing_more_is_admitted_and_nothing_leaks_on_postgresql(postgres_url: str) -> None:
    result = raced("--url", postgres_url, "--skew-seconds", "3600", *fast(attempts=1_000))
    assert result["broken"] == []
    assert (result["lifetime_admitted"], result["lifetime_leaked"], result["killed"]) == (1_000, 0, 4)
    assert result["rate_admitted"] >= 300


@pytest.mark.postgres
@pytest.mark.redis
def test_nothing_more_is_admitted_and_nothing_leaks_behind_a_redis_that_is_emptied(
    postgres_url: str, redis_server: Server
) -> None:
    result = raced("--url", postgres_url, "--redis", redis_server.url, *fast(attempts=1_000))
    assert result["broken"] == []
    assert (result["lifetime_admitted"], result["lifetime_leaked"], result["killed"]) == (1_000, 0, 4)


def test_each_step_between_clocks_gives_one_burst_at_most_on_sqlite(tmp_path: Path) -> None:
    result = raced("--url", f"sqlite:///{tmp_path}/race.db", "--skew-seconds", "3600", *fast(3, 1_000, 0))
    assert result["broken"] == []
    assert result["rate_over"] == 0


def test_what_a_commit_that_was_not_answered_charged_stays_charged(tmp_path: Path) -> None:
    result = raced("--url", f"sqlite:///{tmp_path}/race.db", "--unknown", "0.1", *fast(3, 1_000, 0))
    assert result["broken"] == []
    assert result["lifetime_admitted"] == 1_000


WRONG = [
    pytest.param("read_then_write", "sqlite", ["--group", "1"], id="read-then-write"),
    pytest.param("no_lock", "postgresql", [], id="no-lock", marks=pytest.mark.postgres),
    pytest.param("release_on_unknown", "sqlite", ["--unknown", "0.2"], id="release-on-unknown"),
    pytest.param("trusts_its_own_clock", "sqlite", ["--skew-seconds", "3600", "--group", "1"], id="own-clock"),
    pytest.param(
        "redis_alone",
        "sqlite",
        ["--kills", "2", "--lifetime", "200", "--attempts", "500"],
        id="redis-alone",
        marks=pytest.mark.redis,
    ),
]


@pytest.mark.parametrize(("bug", "store", "arguments"), WRONG)
def test_the_race_notices(
    bug: str, store: str, arguments: list[str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if bug == "redis_alone":
        arguments = [*arguments, "--redis", request.getfixturevalue("redis_server").url]
    # Whether a race is lost is a matter of chance, where the processes hardly run at the same time: it has some goes.
    for go in range(5 if store == "sqlite" else 1):
        url = f"sqlite:///{tmp_path}/race{go}.db" if store == "sqlite" else request.getfixturevalue("postgres_url")
        result = raced("--url", url, *fast(3, 1_500, 0), *arguments, bug=bug)
        if result["broken"]:
            break
    assert result["broken"], result
    assert result["lifetime_over"] or result["rate_over"] > 0 or result["rate_over_real_time"] > 600, result


def test_the_oracle_of_the_race_agrees_with_brute_force() -> None:
    budget = rate(10, 1_000_000, 3)
    for times in ([0, 0, 0], [0, 0, 0, 99_999], [0, 0, 0, 100_000], [5, 4, 3, 2], [0, 10**7, 0, 0, 0], [0, 9, 9, 9]):
        brute = over_admitted(budget, [(at_us, UNIT) for at_us in times])
        assert (excess(budget, times) > 0) is (brute is not None), times
