"""The outermost part of a gateway: what is refused before the guard looks at it."""

from __future__ import annotations

from typing import Final

from feedback_guard.gateway.aliases import Aliases
from feedback_guard.gateway.forwarding import Forwarder
from feedback_guard.middleware.interface import ASGIApp, JudgingGuard, Receive, Scope, Send
from feedback_guard.middleware.replies import BadInputError, bad_input
from feedback_guard.middleware.routes import RouteTable

_WEBSOCKET: Final = b"websocket"


class Door:
    """Refuses what could get past the guard, or reach the upstream as something else than the guard saw.

    Parameters
    ----------
    app
        The middleware.
    guard
        Whose policy names the routes.
    forwarder
        Knows which header fields must not be taken away.
    """

    def __init__(self, app: ASGIApp, guard: JudgingGuard, forwarder: Forwarder) -> None:
        self._app = app
        self._guard = guard
        self._forwarder = forwarder
        self._routes = RouteTable(guard.policy.routes)
        self._aliases = Aliases(guard.policy.routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] == "http":
            try:
                self._check(scope)
            except BadInputError as error:
                # Its body is not read, and whoever sends such a thing had better begin anew.
                await error.problem.reply().send_and_close(send, _read_on)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        self._forwarder.check(scope)
        if any(name == b"upgrade" and _WEBSOCKET in value.lower() for name, value in scope["headers"]):
            # A tunnel carries what nobody judges, and an upstream that does not switch reads it as further requests.
            raise bad_input(501, "no_websockets", "Websockets do not go through this gateway.")
        if not self._guard.enforcing or self._routes.match(scope) is not None:
            return
        route = self._aliases.route(scope)
        if route is not None:
            self._guard.metrics.request(route, "bad_input")
            raise bad_input(
                400,
                "ambiguous_request",
                "The path or method is another spelling of one that takes feedback. Use the plain one.",
                route=route,
            )


async def _read_on() -> None:
    """Nothing: the gateway's server reads a little more by itself."""
