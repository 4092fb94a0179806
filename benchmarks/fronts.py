"""What `benchmarks.adding` measures, each in a process of its own: `python -m benchmarks.fronts KIND --fd N`.

- `app`: an application that reads the body and answers, on uvicorn with httptools and uvloop.
- `no-op`: the same behind a middleware that does nothing.
- `guarded`: the same behind the guard.
- `proxy`: a plain reverse proxy as a user would write one in Python: Starlette and httpx2, streaming both ways, with
  kept connections, on the same server.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from typing import Final

import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from feedback_guard import FeedbackGuardMiddleware, Guard
from feedback_guard.middleware.interface import ASGIApp, Receive, Scope, Send

KINDS: Final = ("app", "no-op", "guarded", "proxy")
_HOP_BY_HOP: Final = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body and answers."""
    if scope["type"] != "http":
        raise RuntimeError("HTTP only")
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", b"12")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"ok": true}'})


def no_op(app: ASGIApp) -> ASGIApp:
    """A middleware that does nothing."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    return middleware


def proxy(upstream: str) -> Starlette:
    """A reverse proxy as one would write it first."""
    client = httpx2.AsyncClient(limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64))

    async def forward(request: Request) -> StreamingResponse:
        url = upstream + request.url.path + (f"?{request.url.query}" if request.url.query else "")
        headers = [(name, value) for name, value in request.headers.items() if name not in _HOP_BY_HOP]
        body = request.stream() if {"content-length", "transfer-encoding"} & set(request.headers) else None
        asked = client.build_request(request.method, url, headers=headers, content=body)
        answer = await client.send(asked, stream=True)
        kept = {name: value for name, value in answer.headers.items() if name not in _HOP_BY_HOP}
        return StreamingResponse(answer.aiter_raw(), answer.status_code, kept, background=BackgroundTask(answer.aclose))

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await client.aclose()

    return Starlette(routes=[Route("/{path:path}", forward, methods=["GET", "POST"])], lifespan=lifespan)


def made(kind: str, policy: str, upstream: str) -> ASGIApp:
    """The application of one process."""
    if kind == "proxy":
        return proxy(upstream)
    if kind == "guarded":
        return FeedbackGuardMiddleware(application, guard=Guard.from_policy(policy))
    return no_op(application) if kind == "no-op" else application


class _Server(uvicorn.Server):
    """uvicorn, which says when it listens."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        print("ready", flush=True)


def main() -> None:
    """Serve on the given socket until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--policy", default="")
    parser.add_argument("--upstream", default="")
    args = parser.parse_args()
    listener = socket.socket(fileno=os.dup(args.fd))
    config = uvicorn.Config(
        made(args.kind, args.policy, args.upstream),
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        loop="uvloop",
        http="httptools",
    )
    _Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
