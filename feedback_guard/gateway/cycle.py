"""One request and its answer, as ASGI sees them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import MutableMapping
from typing import Any, Protocol

from feedback_guard.errors import GuardError, UsageError
from feedback_guard.gateway.answers import AnswerHead, Framing, answer_head
from feedback_guard.gateway.wire import Head
from feedback_guard.middleware.interface import ASGIApp, Message, Scope
from feedback_guard.middleware.replies import Problem
from feedback_guard.middleware.traces import place_of

log = logging.getLogger(__name__)

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_FAILED = Problem(500, "failed", "The request could not be answered.")


class ClientLeftError(OSError):
    """The client is gone, or was too slow: nobody reads this answer."""


class Line(Protocol):
    """What a cycle needs of its connection."""

    @property
    def keep_alive(self) -> bool:
        """Whether the connection may be kept."""

    def date(self) -> bytes:
        """For answers that have none."""

    async def write(self, data: bytes) -> None:
        """Write, and wait while the client does not read."""

    def took(self) -> None:
        """Note that the application took what there was of the body."""

    def finished(self, cycle: Cycle, *, keep: bool) -> None:
        """Note that the answer is complete."""

    def broken(self, *, abort: bool) -> None:
        """Note that the answer cannot be completed."""


class Cycle:
    """One request and its answer.

    Parameters
    ----------
    line
        The connection.
    head
        The request's head.
    scope
        The request for the application.
    """

    def __init__(self, line: Line, head: Head, scope: Scope) -> None:
        self._line = line
        self._head = head
        self._scope = scope
        self._body = bytearray()
        self._given = False
        self._news = asyncio.Event()
        self._answer: AnswerHead | None = None
        self._written = 0
        self._expects = head.expects
        self.body_complete = False
        self.left = False
        self.complete = False

    @property
    def started(self) -> bool:
        """Whether the answer has begun."""
        return self._answer is not None

    @property
    def waiting(self) -> int:
        """Bytes of the body that the application has not taken."""
        return len(self._body)

    def feed(self, data: bytes, done: bool) -> None:
        """Take a piece of the body."""
        self._expects = False
        self._body += data
        self.body_complete = done
        self._news.set()

    def leave(self) -> None:
        """Note that the client is gone."""
        self.left = True
        self._news.set()

    async def run(self, app: ASGIApp) -> None:
        """Have the application answer, and answer for it if it does not."""
        try:
            await app(self._scope, self.receive, self.send)
        except ClientLeftError:
            pass
        except asyncio.CancelledError:
            # The server is stopping, and its patience has ended. Nobody can say what was done: no answer says so.
            self._line.broken(abort=True)
            raise
        except GuardError as error:
            log.warning("%s", error)
            await self._end()
        except Exception as error:  # noqa: BLE001 - a request must not end its worker
            log.error("the application raised: %s", place_of(error))
            await self._end()
        else:
            if not self.complete and not self.left:
                log.error("the application returned without a complete answer")
            await self._end()

    async def _end(self) -> None:
        """End an answer that the application did not end."""
        if self.complete or self.left:
            return
        if self.started:
            self._line.broken(abort=self._answer is not None and self._answer.framing is Framing.CLOSE)
            return
        reply = _FAILED.reply()
        try:
            await reply.send_and_close(self.send, _nothing)
        except ClientLeftError:
            return

    async def receive(self) -> Message:
        """Give the next piece of the body, or wait for the client to leave."""
        if self._expects and not self.started and not self.left:
            self._expects = False
            await self._line.write(_CONTINUE)
        while not self.left and not self.complete and not self._body and (self._given or not self.body_complete):
            self._news.clear()
            await self._news.wait()
        if self.left or self.complete:
            return {"type": "http.disconnect"}
        data = bytes(self._body)
        self._body.clear()
        self._given = self.body_complete
        self._line.took()
        return {"type": "http.request", "body": data, "more_body": not self.body_complete}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Write a part of the answer.

        Raises
        ------
        ClientLeftError
            If nobody is there to read it.
        UsageError
            If the application broke the protocol.
        """
        if self.left:
            raise ClientLeftError("the client has left")
        kind = message["type"]
        if kind == "http.response.start" and not self.started:
            self._expects = False
            self._answer = answer_head(
                message["status"],
                message.get("headers", ()),
                method=self._head.method,
                version=self._head.version,
                keep_alive=self._line.keep_alive and self._head.keep_alive,
                date=self._line.date(),
            )
            await self._line.write(self._answer.data)
        elif kind == "http.response.body" and self._answer is not None and not self.complete:
            await self._write(self._answer, message.get("body") or b"", end=not message.get("more_body", False))
        else:
            raise UsageError(f"the application sent {kind!r} where it does not belong")

    async def _write(self, answer: AnswerHead, body: bytes, *, end: bool) -> None:
        self._written += len(body)
        if answer.framing is Framing.NONE:
            body = b""
        elif answer.framing is Framing.LENGTH and (
            self._written > answer.length or (end and self._written < answer.length)
        ):
            raise UsageError("the application's answer is not as long as its Content-Length says")
        elif answer.framing is Framing.CHUNKED:
            body = (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + (b"0\r\n\r\n" if end else b"")
        if end:
            self.complete = True
        if body:
            await self._line.write(body)
        if end:
            self._news.set()
            self._line.finished(self, keep=answer.keep_alive)


async def _nothing() -> None:
    """The connection reads on by itself."""
