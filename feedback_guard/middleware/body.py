"""Reads a request's body within bounds, and gives it on as if nobody had looked."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Generator, Iterable
from typing import Any, Final

from feedback_guard.clock import MICROSECONDS
from feedback_guard.errors import GuardError
from feedback_guard.middleware.interface import Message, Receive, Scope
from feedback_guard.middleware.replies import bad_input

LINGER_BYTES: Final = 64 * 1024
"""Most that is read of a body after it was refused, in bytes."""
LINGER_SECONDS: Final = 1.0
"""How long a body is read after it was refused."""
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})


class ClientLeftError(GuardError):
    """The client went away before its body was complete. A part of a body is never judged."""


class Body:
    """The body of one request: read once by the guard, then read again by the application.

    Parameters
    ----------
    receive
        The server's; after what was read here has been given on, the application talks to it directly.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._data = bytearray()
        self._whole: bytes | None = None
        self._left = False
        self.complete = False

    async def read(self, *, max_bytes: int, deadline_us: int | None) -> bytes:
        """Read the whole body.

        Bytes are counted as they come: what Content-Length says is not believed.

        Parameters
        ----------
        max_bytes
            Largest body, in bytes.
        deadline_us
            Microseconds that the client may take; None for no deadline.

        Raises
        ------
        BadInputError
            413 as soon as the body is too large, 408 after the deadline.
        ClientLeftError
            If the client left before its end.
        """
        gathering = self._gather(max_bytes)
        try:
            waits_for = gathering.send(None)
        except StopIteration:
            pass  # it was there already, as most are: a deadline costs more than to read them
        else:
            try:
                async with asyncio.timeout(None if deadline_us is None else deadline_us / MICROSECONDS):
                    await _going_on(gathering, waits_for)
            except TimeoutError:
                raise bad_input(408, "body_too_slow", "The body did not come in time.") from None
        self._whole = bytes(self._data)
        return self._whole

    async def _gather(self, max_bytes: int) -> None:
        while not self.complete:
            await self._read_one()
            if len(self._data) > max_bytes:
                raise bad_input(413, "body_too_large", f"The body is larger than {max_bytes} bytes.")

    async def _read_one(self) -> None:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._left = True
            raise ClientLeftError("the client left before its body was complete")
        if message["type"] == "http.request":
            self._data += message.get("body") or b""
            self.complete = not message.get("more_body", False)

    async def linger(self) -> None:
        """Read a little more, and throw it away, so that a client still sending can read why it was refused.

        A connection that is closed while data arrives is reset, and a reset may overtake the answer (RFC 9112,
        section 9.6).
        """
        left = LINGER_BYTES
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while left > 0 and not self.complete and not self._left:
                    message = await self._receive()
                    self._left = message["type"] == "http.disconnect"
                    self.complete = message["type"] == "http.request" and not message.get("more_body", False)
                    left -= len(message.get("body") or b"")
        except TimeoutError:
            return

    def replay(self) -> Receive:
        """Make a `receive` that gives on what was read, once, and then is the server's own.

        The next message must come from the server: an early `http.disconnect` would cut streamed answers short, and
        a second `http.request` would make some frameworks ask forever.
        """
        pending: list[Message] = []
        if self._data or self.complete:
            data = self._whole if self._whole is not None else bytes(self._data)
            pending.append({"type": "http.request", "body": data, "more_body": not self.complete})
        if self._left:
            pending.append({"type": "http.disconnect"})
        self._data = bytearray()

        async def receive() -> Message:
            if pending:
                return pending.pop(0)
            return await self._receive()

        return receive


@types.coroutine
def _going_on(work: Coroutine[Any, Any, None], waits_for: Any) -> Generator[Any, Any, None]:
    """Await a coroutine that was begun by hand, and waits for something by now."""
    while True:
        try:
            try:
                sent = yield waits_for
            except GeneratorExit:
                work.close()
                raise
            except BaseException as error:  # noqa: BLE001 - a cancellation, which is the work's to handle
                waits_for = work.throw(error)
            else:
                waits_for = work.send(sent)
        except StopIteration:
            return


def check_length(headers: Iterable[tuple[bytes, bytes]], max_bytes: int) -> None:
    """Refuse a body that is announced as too large before any of it is read.

    Raises
    ------
    BadInputError
        413.
    """
    for name, value in headers:
        if name == b"content-length" and value.isdigit() and (len(value) > 18 or int(value) > max_bytes):
            raise bad_input(413, "body_too_large", f"The body is larger than {max_bytes} bytes.")


def framed(scope: Scope, length_bytes: int) -> list[tuple[bytes, bytes]]:
    """Return the header fields for a body that is now known whole: its length, and no transfer coding.

    Applications behind a WSGI adapter read nothing without a Content-Length.
    """
    headers: list[tuple[bytes, bytes]] = list(scope["headers"])
    length = str(length_bytes).encode("ascii")
    framing = [(name, value) for name, value in headers if name in _FRAMING]
    if framing == [(b"content-length", length)]:
        return headers
    return [*((name, value) for name, value in headers if name not in _FRAMING), (b"content-length", length)]
