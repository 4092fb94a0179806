"""A hundred deliveries of one request to several processes on one database, some of which are killed: one effect."""

from __future__ import annotations

import collections
import contextlib
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from feedback_guard.ledger.verify import verify
from tests.forks import start
from tests.guards import labelled, trusted_baseline
from tests.patience import PATIENCE_SECONDS
from tests.postgres import postgres_url as postgres_url
from tests.serving import Answer, Client

WORKERS = 3
AGAIN = frozenset({409, 503})


class Worker:
    """A process that serves, on a port of its own that outlives it."""

    def __init__(self, folder: Path, url: str, effects: Path, lost_seconds: float) -> None:
        self._arguments = (folder, url, effects, lost_seconds)
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(256)
        self.port = int(self._socket.getsockname()[1])
        self.start()

    def start(self) -> None:
        self.process = start("tests.middleware.worker", *self._arguments, sockets=[self._socket])

    def wait_until_ready(self) -> None:
        assert self.process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        self.process.close()

    def close(self) -> None:
        self.kill()
        self._socket.close()


class Fleet:
    """Several workers on one database, and clients that try again as they are told."""

    def __init__(self, folder: Path, url: str, effects: Path, lost_seconds: float) -> None:
        self.effects_file = effects
        self.workers = [Worker(folder, url, effects, lost_seconds) for _ in range(WORKERS)]
        self.texts = iter(labelled(1_000, seed=21))
        for worker in self.workers:
            worker.wait_until_ready()

    def request(self, name: str) -> tuple[dict[str, str], str]:
        """A request that no other is like, and its contributor."""
        item = next(self.texts)
        return {"text": item.input, "topic": str(item.label), "request": name}, f"user-{name}"

    def deliver(self, body: Any, user: str, key: str | None, first: int) -> Answer:
        """Deliver until there is an answer, at one worker after the other."""
        headers = {"X-User": user} | ({"Idempotency-Key": f'"{key}"'} if key else {})
        until = time.monotonic() + PATIENCE_SECONDS
        for attempt in range(10_000):
            worker = self.workers[(first + attempt) % WORKERS]
            try:
                with Client(worker.port) as client:
                    client.socket.settimeout(15)
                    client.request("POST", "/feedback", body, headers)
                    answer = client.answer()
            except (OSError, HTTPException):
                pass  # it was killed; its port still listens, so a new process may answer
            else:
                if answer.status not in AGAIN:
                    return answer
            assert time.monotonic() < until, "no answer"
            threading.Event().wait(0.05)
        raise AssertionError("unreachable")

    def deliver_at_once(self, n: int, name: str, *, keyed: bool, during: Any = None) -> list[Answer]:
        body, user = self.request(name)
        with ThreadPoolExecutor(n) as pool:
            waiting = [pool.submit(self.deliver, body, user, name if keyed else None, k) for k in range(n)]
            if during is not None:
                during()
            return [each.result() for each in waiting] + [self.deliver(body, user, name if keyed else None, 0)]

    def effects(self) -> dict[str, list[str]]:
        found = collections.defaultdict(list)
        if self.effects_file.exists():
            for line in self.effects_file.read_text().splitlines():
                effect = json.loads(line)
                found[effect["request"]].append(effect["effect"])
        return found


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def fleet_of(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[float], Fleet]]:
    """Starts a fleet that takes a worker for lost after so many seconds without a sign of life."""
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/guard.db" if sqlite else request.getfixturevalue("postgres_url")
    with contextlib.ExitStack() as stack:

        def begin(lost_seconds: float) -> Fleet:
            opened = Fleet(trusted_baseline().parent, url, tmp_path / "effects.jsonl", lost_seconds)
            for worker in opened.workers:
                stack.callback(worker.close)
            return opened

        yield begin
        stack.close()
        assert verify(url).clean


def test_a_hundred_parallel_deliveries_have_one_effect(fleet_of: Callable[[float], Fleet]) -> None:
    fleet = fleet_of(PATIENCE_SECONDS)  # all of them live, however long a machine lets one stand still
    for name, keyed in (("with-a-key", True), ("by-its-body", False)):
        answers = fleet.deliver_at_once(100, name, keyed=keyed)
        (effect,) = fleet.effects()[name]
        assert {(answer.status, answer.body) for answer in answers} == {(201, effect.encode())}


def test_workers_that_are_killed_repeat_no_effect_and_block_nobody(fleet_of: Callable[[float], Fleet]) -> None:
    fleet = fleet_of(5.0)
    rng = random.Random(5)
    outcomes: collections.Counter[int] = collections.Counter()
    for number in range(6):
        victim = fleet.workers[number % WORKERS]

        def kill(victim: Worker = victim) -> None:
            threading.Event().wait(rng.uniform(0.0, 0.15))
            victim.kill()
            victim.start()

        name = f"killed-{number}"
        answers = fleet.deliver_at_once(30, name, keyed=number % 2 == 0, during=kill)
        victim.wait_until_ready()
        effects = fleet.effects().get(name, [])
        assert len(effects) <= 1
        seen = {(answer.status, answer.body if answer.status == 201 else b"") for answer in answers}
        assert seen in ({(201, effects[0].encode())} if effects else set(), {(500, b"")}), seen
        outcomes[answers[0].status] += 1
    assert outcomes[201] > 0
