"""Guarded processes that are killed: `python -m tests.faults.serving`.

For each line on its standard input (JSON) it forks a process, which says `ready PORT PID`; the imports are paid once.
The process serves the middleware around an application, or the gateway in front of an upstream, with the real guard on
a real database, and ends itself at the point that the line names. When the standard input ends, so do all of them.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import uvicorn

from feedback_guard import housekeeping, running
from feedback_guard.clock import SystemClock
from feedback_guard.embedding.hashing import UnsafeHashingEmbedder
from feedback_guard.embedding.interface import Vectors
from feedback_guard.errors import EmbeddingError
from feedback_guard.gateway.app import Passage, gateway_app
from feedback_guard.gateway.bounds import Bounds
from feedback_guard.gateway.crowd import Crowd
from feedback_guard.gateway.protocol import GatewayProtocol
from feedback_guard.gateway.wires import Patience
from feedback_guard.guard import Guard
from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from feedback_guard.policy.schema import Policy
from tests.faults.history import UNSCORABLE, read
from tests.faults.points import BUGS, Ending
from tests.guards import labelled, make_policy, submit
from tests.patience import PATIENCE_SECONDS

ROUTE = {"name": "feedback", "path": "/feedback", "extract": "{kind: 'label', input: text, label: topic}"}
IDENTITY = {"header": {"header": "X-User", "hops": ["127.0.0.1"]}, "network_group": False}
SIGNALS = {"false_hold_rate": 0.05, "near_duplicate": {"share": 0.0}}
ANSWER = b"done: "


def policy_of(folder: Path) -> Policy:
    """One policy for all processes of a test."""
    more = folder / "more.json"
    parts = {"routes": [ROUTE], "identity": IDENTITY, "signals": SIGNALS}
    return make_policy(folder, **parts, **(json.loads(more.read_text()) if more.exists() else {}))


class Embedder(UnsafeHashingEmbedder):
    """Fails on texts that say so."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        if any(UNSCORABLE in text for text in texts):
            raise EmbeddingError("the model fails on this text")
        return super().encode(texts)


def effect(folder: Path, body: bytes) -> None:
    """Do what the body asks: a line on the disk, with what the ledger knew of that body before it."""
    digest = hashlib.sha256(body).hexdigest()
    query = "SELECT count(*) FROM ledger WHERE kind = 'judged' AND body LIKE :digest"
    ((entries,),) = read(folder, query, digest=f'%"body_sha256":"{digest}"%')
    line = {"request": json.loads(body)["request"], "body_sha256": digest, "recorded": entries}
    file = os.open(folder / "effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, json.dumps(line).encode() + b"\n")
    os.fsync(file)
    os.close(file)


class App:
    """Does what is asked, and answers in two parts."""

    def __init__(self, folder: Path, ending: Ending) -> None:
        self._folder = folder
        self._ending = ending

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError("HTTP only")
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        self._ending.reach("before the effect")
        await asyncio.to_thread(effect, self._folder, body)
        self._ending.reach("after the effect")
        name = json.loads(body)["request"].encode()
        length = str(len(ANSWER + name)).encode()
        await send({"type": "http.response.start", "status": 201, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": ANSWER, "more_body": True})
        self._ending.reach("in the answer")
        await send({"type": "http.response.body", "body": name, "more_body": False})
        self._ending.reach("after the answer")


def serve(door: str, folder: str, point: str, bug: str, upstream: str) -> None:
    """Serve until killed."""
    housekeeping.SECONDS = 0.1
    housekeeping.LOST_AFTER_US = 1_500_000
    patch.object(running, "lease_of", lambda _: 1_000_000).start()  # says so if it is elsewhere by now
    if bug:
        BUGS[bug]()
    ending = Ending(point)
    ending.install()
    guard = Guard.from_policy(policy_of(Path(folder)), clock=SystemClock(), embedder=Embedder())
    listener = socket.create_server(("127.0.0.1", 0))
    if door == "middleware":
        app: Any = FeedbackGuardMiddleware(App(Path(folder), ending), guard=guard, poll_seconds=0.05)
        http: Any = "h11"
    else:
        patience = Patience(connect_seconds=PATIENCE_SECONDS, read_seconds=PATIENCE_SECONDS)
        app = gateway_app(guard, Passage(upstream, patience=patience), poll_seconds=0.05)
        bounds = Bounds()
        http = functools.partial(GatewayProtocol, bounds=bounds, crowd=Crowd(bounds.connections))
    config = uvicorn.Config(
        app, http=http, lifespan="on", loop="asyncio", log_config=None, access_log=False, proxy_headers=False, ws="none"
    )
    server = uvicorn.Server(config)
    started = server.startup

    async def startup(sockets: list[socket.socket] | None = None) -> None:
        await started(sockets=sockets)
        say(f"ready {listener.getsockname()[1]} {os.getpid()}")

    server.startup = startup  # type: ignore[method-assign]
    server.run(sockets=[listener])


async def warm_up(folder: Path) -> None:
    """Import what is imported late, so that no fork has to."""
    guard = Guard.from_policy(policy_of(folder), clock=SystemClock(), embedder=Embedder())
    await guard.start()
    (item,) = labelled(1, seed=77)
    await guard.judge(submit(item))
    await guard.stop()


def say(line: str) -> None:
    os.write(1, line.encode() + b"\n")


def main() -> None:
    """Fork a process for each line."""
    children: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(warm_up(Path(folder)))
    assert threading.active_count() == 1, "a fork takes no threads along"
    try:
        while line := sys.stdin.readline():
            command = json.loads(line)
            if "end" in command:
                os.kill(command["end"], signal.SIGKILL)
                continue
            if "wait" in command:
                _, status = os.waitpid(command["wait"], 0)
                children.remove(command["wait"])
                say(f"ended {os.waitstatus_to_exitcode(status)}")
                continue
            child = os.fork()
            if child == 0:
                try:
                    serve(**command)
                finally:
                    os._exit(1)
            children.append(child)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


if __name__ == "__main__":
    main()
