"""Ports on loopback that nobody listens on."""

from __future__ import annotations

import secrets
import socket
from typing import Final

_NOBODYS: Final = range(20_000, 32_000)
"""Below those that a system gives to whoever asks for any, of which each test asks for many: one of them that is free
now may be somebody's before its server has started."""


def free_port() -> int:
    """A port that nobody listens on now, and that nobody gets by chance."""
    while True:
        port = secrets.choice(_NOBODYS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
