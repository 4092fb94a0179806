"""`feedback-guard serve` as processes: how it starts, lives and ends."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import pytest

from feedback_guard.cli import main
from feedback_guard.clock import SystemClock
from feedback_guard.policy.loader import load_policy
from feedback_guard.store.database import Store
from feedback_guard.store.states import Delivery
from tests.gateway.upstreams import OK, Seen, Upstream
from tests.guards import labelled, trusted_baseline
from tests.patience import PATIENCE_SECONDS
from tests.serving import Answer, Client

ROOT = Path(__file__).resolve().parents[2]
POLICY = """\
extends: balanced
store: {{url: "sqlite:///{folder}/guard.db"}}
baseline: {{path: "{baseline}"}}
embedding: {{backend: unsafe-hashing-for-tests, deadline: 30s}}
signals: {{false_hold_rate: 0.05}}
identity: {{missing: anonymous}}
limits:
  - {{name: contributor-rate, facet: contributor, measure: count, amount: 100000, per: 1h}}
routes:
  - {{name: feedback, path: /feedback, extract: "{{kind: 'label', input: input, label: label}}"}}
"""
GOOD = [{"input": item.input, "label": item.label} for item in labelled(8, seed=3)]
BAD = [{"input": item.input, "label": item.label} for item in labelled(40, seed=4, flip=True)]


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY.format(folder=tmp_path, baseline=trusted_baseline()))
    return file


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


class Served:
    """A gateway, started as its users do."""

    def __init__(self, policy: Path, upstream: str, *options: str, env: dict[str, str] | None = None) -> None:
        self._command = [sys.executable, "-m", "feedback_guard", "serve", "--policy", str(policy)]
        self._command += ["--upstream", upstream, "--port", "0", "--admin", "127.0.0.1:0", *options]
        self._env = environment() | (env or {})
        self.said = ""
        self.port = self.admin = 0

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(self._command, stderr=subprocess.PIPE, text=True, env=self._env)
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        try:
            self.wait_for(r"metrics: http://127.0.0.1:(\d+)")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.port = int(self.find(r"in front of \S+: http://127.0.0.1:(\d+)"))
        self.admin = int(self.find(r"metrics: http://127.0.0.1:(\d+)"))
        return self

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.said += line
                self._changed.notify_all()

    def wait_for(self, pattern: str, seconds: float = PATIENCE_SECONDS) -> None:
        def there() -> bool:
            return re.search(pattern, self.said) is not None or self.process.poll() is not None

        with self._changed:
            self._changed.wait_for(there, seconds)
        assert re.search(pattern, self.said), self.said

    def find(self, pattern: str) -> str:
        match = re.search(pattern, self.said)
        assert match, self.said
        return match[1]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE_SECONDS)
            finally:
                self.process.kill()
        self._reader.join(PATIENCE_SECONDS)
        assert self.process.stderr is not None
        self.process.stderr.close()

    def end(self, number: int = signal.SIGTERM, seconds: float = PATIENCE_SECONDS) -> int:
        self.process.send_signal(number)
        return self.process.wait(seconds)

    def children(self, role: str) -> list[psutil.Process]:
        found = psutil.Process(self.process.pid).children()
        return [child for child in found if role in child.cmdline()]

    def post(self, path: str, body: object, *, port: int | None = None) -> Answer:
        with Client(port or self.port) as client:
            client.request("POST", path, body)
            return client.answer()

    def get(self, path: str, *, port: int) -> Answer:
        with Client(port) as client:
            client.request("GET", path)
            return client.answer("GET")

    def held(self) -> str:
        for body in BAD:
            answer = self.post("/feedback", body)
            if answer.status == 202:
                return str(answer.json["id"])
        raise AssertionError("nothing was held")


@contextlib.contextmanager
def store(policy: Path) -> Iterator[Store]:
    opened = Store.open(load_policy(policy).policy.store, clock=SystemClock())
    try:
        yield opened
    finally:
        opened.close()


def until(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "feedback_guard", *arguments],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=PATIENCE_SECONDS,
        check=False,
    )


# How it starts.


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--upstream", "app:5000"], "--upstream 'app:5000' is not `http://HOST:PORT`"),
        (["--upstream", "http://app/prefix"], "takes no path"),
        (["--upstream", "http://127.0.0.1:8787"], "is the gateway itself"),
        (["--upstream", "http://localhost:8788"], "is the gateway itself"),
        (["--upstream", "http://app", "--admin", "8788"], "neither HOST:PORT nor `off`"),
        (["--upstream", "http://app", "--admin", "127.0.0.1:99999"], "neither HOST:PORT nor `off`"),
        (["--upstream", "http://app", "--trusted-proxy", "proxy.example"], "neither an address nor a network"),
        (["--upstream", "http://app", "--host-header", "a/b"], "is not a host"),
        (["--upstream", "http://app", "--upstream-ca", "ca.pem"], "is for an https upstream"),
        (["--upstream", "https://app", "--upstream-ca", "ca.pem"], "is not a file"),
        (["--upstream", "http://app", "--workers", "0"], "--workers"),
        (["--upstream", "http://app", "--port", "99999"], "--port"),
        ([], "--upstream"),
    ],
)
def test_a_wrong_command_is_told_in_a_sentence(
    options: list[str], sentence: str, policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["serve", "--policy", str(policy), *options]) == 3
    said = capsys.readouterr().err
    assert sentence in said
    assert "Traceback" not in said


def test_a_policy_that_is_not_there_or_has_no_routes_is_told(tmp_path: Path) -> None:
    done = run("serve", "--policy", str(tmp_path / "none.yaml"), "--upstream", "http://app")
    assert done.returncode in {2, 3}
    assert "none.yaml" in done.stderr
    done = run("serve", "--policy", "balanced", "--upstream", "http://app")
    assert done.returncode == 3
    assert "has no routes" in done.stderr


def test_a_port_in_use_is_told(policy: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for option in (["--port", port], ["--port", "0", "--admin", f"127.0.0.1:{port}"]):
            done = run("serve", "--policy", str(policy), "--upstream", "http://app", *option)
            assert done.returncode == 2
            assert f"cannot listen on 127.0.0.1:{port}" in done.stderr


def test_a_worker_that_cannot_start_ends_the_gateway(policy: Path) -> None:
    text = policy.read_text().replace(str(trusted_baseline()), "nowhere")
    policy.write_text(text)
    done = run("serve", "--policy", str(policy), "--upstream", "http://app", "--port", "0", "--admin", "127.0.0.1:0")
    assert done.returncode == 2
    assert "nowhere" in done.stderr
    assert "the worker could not start; the reason stands above" in done.stderr
    assert "Traceback" not in done.stderr


# How it lives.


def test_two_workers_judge_hold_replay_and_count_together(policy: Path, tmp_path: Path) -> None:
    with Upstream() as upstream, Served(policy, upstream.url, "--workers", "2") as served:
        for body in GOOD:
            assert served.post("/feedback", body).status in {200, 202}
        item = served.held()
        seen = len(upstream.seen)
        assert run("review", "approve", item, "--policy", str(policy)).returncode == 0
        upstream.wait_for(lambda: len(upstream.seen) == seen + 1)
        assert json.loads(upstream.seen[-1].body) in BAD

        page = served.get("/metrics", port=served.admin).body.decode()
        pattern = r'requests_total\{outcome="(?:accepted|held)",route="feedback"\} (\S+)'
        judged = sum(float(value) for value in re.findall(pattern, page))
        with store(policy) as opened:
            held = opened.held_summary().count
        assert judged == seen + held + 1
        assert served.get("/healthz", port=served.admin).status == 200
        assert b"Log in" in served.get("/login", port=served.admin).body

        for path in ("/metrics", "/healthz", "/login", "/api/v1/held"):
            with Client(served.port) as client:
                client.request("GET", path)
                assert client.answer("GET").body == b"ok", "on the public listener everything is the application's"
        assert served.post("/feedback", GOOD[0], port=served.admin).status in {404, 405}
        assert len(served.children("worker")) == 2
        assert served.end() == 0
    assert "WARNING" not in re.sub(r".*(?:hashing embedder|names nobody).*\n", "", served.said)


def test_an_upstream_that_comes_later_is_no_error(policy: Path) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        with Served(policy, f"http://127.0.0.1:{reserved.getsockname()[1]}") as served:
            answer = served.post("/other", {})
            assert (answer.status, answer.json["code"]) == (502, "upstream_unreachable")


def test_a_worker_that_is_killed_is_replaced(policy: Path) -> None:
    with Upstream() as upstream, Served(policy, upstream.url) as served:
        (worker,) = served.children("worker")
        (admin,) = served.children("admin")
        worker.kill()
        admin.kill()
        assert served.post("/feedback", GOOD[0]).status in {200, 202}, "the client waits for the next worker"
        assert served.get("/healthz", port=served.admin).status == 200
        served.wait_for(rf"the worker {worker.pid} ended with -9; starting another")
        assert served.get("/metrics", port=served.admin).status == 200
        assert served.end() == 0


def test_workers_end_when_the_one_that_started_them_is_killed(policy: Path) -> None:
    with Upstream() as upstream, Served(policy, upstream.url) as served:
        children = psutil.Process(served.process.pid).children()
        assert len(children) == 2
        served.end(signal.SIGKILL)
        _, alive = psutil.wait_procs(children, timeout=PATIENCE_SECONDS)
        assert alive == []


# How it ends.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_requests_in_progress_are_finished_before_the_end(number: int, policy: Path) -> None:
    go_on = threading.Event()

    def slowly(_: Seen) -> bytes:
        go_on.wait(2 * PATIENCE_SECONDS)
        return OK

    with Upstream(slowly) as upstream, Served(policy, upstream.url) as served, Client(served.port) as client:
        client.request("POST", "/feedback", GOOD[0])
        upstream.wait_for(lambda: len(upstream.seen) == 1)
        served.process.send_signal(number)
        until(lambda: not connects(served.port))
        go_on.set()
        answer = client.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert served.process.wait(PATIENCE_SECONDS) == 0
    assert states(policy) == [Delivery.DELIVERED]


def test_what_does_not_finish_in_time_is_unknown(policy: Path) -> None:
    go_on = threading.Event()

    def never(_: Seen) -> None:
        go_on.wait(2 * PATIENCE_SECONDS)

    with (
        Upstream(never) as upstream,
        Served(policy, upstream.url, "--drain", "1") as served,
        Client(served.port) as client,
    ):
        client.request("POST", "/feedback", GOOD[0])
        upstream.wait_for(lambda: len(upstream.seen) == 1)
        assert served.end() == 0
        assert client.closed()
        go_on.set()
    assert states(policy) == [Delivery.UNKNOWN]
    assert run("ledger", "verify", "--policy", str(policy)).returncode == 0


def connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS).close()
    except OSError:
        return False
    return True


def states(policy: Path) -> list[Delivery]:
    """The deliveries that the ledger's database holds."""
    with contextlib.closing(sqlite3.connect(policy.parent / "guard.db")) as database:
        return [Delivery(value) for (value,) in database.execute("SELECT delivery FROM submission ORDER BY id")]
