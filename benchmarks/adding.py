"""What the middleware and the gateway add to a request in CPU, over real sockets, beside what a user would have else.

In one run, interleaved: the application alone, behind a middleware that does nothing, behind the guard; and behind a
plain reverse proxy in Python, behind nginx where it is installed, and behind the gateway. Each is a process (nginx and
the gateway: all of theirs); what is measured is the CPU, user and system, that they use up, to the nanosecond as Linux
counts it. Clocks on the wall play no part. The embedder is the hashing one, so the model is not measured.

What a middleware adds is what its process uses more than that of the application alone. What a proxy adds is all that
its processes use, and what the application uses more because of how the proxy speaks to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.serving import prepare
from benchmarks.texts import rows

CLIENTS: Final = 8
_QUIET_SECONDS: Final = 0.0005
_PAUSE_SECONDS: Final = 0.1
_WARM_UP: Final = 200
HEADER: Final = "X-User"
FURTHER: Final = f"""\
  - {{name: maybe, path: /maybe, when: "kind == 'feedback'", extract: "{{kind: 'label', input: data[0]}}"}}
identity: {{header: {{header: {HEADER}, hops: ["127.0.0.1"]}}, network_group: false}}
"""
"""What the policy of `benchmarks.serving` lacks: a route whose requests mostly carry nothing, and who sends them."""
NGINX: Final = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000;
  upstream app {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""


@dataclass(frozen=True)
class Front:
    """Something that takes requests.

    Parameters
    ----------
    name
        In the table.
    port
        Where it listens.
    pid
        Of its first process.
    behind
        The application's process, if this is another one.
    """

    name: str
    port: int
    pid: int
    behind: int | None = None

    @property
    def pids(self) -> list[int]:
        """Its processes."""
        return [self.pid, *(child.pid for child in psutil.Process(self.pid).children(recursive=True))]


@dataclass(frozen=True)
class Case:
    """A kind of request.

    Parameters
    ----------
    name
        In the table.
    share
        Of the number of requests that is asked for.
    request
        Makes one for a port.
    """

    name: str
    share: float
    request: Callable[[], bytes]


def request(method: str, path: str, body: dict[str, Any] | None, user: str = "ada") -> bytes:
    """One request as bytes."""
    data = json.dumps(body).encode() if body is not None else b""
    lines = [f"{method} {path} HTTP/1.1", "Host: bench.test", "User-Agent: bench", "Accept: */*", f"{HEADER}: {user}"]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
    return "\r\n".join([*lines, "", ""]).encode() + data


def cases() -> list[Case]:
    """The kinds of requests: three that carry no contribution, and one that does."""
    other = {"kind": "inference", "data": ["where is my card? " * 10], "session": "5b1f"}
    data, count = rows("stream.jsonl.gz"), itertools.count()

    def contribution() -> bytes:
        number = next(count)
        row, lap = data[number % len(data)], number // len(data)
        text = f"{row['input']} {lap}" if lap else row["input"]
        return request("POST", "/feedback", {"question": text, "intent": row["label"]}, f"user-{number % 997}")

    return [
        Case("GET, another path", 1.0, lambda: request("GET", "/predict", None)),
        Case("POST, another path", 1.0, lambda: request("POST", "/predict", other)),
        Case("POST, guarded path, `when` says no", 1.0, lambda: request("POST", "/maybe", other)),
        Case("POST, a contribution", 0.25, contribution),
    ]


def cpu_seconds(pids: list[int]) -> float:
    """CPU of processes with all their threads, user and system."""
    if sys.platform == "linux":
        return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)  # the clock of clock_getcpuclockid(3)
    used = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(times.user + times.system for times in used)


def settled(pids: list[int]) -> float:
    """Wait until processes have done what they do after their answers, and return the CPU that they used so far."""
    last = cpu_seconds(pids)
    for _ in range(100):
        time.sleep(_PAUSE_SECONDS)
        now = cpu_seconds(pids)
        if now - last < _QUIET_SECONDS:
            return now
        last = now
    return last


async def send(port: int, case: Case, n: int) -> None:
    """Send so many requests over a few kept connections; each must be answered with a status below 300."""
    left = iter(range(n))

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for _ in left:
                writer.write(case.request())
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
                if not head.startswith(b"HTTP/1.1 2") or length is None:
                    raise SystemExit(f"{case.name}: port {port} answered {head!r}")
                await reader.readexactly(int(length[1]))
        finally:
            writer.close()

    await asyncio.gather(*(client() for _ in range(CLIENTS)))


def cost_us(front: Front, case: Case, n: int) -> tuple[float, float]:
    """CPU of one request in microseconds: of the front, and of the application behind it."""
    pids, behind = front.pids, [front.behind] if front.behind is not None else []
    asyncio.run(send(front.port, case, max(CLIENTS, round(_WARM_UP * case.share))))
    before, before_behind = settled(pids), cpu_seconds(behind)
    asyncio.run(send(front.port, case, n))
    return (settled(pids) - before) / n * 1e6, (cpu_seconds(behind) - before_behind) / n * 1e6


@contextlib.contextmanager
def started(command: list[str], *, says: str, listener: socket.socket | None = None) -> Iterator[tuple[int, str]]:
    """Start a process and wait for what it says first; it is ended with the block."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        pass_fds=[listener.fileno()] if listener is not None else [],
    )
    try:
        assert process.stdout is not None
        said = ""
        while (found := re.search(says, said)) is None:
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"{' '.join(command[:4])} did not start: {said}")
            said += line
        yield process.pid, found[0]
    finally:
        process.terminate()
        process.wait(60)
        if process.stdout is not None:
            process.stdout.close()


