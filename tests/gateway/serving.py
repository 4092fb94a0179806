"""The real gateway in a thread: the real protocol, the real middleware, the real proxy; only the guard may be fake."""

from __future__ import annotations

import functools
import socket
from typing import Any, Literal

import uvicorn

from feedback_guard.gateway.app import Passage, gateway_app
from feedback_guard.gateway.bounds import Bounds
from feedback_guard.gateway.crowd import Crowd
from feedback_guard.gateway.protocol import GatewayProtocol
from feedback_guard.gateway.wires import Patience
from tests.middleware.fakes import FakeGuard
from tests.patience import PATIENCE_SECONDS
from tests.serving import Prompt, Serving

PATIENT = Patience(connect_seconds=PATIENCE_SECONDS, read_seconds=PATIENCE_SECONDS, keep_seconds=PATIENCE_SECONDS)
"""For upstreams that answer, in however long a time."""


class ServingAs(Serving):
    """Serves any ASGI application with the gateway's protocol."""

    def __init__(
        self, app: Any, *, bounds: Bounds | None = None, loop: Literal["asyncio", "uvloop"] = "asyncio"
    ) -> None:
        super().__init__(app)
        self.bounds = bounds or Bounds()
        self.crowd = Crowd(self.bounds.connections)
        self.server = Prompt(
            uvicorn.Config(
                app,
                http=functools.partial(GatewayProtocol, bounds=self.bounds, crowd=self.crowd),  # type: ignore[arg-type]
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=5,
                proxy_headers=False,
                ws="none",
                loop=loop,
            )
        )


class Gateway(ServingAs):
    """The gateway in front of an upstream, with a guard whose decisions the test writes down."""

    def __init__(
        self,
        upstream: str,
        guard: Any = None,
        *,
        bounds: Bounds | None = None,
        patience: Patience = PATIENT,
        loop: Literal["asyncio", "uvloop"] = "asyncio",
        **passage: Any,
    ) -> None:
        self.guard = guard or FakeGuard()
        app = gateway_app(self.guard, Passage(upstream, patience=patience, **passage), poll_seconds=0.05)
        super().__init__(app, bounds=bounds, loop=loop)


def raw(port: int, data: bytes, *, seconds: float = PATIENCE_SECONDS) -> bytes:
    """Send bytes as they are, and read to the end of the connection, which the bytes must bring about."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        connection.sendall(data)
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    answer = bytearray()
    try:
        while piece := connection.recv(65_536):
            answer += piece
    except ConnectionResetError:
        pass
    return bytes(answer)
