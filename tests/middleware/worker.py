"""A process of its own that serves a guarded application; its arguments are FOLDER URL EFFECTS LOST_SECONDS FD.

It takes over a listening socket, and says "ready" when it serves. Its application writes each effect to a file, to the
disk, before it answers. A process of which nothing was heard for LOST_SECONDS is taken for lost.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvicorn

from feedback_guard import housekeeping, repeats
from feedback_guard.clock import MICROSECONDS, SystemClock
from feedback_guard.embedding.hashing import UnsafeHashingEmbedder
from feedback_guard.guard import Guard
from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from tests.guards import make_guard, make_policy
from tests.middleware.counting import IDENTITY, ROUTE, SIGNALS

HOUSEKEEPING_SECONDS = 0.2
APPLICATION_SECONDS = 0.03


class App:
    """Each call is an effect on disk, with a name that only this effect has."""

    def __init__(self, effects: Path) -> None:
        self._file = os.open(effects, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError("HTTP only")
        body = json.loads((await receive())["body"])
        name = secrets.token_hex(8)
        os.write(self._file, json.dumps({"request": body["request"], "effect": name}).encode() + b"\n")
        os.fsync(self._file)
        await asyncio.sleep(APPLICATION_SECONDS)
        await send({"type": "http.response.start", "status": 201, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": name.encode()})


def serve(folder: Path, url: str, effects: Path, lost_seconds: float, fd: int) -> None:
    housekeeping.SECONDS = HOUSEKEEPING_SECONDS
    housekeeping.LOST_AFTER_US = int(lost_seconds * MICROSECONDS)
    repeats._MARGIN_US = 0  # type: ignore[misc]
    policy = make_policy(
        folder,
        store={"url": url, "busy_timeout": "1s"},
        embedding={"backend": "unsafe-hashing-for-tests", "deadline": "30s"},
        routes=[{**ROUTE, "duplicates": {"window": "10m", "wait": "5s"}}],
        identity=IDENTITY,
        signals=SIGNALS,
    )
    guard = Guard.from_policy(policy, clock=SystemClock(), embedder=UnsafeHashingEmbedder())
    app = FeedbackGuardMiddleware(App(effects), guard=guard)
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, access_log=False, lifespan="on", loop="asyncio", proxy_headers=False)
    )
    started = server.startup

    async def startup(sockets: list[socket.socket] | None = None) -> None:
        await started(sockets=sockets)
        print("ready", flush=True)

    server.startup = startup  # type: ignore[method-assign]
    server.run(sockets=[socket.socket(fileno=fd)])


def main(arguments: Sequence[str]) -> None:
    folder, url, effects, lost_seconds, fd = arguments
    serve(Path(folder), url, Path(effects), float(lost_seconds), int(fd))


def warm() -> None:
    """Import what a guard imports when it starts."""

    async def start_and_stop(folder: Path) -> None:
        guard = make_guard(folder)
        await guard.start()
        await guard.stop()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(start_and_stop(Path(folder)))