@contextlib.contextmanager
def front(kind: str, *arguments: str, name: str = "", behind: int | None = None) -> Iterator[Front]:
    """Start one of `benchmarks.fronts` on a free loopback port."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        command = [sys.executable, "-m", "benchmarks.fronts", kind, "--fd", str(listener.fileno()), *arguments]
        with started(command, says="ready", listener=listener) as (pid, _):
            yield Front(name or kind, listener.getsockname()[1], pid, behind)


@contextlib.contextmanager
def gateway(policy: Path, upstream: Front) -> Iterator[Front]:
    """Start the gateway as its users do."""
    command = [sys.executable, "-m", "feedback_guard", "serve", "--policy", str(policy), "--port", "0"]
    command += ["--admin", "off", "--upstream", f"http://127.0.0.1:{upstream.port}"]
    with started(command, says=r"in front of \S+: http://127.0.0.1:(\d+)") as (pid, said):
        yield Front("gateway", int(said.rsplit(":", 1)[1]), pid, upstream.pid)


@contextlib.contextmanager
def nginx(folder: Path, upstream: Front) -> Iterator[Front]:
    """Start nginx with kept connections to the application, as its manual recommends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, upstream=upstream.port, port=port))
    process = subprocess.Popen(["nginx", "-c", str(config), "-p", str(folder), "-e", "stderr"])
    try:
        for _ in range(100):
            time.sleep(0.05)
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
        else:
            raise SystemExit("nginx did not start")
        yield Front("nginx", port, process.pid, upstream.pid)
    finally:
        process.terminate()
        process.wait(60)


def policies(folder: Path) -> dict[str, Path]:
    """A policy with a baseline for each guard; each has a database of its own."""
    made: dict[str, Path] = {}
    for name in ("middleware", "gateway"):
        own = folder / name
        own.mkdir()
        policy = prepare(own, "unsafe-hashing-for-tests")
        policy.write_text(policy.read_text() + FURTHER)
        made[name] = policy
    return made


def run(*, n: int, rounds: int) -> dict[str, Any]:
    """Measure everything, interleaved; medians by case and front in µs: of the front, and of what is behind it."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        policy = policies(folder)
        app = stack.enter_context(front("app", name="app alone"))
        upstream = f"http://127.0.0.1:{app.port}"
        fronts = [
            app,
            stack.enter_context(front("no-op", name="no-op middleware")),
            stack.enter_context(front("guarded", "--policy", str(policy["middleware"]), name="middleware")),
            stack.enter_context(front("proxy", "--upstream", upstream, name="Starlette + httpx2", behind=app.pid)),
            *([stack.enter_context(nginx(folder, app))] if shutil.which("nginx") else []),
            stack.enter_context(gateway(policy["gateway"], app)),
        ]
        for _ in range(rounds):
            for case in cases():
                for one in fronts:
                    costs = found.setdefault(case.name, {}).setdefault(one.name, [])
                    costs.append(cost_us(one, case, max(CLIENTS, round(n * case.share))))
    return {
        "added": {
            case: {
                front: [statistics.median(column) for column in zip(*costs, strict=True)]
                for front, costs in by_front.items()
            }
            for case, by_front in found.items()
        }
    }


def show(results: dict[str, Any], console: Console) -> None:
    """Print what each adds to the application alone."""
    added: dict[str, dict[str, list[float]]] = results["added"]
    fronts = list(next(iter(added.values())))
    table = Table("CPU in µs that a request costs", fronts[0], *(f"{name} adds" for name in fronts[1:]), box=None)
    for case, costs in added.items():
        alone = costs[fronts[0]][0]
        cells = []
        for name in fronts[1:]:
            own, behind = costs[name]
            cells.append(f"{own:.0f} {behind - alone:+.0f}" if behind else f"{own - alone:.0f}")
        table.add_row(case, f"{alone:.0f}", *cells)
    console.print(table)
    console.print("Of a proxy: its own processes, and how much more or less the application behind it uses.")
    if "nginx" not in fronts:
        console.print("nginx is not installed; as a Debian package: nginx-light.")
