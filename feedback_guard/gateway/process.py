"""One process of a gateway: a worker that serves the public, or the one that serves moderators and Prometheus.

Started as `python -m feedback_guard.gateway.process ROLE LISTENER READY`, with the plan on its standard input and two
inherited file descriptors. A fresh interpreter each time: the model is loaded after every fork, and the environment
that decides on shared metrics is there before anything is imported. When its standard input ends, so does the process,
whatever became of the one that started it.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, Literal

import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from feedback_guard import settings
from feedback_guard.errors import GuardError, UsageError
from feedback_guard.gateway.app import gateway_app
from feedback_guard.gateway.bounds import Bounds
from feedback_guard.gateway.crowd import Crowd
from feedback_guard.gateway.plan import Plan
from feedback_guard.gateway.protocol import GatewayProtocol
from feedback_guard.guard import Guard
from feedback_guard.lasting import keep_for_good

log = logging.getLogger(__name__)

WORKER: Final = "worker"
ADMIN: Final = "admin"
_SPARE_FILES: Final = 128
"""File descriptors left for the database, the model and the like."""
_MOST_FILES: Final = 65_536


class _Server(uvicorn.Server):
    """uvicorn, which says when it listens."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._ready()


def main(arguments: list[str]) -> int:
    """Run one process until it is told to end."""
    role, listener, ready = arguments[0], socket.socket(fileno=int(arguments[1])), int(arguments[2])
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    plan = Plan.from_json(_read_line(sys.stdin.fileno()))
    threading.Thread(target=_end_with, args=(sys.stdin.fileno(),), daemon=True, name="lifeline").start()
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the signal again once everything has ended; that is the end that was asked for.
        signal.signal(number, lambda *_: None)

    def say_ready() -> None:
        keep_for_good()
        os.write(ready, b"r")
        os.close(ready)

    try:
        guard = Guard.from_policy(plan.policy)
        if role == WORKER:
            _serve(gateway_app(guard, plan.passage), plan, listener, say_ready, bounds=plan.bounds)
        else:
            _serve_admin(guard, plan, listener, say_ready)
    except GuardError as error:
        log.error("%s", error)
        return 2
    return 0


def _serve(
    app: Any,
    plan: Plan,
    listener: socket.socket,
    ready: Callable[[], None],
    *,
    bounds: Bounds,
    lifespan: Literal["on", "off"] = "on",
) -> None:
    crowd = Crowd(min(bounds.connections, _room()))
    config = uvicorn.Config(
        app,
        http=functools.partial(GatewayProtocol, bounds=bounds, crowd=crowd),  # type: ignore[arg-type]
        lifespan=lifespan,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=max(1, round(plan.drain_seconds)),
    )
    _Server(config, ready).run(sockets=[listener])


def _serve_admin(guard: Guard, plan: Plan, listener: socket.socket, ready: Callable[[], None]) -> None:
    from feedback_guard.review.app import review_app

    guard.store  # noqa: B018 - opened here, so that an unsound store is told before anything listens
    app: Any = review_app(guard)
    if plan.passage.trusted_proxies:
        app = ProxyHeadersMiddleware(app, trusted_hosts=list(plan.passage.trusted_proxies))
    try:
        _serve(app, plan, listener, ready, bounds=Bounds(), lifespan="off")
    finally:
        asyncio.run(guard.stop())


def _room() -> int:
    """How many clients this process has file descriptors for; as many as the system allows are taken."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    if soft == resource.RLIM_INFINITY:
        return settings.MAX_CONNECTIONS
    return max(64, soft - settings.MAX_UPSTREAM_CONNECTIONS - _SPARE_FILES)


def _read_line(descriptor: int) -> bytes:
    """Read one line without Python's buffer, whose lock a thread must not hold at the end of the interpreter."""
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(descriptor, 65_536)
        if not piece:
            raise UsageError("this is no command; start a gateway with `feedback-guard serve`")
        line += piece
    return line


def _end_with(descriptor: int) -> None:
    """Ask for the end when whoever started this process is gone."""
    while os.read(descriptor, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
