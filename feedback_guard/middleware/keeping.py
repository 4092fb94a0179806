"""Keeps what the application answers, for whoever sends the same request again.

An answer is complete for its client only when the record of it is committed: whoever has read it to its end and asks
again gets the same one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from feedback_guard import settings
from feedback_guard.middleware.interface import Message, Send
from feedback_guard.middleware.replies import Reply
from feedback_guard.store.repeats import KeptAnswer

NOT_NOW: Final = frozenset({429, 503})
"""Statuses by which an application says that it did nothing and may be asked again."""
_LENGTH: Final = b"content-length"
_NO_BODY: Final = frozenset({204, 205, 304})
_SAFE: Final = frozenset(
    {
        b"cache-control",
        b"content-disposition",
        b"content-encoding",
        b"content-language",
        b"content-location",
        b"content-type",
        b"deprecation",
        b"etag",
        b"expires",
        b"last-modified",
        b"link",
        b"location",
        b"retry-after",
        b"sunset",
        b"vary",
        b"x-content-type-options",
    }
)
"""Header fields that say the same to the same client later. Never `Set-Cookie`, nor whatever is not known here."""
_SAFE_PREFIX: Final = b"access-control-"


def kept(reply: Reply) -> KeptAnswer:
    """An answer of the guard's own, as it is kept."""
    return KeptAnswer(reply.status, reply.headers, reply.body)


def again(answer: KeptAnswer) -> Reply:
    """A kept answer, as it is given again."""
    return Reply(answer.status, answer.body, answer.headers)


class Keeper:
    """Stands between the application and `send`; nothing is changed, and only the end is held back.

    Parameters
    ----------
    send
        Where the messages go.
    keep
        Called once, before the end of the answer is sent: with the answer, or with None if it is not to be kept.
    max_bytes
        Largest body that is kept.
    """

    def __init__(self, send: Send, keep: Callable[[KeptAnswer | None, int], Awaitable[None]], max_bytes: int) -> None:
        self._send = send
        self._keep = keep
        self._max_bytes = max_bytes
        self._status = 0
        self._headers: tuple[tuple[bytes, bytes], ...] | None = ()
        self._announced: int | None = None
        self._seen = 0
        self._body: bytearray | None = bytearray()
        self._held_back: list[Message] = []

    async def send(self, message: Message) -> None:
        """Pass one message on, or hold it back until the answer is whole and kept."""
        kind = message["type"]
        if kind == "http.response.start":
            self._begin(message)
        elif kind == "http.response.body":
            data = message.get("body", b"")
            self._seen += len(data)
            if self._body is not None:
                self._body += data
                if len(self._body) > self._max_bytes:
                    self._body = None
            last = not message.get("more_body", False)
            # A client that counts bytes is done before the application says so.
            if last or (self._announced is not None and self._seen >= self._announced):
                self._held_back.append(message)
                if last:
                    await self._keep(self._answer(), self._status)
                    await self.finish()
                return
        elif kind in {"http.response.pathsend", "http.response.zerocopysend"}:
            self._body = None
            if kind == "http.response.pathsend" or not message.get("more_body", False):
                await self._keep(None, self._status)
        await self._send(message)

    async def finish(self) -> None:
        """Send what is held back, also of an application that ended in the middle."""
        while self._held_back:
            await self._send(self._held_back.pop(0))

    def _begin(self, message: Message) -> None:
        self._status = message["status"]
        headers = [(bytes(name).lower(), bytes(value)) for name, value in message.get("headers", ())]
        lengths = [value for name, value in headers if name == _LENGTH]
        if len(lengths) == 1 and lengths[0].isdigit():
            self._announced = int(lengths[0])
        self._headers = _safe(headers)

    def _answer(self) -> KeptAnswer | None:
        if self._body is None or self._headers is None:
            return None
        body = bytes(self._body)
        length = () if self._status in _NO_BODY else ((_LENGTH, str(len(body)).encode("ascii")),)
        return KeptAnswer(self._status, (*self._headers, *length), body)


def _safe(headers: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[bytes, bytes], ...] | None:
    """Return the fields that may be given again; None if they are too many to keep."""
    fields = tuple((name, value) for name, value in headers if name in _SAFE or name.startswith(_SAFE_PREFIX))
    size = sum(len(name) + len(value) for name, value in fields)
    return fields if size <= settings.MAX_KEPT_HEADER_BYTES else None
