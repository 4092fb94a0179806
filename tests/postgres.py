"""A private PostgreSQL server for tests: Debian's binaries, a temporary folder, a free port on loopback."""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from feedback_guard.clock import SystemClock
from feedback_guard.policy.store import StorePolicy
from feedback_guard.store.database import Store
from feedback_guard.store.tables import metadata
from tests.patience import PATIENCE_SECONDS
from tests.ports import free_port

_NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Server:
    """A running server. Everybody may connect; it listens on loopback only."""

    binaries: Path
    folder: Path
    port: int

    def url(self, database: str) -> str:
        """The store URL of a database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Run a statement as the superuser, outside a transaction."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(statement.encode())

    def control(self, *arguments: str) -> None:
        """Run pg_ctl and wait for it."""
        command = [
            str(self.binaries / "pg_ctl"),
            "-D",
            str(self.folder / "data"),
            "-w",
            "-t",
            f"{PATIENCE_SECONDS:.0f}",
        ]
        _run([*command, *arguments], cwd=self.folder)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} "
            "-c shared_buffers=16MB -c max_connections=60 -c autovacuum=off"
        )
        self.control("-o", options, "-l", str(self.folder / "log"), "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: `fast` ends connections in order, `immediate` as a crash would."""
        self.control("-m", mode, "stop")


def binaries() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


def _run(command: list[str], cwd: Path) -> None:
    user = "postgres" if os.geteuid() == 0 else None  # initdb and the server refuse to run as root
    groups: list[str] | None = ["postgres"] if user else None
    done = subprocess.run(
        command,
        cwd=cwd,
        user=user,
        group=user,
        extra_groups=groups,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
        timeout=2 * PATIENCE_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.decode(errors='replace')[-2000:]}")


@functools.cache
def server() -> Server:
    """The one server of this test run; it ends with the run."""
    found = binaries()
    if found is None:
        reason = "no PostgreSQL server under /usr/lib/postgresql; install the Debian package postgresql"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="fg-postgres-", dir=memory))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    started = Server(found, folder, free_port())
    arguments = ["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"]
    _run([str(found / "initdb"), "-D", str(folder / "data"), *arguments], cwd=folder)
    started.start()
    atexit.register(_end, started)
    return started


def _end(started: Server) -> None:
    if (started.folder / "data" / "postmaster.pid").exists():
        started.stop("immediate")
    shutil.rmtree(started.folder, ignore_errors=True)


@functools.cache
def _ready() -> str:
    """A database that has the schema already."""
    running = server()
    running.execute("CREATE DATABASE fg_ready TEMPLATE template0")
    Store.open(StorePolicy(url=running.url("fg_ready")), clock=SystemClock()).close()
    return running.url("fg_ready")


@pytest.fixture
def postgres_store_url() -> str:
    """An empty store on a real server; it is the same database each time, so it is quick."""
    url = _ready()
    names = ", ".join(table.name for table in metadata.sorted_tables)
    server().execute(f"TRUNCATE {names}", "fg_ready")
    return url


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """A fresh, empty database on a real server."""
    running = server()
    name = f"fg_{next(_NUMBERS)}"
    running.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    yield running.url(name)
    running.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
