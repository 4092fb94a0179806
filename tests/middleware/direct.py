"""Calls an ASGI application without a server, so that every message can be placed by the test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from tests.patience import PATIENCE_SECONDS

App = Callable[[Any, Any, Any], Awaitable[None]]


def make_scope(
    path: str = "/feedback",
    *,
    method: str = "POST",
    headers: Iterable[tuple[bytes, bytes]] = ((b"content-type", b"application/json"),),
    spec_version: str = "2.3",
    **parts: Any,
) -> dict[str, Any]:
    """An HTTP scope as uvicorn makes it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": spec_version},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("utf-8", "surrogateescape"),
        "query_string": b"",
        "root_path": "",
        "headers": list(headers),
        "client": ("192.0.2.7", 50_000),
        "server": ("127.0.0.1", 8000),
        **parts,
    }


async def until(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Give way to other tasks until the condition is true."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the condition is about a guard that knows nothing of this test
            await asyncio.sleep(0.001)


class Connection:
    """One request: `receive` gives the pieces of the body, then waits for the client to leave."""

    def __init__(self, body: bytes | object = b"", *, pieces: Iterable[bytes] | None = None, leaves: bool = False):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._pieces = list(pieces) if pieces is not None else [data]
        self._endless = leaves
        self.left = asyncio.Event()
        self.answered = asyncio.Event()
        self.sent: list[dict[str, Any]] = []
        self.receives = 0
        if leaves:
            self.left.set()

    async def receive(self) -> dict[str, Any]:
        self.receives += 1
        if self._pieces:
            piece = self._pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(self._pieces) or self._endless}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.sent.append(dict(message))
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.answered.set()
            self.left.set()  # uvicorn: after the answer, `receive` gives a disconnect

    @property
    def status(self) -> int | None:
        starts = [m for m in self.sent if m["type"] == "http.response.start"]
        assert len(starts) <= 1, "answered twice"
        return starts[0]["status"] if starts else None

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(next(m for m in self.sent if m["type"] == "http.response.start")["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(m.get("body", b"") for m in self.sent if m["type"] == "http.response.body")

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def call(app: App, scope: dict[str, Any] | None = None, body: bytes | object = b"", **options: Any) -> Connection:
    """Send one request and wait until the application has returned."""
    connection = Connection(body, **options)
    await app(scope or make_scope(), connection.receive, connection.send)
    return connection


class Recorder:
    """An application that keeps what it gets, and answers 200."""

    def __init__(self, status: int = 200) -> None:
        self.scopes: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.status = status

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise AssertionError("HTTP only")
        self.scopes.append(scope)
        body = b""
        while True:
            message = await receive()
            assert message["type"] == "http.request", message
            body += message["body"]
            if not message["more_body"]:
                break
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": self.status, "headers": [(b"x-app", b"yes")]})
        await send({"type": "http.response.body", "body": b"app"})
