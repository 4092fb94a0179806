"""What a client of the gateway may take: bytes and time. Everything that comes from outside has a bound here."""

from __future__ import annotations

from dataclasses import dataclass

from feedback_guard import settings


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of one listener.

    Parameters
    ----------
    head_bytes, target_bytes, header_count
        Largest request head, request target and number of header fields.
    chunk_overhead_bytes
        Most bytes of chunk extensions and trailers in one request; they are read over and never passed on.
    buffer_bytes
        Most bytes of a body that wait in the gateway before the client is made to wait.
    connections
        Most open connections of one worker. At the bound the connection that has waited longest without a request in
        progress makes room.
    head_seconds
        How long a request's head may take, from its first byte or from the connection's beginning.
    keep_seconds
        How long a connection is kept without a request.
    body_bytes_per_second, body_grace_seconds
        Least rate of a body, and how far a client may fall behind it.
    stall_seconds
        How long a client may take none of an answer that waits for it.
    linger_seconds, linger_bytes
        How long and how much is read of a request that was answered early, so that the answer is not lost in a reset
        (RFC 9112, section 9.6).
    """

    head_bytes: int = settings.MAX_HEAD_BYTES
    target_bytes: int = settings.MAX_TARGET_BYTES
    header_count: int = settings.MAX_HEADERS
    chunk_overhead_bytes: int = settings.MAX_CHUNK_OVERHEAD_BYTES
    buffer_bytes: int = 64 * 1024
    connections: int = settings.MAX_CONNECTIONS
    head_seconds: float = 10.0
    keep_seconds: float = 60.0
    body_bytes_per_second: float = 512.0
    body_grace_seconds: float = 10.0
    stall_seconds: float = 30.0
    linger_seconds: float = 2.0
    linger_bytes: int = 256 * 1024
