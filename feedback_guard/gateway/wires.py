"""Connections to the upstream: made within a deadline, used for one request at a time, kept for the next.

A kept connection may be closed by the upstream at the very moment when a request goes out on it, and then nobody knows
whether the request was read. So only requests that change nothing go out on kept connections, and are sent again on a
new one if that happens; every other request gets a connection of its own, which is kept afterwards. A kept connection
on which bytes arrive that no request asked for is closed: they would be taken for the next request's answer.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass
from typing import Final, cast

import h11

from feedback_guard import settings
from feedback_guard.errors import GuardError
from feedback_guard.gateway.upstream import Upstream

_HIGH_WATER: Final = 256 * 1024
_MOST_KEPT: Final = 64


class UpstreamError(GuardError):
    """The upstream could not be reached, or was not understood."""


class UpstreamUnreachableError(UpstreamError):
    """There was no connection, so the upstream has seen nothing of the request.

    Parameters
    ----------
    message
        What happened.
    timed_out
        Whether it was a matter of time.
    """

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


class UpstreamBusyError(UpstreamUnreachableError):
    """There are as many connections as may be."""


class UpstreamLostError(UpstreamError):
    """The connection ended, or made no sense, after the request had been sent or begun."""


class UpstreamTimeoutError(UpstreamError):
    """The upstream did not answer in time; it may have had the request."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the gateway waits for its upstream.

    Parameters
    ----------
    connect_seconds
        For a connection.
    read_seconds
        For the beginning of an answer once the request was sent, and for each further part of it.
    keep_seconds
        How long a connection is kept for the next request; less than the upstream keeps it (Node and uvicorn: 5 s).
    """

    connect_seconds: float = 5.0
    read_seconds: float = 60.0
    keep_seconds: float = 4.0


class Wire(asyncio.Protocol):
    """One connection to the upstream."""

    def __init__(self) -> None:
        self.http = h11.Connection(h11.CLIENT, max_incomplete_event_size=settings.MAX_ANSWER_HEAD_BYTES)
        self.lost = False
        self.kept = False
        self.pool: Wires | None = None
        self.timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._eof = False
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take bytes of an answer."""
        if self.kept:
            self.abort()
            return
        self._pieces.append(data)
        self._size += len(data)
        if self._size > _HIGH_WATER:
            self._transport.pause_reading()
        self._news.set()

    def eof_received(self) -> bool:
        """Note the end; what was sent before it is still read."""
        self._eof = True
        self._news.set()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Note the loss."""
        self.lost = True
        self._news.set()
        self._writable.set()
        if self.pool is not None:
            self.pool.forget(self)

    def pause_writing(self) -> None:
        """Wait: the upstream does not read."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Go on."""
        self._writable.set()

    @property
    def usable(self) -> bool:
        """Whether another request may go out on it."""
        return not self.lost and not self._eof and not self._pieces and not self._transport.is_closing()

    async def send(self, event: h11.Event) -> None:
        """Send a part of the request; returns when there is room for more.

        Raises
        ------
        UpstreamLostError
            If the connection is gone. An answer may have come before.
        """
        data = self.http.send(event)
        if self.lost or self._transport.is_closing():
            raise UpstreamLostError("the upstream closed the connection while the request was sent")
        if data:
            self._transport.write(data)
        if not self._writable.is_set():
            await self._writable.wait()

    async def read(self) -> h11.Event | type[h11.PAUSED]:
        """Read the next part of the answer.

        Raises
        ------
        UpstreamLostError
            If the connection ended in the middle of it, or it is not HTTP.
        """
        while True:
            event = self.read_now()
            if event is not None:
                return event
            while not self._pieces:
                if self._eof or self.lost:
                    if self.http.their_state is h11.SEND_RESPONSE or not self._eof:
                        raise UpstreamLostError("the upstream closed the connection before it had answered")
                    self._pieces.append(b"")
                    break
                self._news.clear()
                await self._news.wait()
            piece = self._pieces.popleft()
            self._size -= len(piece)
            if self._size <= _HIGH_WATER // 2 and not self.lost and not self._transport.is_closing():
                self._transport.resume_reading()
            self.http.receive_data(piece)

    def read_now(self) -> h11.Event | type[h11.PAUSED] | None:
        """Read the next part of the answer if it is here.

        Raises
        ------
        UpstreamLostError
            As `read`.
        """
        try:
            event = self.http.next_event()
        except h11.RemoteProtocolError as error:
            raise UpstreamLostError(f"the upstream's answer is not complete, or not HTTP: {error}") from None
        return None if event is h11.NEED_DATA else event  # type: ignore[return-value]

    def abort(self) -> None:
        """End it now."""
        self._transport.abort()

    def close(self) -> None:
        """End it."""
        self._transport.close()


