"""The other side of a request whose client has gone, or never was here: nobody reads the answer."""

from __future__ import annotations

import asyncio

from feedback_guard.middleware.interface import Message
from feedback_guard.middleware.outcome import AnswerWatch


class Alone:
    """Gives the application one whole body, and watches its answer. One object serves one request.

    Parameters
    ----------
    body
        The request's body.
    """

    def __init__(self, body: bytes) -> None:
        self.watch = AnswerWatch(_discard)
        """What is known of the answer."""
        self._answered = asyncio.Event()
        self._pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive(self) -> Message:
        """The body; then a disconnect, once the whole answer is there: until then the client seems to stay."""
        if self._pending:
            return self._pending.pop()
        await self._answered.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take a part of the answer."""
        await self.watch.send(message)
        if self.watch.complete:
            self._answered.set()


async def _discard(_: Message) -> None:
    """Nobody is there to read it."""
