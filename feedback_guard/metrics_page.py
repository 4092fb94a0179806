"""The page that Prometheus scrapes, as an ASGI application."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import partial
from typing import Any

import anyio.to_thread

from feedback_guard.metrics import Metrics

_log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def metrics_app(metrics: Metrics, *, judging: bool = True) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """An ASGI application that answers every GET with the metrics.

    Mount it where only Prometheus comes: the figures tell an attacker how many of his contributions were held.

    Parameters
    ----------
    metrics
        Of this process, or of all that share theirs.
    judging
        Whether this process judges; see `Metrics.render`.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1003})
        elif scope["method"] in {"GET", "HEAD"}:
            status, body, content_type = await anyio.to_thread.run_sync(partial(_page, metrics, judging=judging))
            headers = [
                (b"content-type", content_type.encode("ascii")),
                (b"content-length", str(len(body)).encode("ascii")),
                (b"cache-control", b"no-store"),
            ]
            await _answer(send, status, headers, b"" if scope["method"] == "HEAD" else body)
        else:
            await _answer(send, 405, [(b"allow", b"GET, HEAD"), (b"content-length", b"0")], b"")

    return app


def _page(metrics: Metrics, *, judging: bool) -> tuple[int, bytes, str]:
    try:
        return 200, *metrics.render(judging=judging)
    except Exception:  # noqa: BLE001 - a scrape that fails must say so to Prometheus and to the log, whatever failed
        _log.exception("the metrics cannot be rendered")
        return 500, b"the metrics cannot be rendered; the log says why\n", "text/plain; charset=utf-8"


async def _answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