class Wires:
    """The connections of one worker to its upstream.

    Parameters
    ----------
    upstream
        Where they lead.
    patience
        How long to wait.
    tls
        For `https`.
    most
        Connections at a time.
    """

    def __init__(
        self,
        upstream: Upstream,
        patience: Patience,
        *,
        tls: ssl.SSLContext | None = None,
        most: int = settings.MAX_UPSTREAM_CONNECTIONS,
    ) -> None:
        self.patience = patience
        self._upstream = upstream
        self._tls = tls or (ssl.create_default_context() if upstream.scheme == "https" else None)
        self._most = most
        self._busy = 0
        self._kept: list[Wire] = []
        self._closed = False
        self.made = 0
        """Connections made so far."""

    def reuse(self) -> Wire | None:
        """Take a kept connection, the one used last; None if there is none."""
        if self._busy >= self._most:
            return None
        while self._kept:
            wire = self._kept.pop()
            wire.kept = False
            if wire.timer is not None:
                wire.timer.cancel()
            if wire.usable:
                self._busy += 1
                return wire
            wire.abort()
        return None

    async def connect(self) -> Wire:
        """Make a connection.

        Raises
        ------
        UpstreamUnreachableError
            If it cannot be made in time; then the upstream has seen nothing.
        """
        if self._busy >= self._most:
            raise UpstreamBusyError(f"{self._upstream} is busy with {self._most} requests already")
        self._busy += 1
        try:
            async with asyncio.timeout(self.patience.connect_seconds):
                _, wire = await asyncio.get_running_loop().create_connection(
                    Wire, self._upstream.host, self._upstream.port, ssl=self._tls
                )
        except BaseException as error:
            self._busy -= 1
            if isinstance(error, TimeoutError):
                raise UpstreamUnreachableError(
                    f"{self._upstream} took no connection within {self.patience.connect_seconds:g} s", timed_out=True
                ) from None
            if isinstance(error, OSError):
                raise UpstreamUnreachableError(f"{self._upstream} cannot be reached: {_reason(error)}") from None
            raise
        wire.pool = self
        self.made += 1
        return wire

    def give_back(self, wire: Wire) -> None:
        """Keep a connection for the next request if both sides have said all they had to; else end it."""
        self._busy -= 1
        done = wire.http.our_state is h11.DONE and wire.http.their_state is h11.DONE
        if not done or not wire.usable or wire.http.trailing_data[0] or self._closed or len(self._kept) >= _MOST_KEPT:
            wire.abort()
            return
        wire.http.start_next_cycle()
        wire.kept = True
        wire.timer = asyncio.get_running_loop().call_later(self.patience.keep_seconds, wire.close)
        self._kept.append(wire)

    def forget(self, wire: Wire) -> None:
        """Note that a connection has ended."""
        if wire.timer is not None:
            wire.timer.cancel()
        if wire in self._kept:
            self._kept.remove(wire)

    def close(self) -> None:
        """Keep nothing any more."""
        self._closed = True
        for wire in list(self._kept):
            wire.abort()


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
