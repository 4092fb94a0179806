"""The application that the middleware wraps in a gateway: whatever it is given, the upstream gets."""

from __future__ import annotations

import logging
from typing import Final

import h11

from feedback_guard.gateway.forwarding import Forwarder
from feedback_guard.gateway.relay import Relay
from feedback_guard.gateway.wires import Wires
from feedback_guard.middleware.interface import Receive, RequestMetrics, Scope, Send
from feedback_guard.middleware.replies import Problem

log = logging.getLogger(__name__)

_UNWRITABLE: Final = Problem(400, "bad_request", "The request cannot be passed on as it is.")


class Proxy:
    """Gives each request to the upstream, and its answer to the client.

    Parameters
    ----------
    metrics
        Where failures are counted.
    wires
        The connections to the upstream.
    forwarder
        Makes the header fields.
    """

    def __init__(self, metrics: RequestMetrics, wires: Wires, forwarder: Forwarder) -> None:
        self._metrics = metrics
        self._wires = wires
        self._forwarder = forwarder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] == "http":
            await self._pass_on(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1003})

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        fields = self._forwarder.request(scope)
        try:
            await Relay(self._wires, self._forwarder, fields, self._metrics, scope, receive, send).run()
        except h11.LocalProtocolError:
            log.warning("a request cannot be written as HTTP/1.1")
            await _UNWRITABLE.reply().send(send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                self._wires.close()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
