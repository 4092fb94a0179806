"""A private Redis server for tests: Debian's binary, a temporary folder, a socket in it and a free port on loopback."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py

from feedback_guard.clock import MICROSECONDS
from feedback_guard.limits.redis import SharedLevels
from feedback_guard.policy.redis import RedisPolicy
from tests.patience import PATIENCE_SECONDS
from tests.ports import free_port

KEY = "a key of tests, of 32 characters"


class Server:
    """A server that can be stopped, killed, hung, emptied and set back."""

    def __init__(self, binary: str, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self._binary, self._arguments = binary, arguments
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._hung = False

    @property
    def url(self) -> str:
        """Its address on loopback."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def client(self) -> redis_py.Redis:
        """A client of the test's own."""
        return redis_py.Redis(unix_socket_path=str(self.folder / "socket"), protocol=2)

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [self._binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        command += ["--dir", str(self.folder), "--unixsocket", str(self.folder / "socket"), "--logfile", "log"]
        self._process = subprocess.Popen([*command, *self._arguments], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(redis_py.ConnectionError), self.client as client:
                if client.ping():
                    return
            assert self._process.poll() is None, (self.folder / "log").read_text(errors="replace")[-2000:]
        raise AssertionError("redis-server did not answer")

    def stop(self) -> None:
        """Kill it: what it has in memory is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE_SECONDS)
            self._process = None

    def hang(self) -> None:
        """Let it do nothing more; connections stay open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """End a hang."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[Server]:
    """A server for the time of a block; without the binary the test is skipped, or in CI fails."""
    binary = shutil.which("redis-server")
    if binary is None:
        reason = "no redis-server; install the Debian package redis-server"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="fg-redis-"))
    server = Server(binary, folder, *arguments)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def redis_of_module() -> Iterator[Server]:
    """One server for a module's tests."""
    with running() as server:
        yield server


@pytest.fixture
def redis_server(redis_of_module: Server) -> Server:
    """An empty server that works."""
    with redis_of_module.client as client:
        client.flushall()
    return redis_of_module


@pytest.fixture(autouse=False)
def redis_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of the policies below is in the environment."""
    monkeypatch.setenv("FG_TEST_REDIS_KEY", KEY)


def section(server: Server, **options: Any) -> dict[str, Any]:
    """The section of a policy for a server. It may take its time, unless a test says otherwise."""
    return {"url": server.url, "key": {"env": "FG_TEST_REDIS_KEY"}, "timeout": "1s", **options}


def shared(server: Server, place: str = "here", **options: Any) -> SharedLevels:
    """Shared levels on a server, which may take longer than any policy allows; its key must be in the environment."""
    policy = RedisPolicy.model_validate(section(server, **options))
    return SharedLevels(policy.model_copy(update={"timeout": int(PATIENCE_SECONDS * MICROSECONDS)}), place)
