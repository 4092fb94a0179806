"""A guard's process is killed between any two steps, behind the middleware and behind the gateway.

Whatever the step: what a client was told is recorded once, what the application did was recorded before, with the same
body, and happened once. Each of these is seen to fail with a bug in the guard (`BUGS`).
"""

from __future__ import annotations

import collections
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from feedback_guard.store.states import Delivery
from tests.faults.history import LIMITED, NOT_DONE, UNSCORABLE, History, Told
from tests.faults.points import BUGS, NOTHING_YET, POINTS
from tests.faults.serving import ANSWER, effect
from tests.gateway.upstreams import Seen, Upstream
from tests.guards import labelled, trusted_baseline, use_store
from tests.patience import PATIENCE_SECONDS
from tests.postgres import postgres_store_url as postgres_store_url
from tests.serving import Client

LOST = "lost"
"""In the name of a request: the upstream does what it asks, and closes the connection instead of answering."""
BIT_BY_BIT = "slow"
"""In the name of a request: the upstream answers byte by byte."""


AT_ONCE = "the client has its answer"
"""The process is killed from outside, as soon as the answer was read to its end."""
KEPT = {"after the answer is kept", "before the outcome", "in the outcome", "after the answer", AT_ONCE}
"""Points where the answer is kept, though its outcome is not recorded yet."""


class Processes:
    """Starts guarded processes; each is a fork of one that has imported everything."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.faults.serving"]
        self._parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def _ask(self, **command: Any) -> None:
        assert self._parent.stdin is not None
        self._parent.stdin.write(json.dumps(command) + "\n")
        self._parent.stdin.flush()

    def _said(self) -> list[str]:
        assert self._parent.stdout is not None
        return self._parent.stdout.readline().split()

    def serve(self, door: str, folder: Path, point: str, bug: str, upstream: str) -> tuple[int, int]:
        """Start one, and return its port and its process."""
        self._ask(door=door, folder=str(folder), point=point, bug=bug, upstream=upstream)
        word, port, pid = self._said()
        assert word == "ready"
        return int(port), int(pid)

    def kill(self, pid: int) -> None:
        """End one, which may have ended itself."""
        self._ask(end=pid)
        self.wait(pid)

    def wait(self, pid: int) -> None:
        self._ask(wait=pid)
        assert self._said() == ["ended", str(-signal.SIGKILL)]

    def close(self) -> None:
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.close()
        self._parent.wait(PATIENCE_SECONDS)
        self._parent.stdout.close()


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    started = Processes()
    yield started
    started.close()


def send(port: int, name: str, told: Told) -> int | None:
    """Send a request once; the status of its answer, if that came to its end."""
    headers = {"X-User": "ada", "Idempotency-Key": f'"{name}"'}
    with contextlib.suppress(OSError, HTTPException), Client(port) as client:
        client.request("POST", "/feedback", told.body, headers)
        answer = client.answer()
        told.answers.append((answer.status, answer.body))
        return answer.status
    return None


def until_answered(port: int, name: str, told: Told) -> int:
    end = time.monotonic() + PATIENCE_SECONDS
    while (status := send(port, name, told)) is None or status in NOT_DONE:
        assert time.monotonic() < end, f"{name}: {told.answers[-3:]}"
        time.sleep(0.1)
    return status


@contextlib.contextmanager
def doing(folder: Path) -> Iterator[Upstream]:
    """An upstream that does what it is asked to."""

    def answer(seen: Seen) -> bytes | None:
        effect(folder, seen.body)
        name = json.loads(seen.body)["request"].encode()
        if LOST.encode() in name:
            return None
        return b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%s%s" % (len(ANSWER + name), ANSWER, name)

    with Upstream(answer) as upstream:
        yield upstream


def lived_through(
    processes: Processes,
    door: str,
    folder: Path,
    points: Sequence[str],
    *,
    bug: str = "",
    mark: str = "",
    cap: int | None = None,
    fails_open: bool = False,
) -> tuple[History, dict[str, tuple[list[str], int]], list[str]]:
    """Kill a process at each point; then let one live that all requests are sent to again.

    Returns the history, what was there of each request before it came again, and which invariants did not hold then.
    """
    shutil.copytree(trusted_baseline(), folder / "baseline")
    each = [{"name": "each", "facet": "contributor", "measure": "count", "amount": cap}] if cap else []
    (folder / "more.json").write_text(json.dumps({"limits": each, "failure": {"fail_open": fails_open}}))
    names = [f"{door}-{number}-{mark}" for number in range(len(points))]
    said = f" {mark}" if mark == UNSCORABLE else ""
    bodies = [
        json.dumps({"text": f"{item.input}{said}", "topic": str(item.label), "request": name}).encode()
        for name, item in zip(names, labelled(len(points), seed=21), strict=True)
    ]
    sent = {name: Told(body) for name, body in zip(names, bodies, strict=True)}
    history = History(folder, sent, cap=cap, fails_open=fails_open)
    with doing(folder) as upstream:
        for (name, told), point in zip(history.told.items(), points, strict=True):
            port, pid = processes.serve(door, folder, point, bug, upstream.url)
            send(port, name, told)
            history.kills += 1
            (processes.wait if point in POINTS[door] else processes.kill)(pid)
        port, pid = processes.serve(door, folder, "", bug, upstream.url)
        end = time.monotonic() + (8.0 if bug else PATIENCE_SECONDS)  # there is a bug that leaves one open for ever
        while any(Delivery.DISPATCHING.value in states for states in history.states().values()):
            if time.monotonic() > end:
                break
            time.sleep(0.1)
        early, effects = history.broken(), history.effects()
        again = {} if early else history.told
        before = {
            point: (history.states()[name], len(effects[name])) for name, point in zip(names, points, strict=True)
        }
        for name, told in again.items():
            until_answered(port, name, told)
        processes.kill(pid)
    return history, before, early


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where processes have their files, and where it says which database they share."""
    if request.param == "postgresql":
        use_store(tmp_path, request.getfixturevalue("postgres_store_url"))
    return tmp_path


