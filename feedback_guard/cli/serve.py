"""`feedback-guard serve`: the gateway, with review and metrics on a listener of their own."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from feedback_guard.gateway.upstream import Upstream

_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})")
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0", "::"})  # noqa: S104 - compared with, not bound to
_BACKLOG = 2048


def serve(
    policy: Annotated[str, typer.Option(help="Policy file, or the name of a preset.")],
    upstream: Annotated[str, typer.Option(help="The application: http://HOST:PORT or https://HOST:PORT.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on.")] = 8787,
    admin: Annotated[
        str, typer.Option(help="HOST:PORT of review and /metrics, for your own people only; `off` serves neither.")
    ] = "127.0.0.1:8788",
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes, each with a model of its own.")] = 1,
    host_header: Annotated[
        str | None, typer.Option(help="Send this as Host to the application, instead of what the client sent.")
    ] = None,
    trusted_proxy: Annotated[
        str | None,
        typer.Option(help="Addresses of your own proxies, with commas; their X-Forwarded-… and Forwarded are kept."),
    ] = None,
    upstream_ca: Annotated[str | None, typer.Option(help="Certificates to check an https upstream against.")] = None,
    connect_timeout: Annotated[
        float, typer.Option(min=0.01, max=600, help="Seconds to wait for a connection to the application.")
    ] = 5.0,
    read_timeout: Annotated[
        float, typer.Option(min=0.01, max=86_400, help="Seconds to wait for an answer, and for each part of it.")
    ] = 60.0,
    header_deadline: Annotated[
        float, typer.Option(min=0.01, max=600, help="Seconds that a client may take for a request's head.")
    ] = 10.0,
    body_deadline: Annotated[
        float, typer.Option(min=0.01, max=600, help="Seconds that a client may fall behind the least rate of a body.")
    ] = 10.0,
    drain: Annotated[
        float, typer.Option(min=1, max=3_600, help="Seconds that requests in progress have at the end.")
    ] = 15.0,
) -> None:
    """Stand in front of an application in any language, and judge the feedback that its clients send."""
    from feedback_guard.errors import UsageError
    from feedback_guard.gateway.app import Passage, gateway_app
    from feedback_guard.gateway.bounds import Bounds
    from feedback_guard.gateway.plan import Plan
    from feedback_guard.gateway.supervisor import Supervisor
    from feedback_guard.gateway.upstream import Upstream
    from feedback_guard.gateway.wires import Patience
    from feedback_guard.guard import Guard
    from feedback_guard.metrics_workers import VARIABLE, prepare_directory

    passage = Passage(
        upstream=upstream,
        host_header=host_header,
        trusted_proxies=tuple(part.strip() for part in trusted_proxy.split(",")) if trusted_proxy else (),
        upstream_ca=upstream_ca,
        patience=Patience(connect_seconds=connect_timeout, read_seconds=read_timeout),
    )
    if os.environ.get(VARIABLE):
        prepare_directory(Path(os.environ[VARIABLE]))
    guard = Guard.from_policy(policy)
    gateway_app(guard, passage)  # made once here, so that what is wrong with it is told before anything listens
    if not guard.policy.routes:
        raise UsageError(f"{policy}: the policy has no routes, so there is nothing to judge; write some into it")
    there = Upstream.parse(upstream)
    admin_at = None if admin == "off" else _address(admin)
    for at in [(host, port), *([admin_at] if admin_at else [])]:
        if _is_itself(there, at):
            raise UsageError(f"--upstream {upstream} is the gateway itself; name the application")
    plan = Plan(
        policy=guard.policy,
        passage=passage,
        bounds=Bounds(head_seconds=header_deadline, body_grace_seconds=body_deadline),
        drain_seconds=drain,
    )
    public = _listen(host, port, "--port")
    control = _listen(*admin_at, "--admin") if admin_at else None

    def say(message: str) -> None:
        typer.echo(f"feedback-guard: {message}", err=True)

    def ready() -> None:
        say(f"in front of {there}: http://{_where(public)}")
        if control is not None:
            say(f"review and /metrics: http://{_where(control)}")
            if not guard.policy.review.moderators:
                say("nobody can log in: review.moderators is empty; `review token` makes a line for it")
        if not guard.enforcing:
            say("the guard only observes: everything passes")

    Supervisor(plan, public, control, workers=workers, say=say).run(ready)


def _address(text: str) -> tuple[str, int]:
    from feedback_guard.errors import UsageError

    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[3]) > 65_535:
        raise UsageError(f"--admin {text!r} is neither HOST:PORT nor `off`")
    return match[1] or match[2], int(match[3])


def _is_itself(upstream: Upstream, at: tuple[str, int]) -> bool:
    host, port = at
    return upstream.port == port and (upstream.host == host or {upstream.host, host} <= _LOCAL)


def _listen(host: str, port: int, option: str) -> socket.socket:
    from feedback_guard.gateway.supervisor import GatewayError

    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise GatewayError(f"{option}: cannot listen on {host}:{port}: {error.strerror or error}") from None
    listener.setblocking(False)
    return listener


def _where(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
