"""Puts a gateway together: the middleware that every door uses, around the proxy."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from feedback_guard.errors import UsageError
from feedback_guard.gateway.door import Door
from feedback_guard.gateway.forwarding import Forwarder
from feedback_guard.gateway.proxy import Proxy
from feedback_guard.gateway.upstream import Upstream
from feedback_guard.gateway.wires import Patience, Wires
from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from feedback_guard.middleware.dispatch import DEADLINE_SECONDS, POLL_SECONDS
from feedback_guard.middleware.interface import JudgingGuard

MAX_REPLAY_SECONDS: Final = 600.0
"""Longest time that a replayed request may take, however long the operator waits for answers."""


@dataclass(frozen=True, slots=True)
class Passage:
    """How requests get to the upstream.

    Parameters
    ----------
    upstream
        URL of the application: scheme, host and port.
    host_header
        Sent as Host instead of the client's; None passes the client's on.
    trusted_proxies
        Addresses or networks of the operator's own proxies, whose account of the client is kept.
    upstream_ca
        File with the certificates that an `https` upstream is checked against; None takes the system's.
    patience
        How long to wait for the upstream.
    """

    upstream: str
    host_header: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    upstream_ca: str | None = None
    patience: Patience = field(default_factory=Patience)


def gateway_app(
    guard: JudgingGuard,
    passage: Passage,
    *,
    poll_seconds: float = POLL_SECONDS,
) -> Door:
    """Make the application that a gateway serves.

    Parameters
    ----------
    guard
        The engine.
    passage
        How requests get to the upstream.
    poll_seconds
        Of the middleware.

    Raises
    ------
    UsageError
        If the passage is malformed. An upstream that cannot be reached is no error: it may come later.
    PolicyError
        If a route of the policy cannot work.

    Examples
    --------
    >>> from feedback_guard import Guard
    >>> app = gateway_app(Guard.from_policy("balanced"), Passage("http://127.0.0.1:5000"))
    """
    upstream = Upstream.parse(passage.upstream)
    forwarder = Forwarder.of(upstream, guard.policy.identity, host=passage.host_header, trusted=passage.trusted_proxies)
    wires = Wires(upstream, passage.patience, tls=_tls(passage.upstream_ca, upstream))
    patience = passage.patience.connect_seconds + passage.patience.read_seconds + 1.0
    middleware = FeedbackGuardMiddleware(
        Proxy(guard.metrics, wires, forwarder),
        guard=guard,
        poll_seconds=poll_seconds,
        # A replayed request may take as long as one that a client waits for.
        replay_deadline_seconds=min(
            MAX_REPLAY_SECONDS,
            max(DEADLINE_SECONDS, patience),
        ),
        # The proxy's own patience ends before.
        silence_seconds=patience,
    )
    return Door(middleware, guard, forwarder)


def _tls(ca: str | None, upstream: Upstream) -> ssl.SSLContext | None:
    if ca is None:
        return None
    if upstream.scheme != "https":
        raise UsageError("--upstream-ca is for an https upstream")
    if not Path(ca).is_file():
        raise UsageError(f"--upstream-ca {ca!r} is not a file")
    try:
        return ssl.create_default_context(cafile=ca)
    except (ssl.SSLError, OSError) as error:
        raise UsageError(f"--upstream-ca {ca!r} has no certificates that can be read: {error}") from None