@pytest.mark.parametrize("door", POINTS)
def test_killed_between_any_two_steps(processes: Processes, door: str, folder: Path) -> None:
    points = (*POINTS[door], AT_ONCE)
    history, before, early = lived_through(processes, door, folder, points)
    assert early == []
    assert history.broken() == []
    for name, point in zip(history.told, points, strict=True):
        states, effects = before[point]
        answer = ANSWER + name.encode()
        if point in NOTHING_YET:
            assert (states, effects) == ([], 0), point
            assert history.told[name].answers[-1] == (201, answer), "it was as if it had never been sent"
        elif states == [Delivery.DELIVERED]:
            assert effects == 1, point
            assert history.told[name].answers[-1] == (201, answer), point
        else:
            assert states == [Delivery.UNKNOWN], point
            told = history.told[name].answers[-1]
            assert told[0] == 500 or told == (201, answer), f"{point}: nobody can tell, or the answer was kept"
            assert (told[0] == 201) is (point in KEPT), point
    assert {effects for states, effects in before.values() if states == [Delivery.UNKNOWN]} == {0, 1}
    assert before["after the outcome"][0] == [Delivery.DELIVERED]


def test_a_gateway_sends_nothing_twice_to_an_upstream_that_dies_after_the_effect(
    processes: Processes, tmp_path: Path
) -> None:
    history, before, early = lived_through(processes, "gateway", tmp_path, ("",), mark=LOST)
    assert (early, history.broken()) == ([], [])
    assert before[""] == ([Delivery.UNKNOWN], 1)


@pytest.mark.parametrize("door", POINTS)
def test_no_budget_is_exceeded_whoever_is_killed(processes: Processes, door: str, tmp_path: Path) -> None:
    points = ("in the record", "after the record", "before the outcome", AT_ONCE, AT_ONCE, "before the record", AT_ONCE)
    history, _, early = lived_through(processes, door, tmp_path, points, cap=3)
    assert (early, history.broken()) == ([], [])
    answers = collections.Counter(told.answers[-1][0] for told in history.told.values())
    assert answers[LIMITED] == 4, "what was killed in its record was charged nothing"
    assert sum(map(len, history.effects().values())) == 2, "one was killed before it could have its effect"


@pytest.mark.parametrize("fails_open", [False, True])
@pytest.mark.parametrize("door", POINTS)
def test_nothing_passes_unscored_unless_the_policy_says_so(
    processes: Processes, door: str, fails_open: bool, tmp_path: Path
) -> None:
    points = ("after the record", AT_ONCE)
    history, _, early = lived_through(processes, door, tmp_path, points, mark=UNSCORABLE, fails_open=fails_open)
    assert (early, history.broken()) == ([], [])
    assert bool(history.effects()) is fails_open
    if not fails_open:
        assert {told.answers[-1][0] for told in history.told.values()} == {202}


WRONG = {
    "calls_before_the_record": ("middleware", AT_ONCE, "I2"),
    "acknowledges_before_the_commit": ("middleware", AT_ONCE, "I1"),
    "recognises_nothing": ("middleware", "after the outcome", "I3"),
    "begins_anew_after_a_crash": ("middleware", "after the effect", "I3"),
    "rewrites_the_body": ("middleware", AT_ONCE, "I2"),
    "sends_twice": ("gateway", AT_ONCE, "I3"),
    "forgets_the_outcome": ("gateway", "after the body", "I9"),
    "tells_before_it_keeps": ("gateway", AT_ONCE, "F12"),
    "forgets_what_was_charged": ("middleware", AT_ONCE, "I5"),
    "passes_what_it_cannot_score": ("gateway", AT_ONCE, "I7"),
}


@pytest.mark.parametrize("bug", BUGS)
def test_the_history_tells_of_a_bug(processes: Processes, bug: str, tmp_path: Path) -> None:
    door, point, invariant = WRONG[bug]
    cap = 1 if invariant == "I5" else None
    mark = {"sends_twice": LOST, "passes_what_it_cannot_score": UNSCORABLE}.get(bug, "")
    points = [point] * (3 if cap else 1)
    history, _, early = lived_through(processes, door, tmp_path, points, bug=bug, mark=mark, cap=cap)
    found = [*early, *history.broken()]
    assert any(line.startswith(invariant) for line in found), found
