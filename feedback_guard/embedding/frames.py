"""What the guard and the model's process say to each other: a JSON head and bytes, each with its length before it.

No pickle: neither side could be made to run code by what the other sends.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Any, Final

from feedback_guard.errors import EmbeddingError

_LENGTHS: Final = struct.Struct(">II")
MAX_BYTES: Final = 256 * 1024 * 1024
"""Largest head or body: far above a full batch, and below what would exhaust a machine."""


class FrameError(EmbeddingError):
    """The other side is gone, or sent what is no frame."""


def send(channel: socket.socket, head: dict[str, Any], body: bytes = b"") -> None:
    """Send one frame.

    Raises
    ------
    FrameError
        If the other side is gone, or does not read in time.
    """
    data = json.dumps(head).encode("ascii")
    try:
        channel.sendall(_LENGTHS.pack(len(data), len(body)) + data + body)
    except OSError as error:
        raise FrameError(f"the model's process cannot be reached: {type(error).__name__}") from None


def receive(channel: socket.socket) -> tuple[dict[str, Any], bytes]:
    """Receive one frame.

    Raises
    ------
    FrameError
        If the other side is gone, sends nothing in time (`socket.settimeout`), or sent what is no frame.

    Examples
    --------
    >>> here, there = socket.socketpair()
    >>> send(here, {"n": 1}, b"bytes")
    >>> receive(there)
    ({'n': 1}, b'bytes')
    >>> here.close(); there.close()
    """
    n_head, n_body = _LENGTHS.unpack(_exactly(channel, _LENGTHS.size))
    if max(n_head, n_body) > MAX_BYTES:
        raise FrameError("the model's process sent something that is no frame")
    try:
        head = json.loads(_exactly(channel, n_head))
    except ValueError:
        raise FrameError("the model's process sent something that is no frame") from None
    return head, _exactly(channel, n_body)


def _exactly(channel: socket.socket, n: int) -> bytes:
    parts = bytearray()
    while len(parts) < n:
        try:
            part = channel.recv(min(n - len(parts), 1 << 20))
        except OSError as error:
            raise FrameError(f"the model's process does not answer: {type(error).__name__}") from None
        if not part:
            raise FrameError("the model's process ended")
        parts += part
    return bytes(parts)
