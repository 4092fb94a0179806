"""One request on its way to the upstream and back, streaming both ways.

What becomes of it, and what the guard records of a guarded request:

============================================  =========================  ===========
what happened                                 the client gets            recorded
============================================  =========================  ===========
no connection: refused, no name, no TLS       502                        `FAILED`, and that nothing was sent
no connection in time; too many already       504; 503                   the same
the connection ended before an answer         502                        `UNKNOWN`
the answer is not HTTP                        502                        `UNKNOWN`
no answer in time                             504                        `UNKNOWN`
the answer broke off, or stalled              a part, then a close       `UNKNOWN`
an answer                                     the answer                 by its status
============================================  =========================  ===========

Nothing is ever sent twice, but for one thing: a request without a body that changes nothing (GET, HEAD, OPTIONS), when
a kept connection turns out to be closed. An answer that redirects is given to the client; it is not followed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import h11

from feedback_guard.gateway.forwarding import Forwarder
from feedback_guard.gateway.wire import Headers
from feedback_guard.gateway.wires import (
    UpstreamBusyError,
    UpstreamError,
    UpstreamLostError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
    Wire,
    Wires,
)
from feedback_guard.middleware.interface import (
    PASSAGE,
    PASSAGE_KEY,
    Message,
    Receive,
    RequestMetrics,
    Scope,
    Send,
)
from feedback_guard.middleware.outcome import OUTCOME_KEY, Outcome
from feedback_guard.middleware.replies import RETRY_AFTER_SECONDS, Problem
from feedback_guard.store.states import Delivery

log = logging.getLogger(__name__)

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_NOT_SENT: Final = Outcome(
    Delivery.FAILED, {"cause": "the upstream was not reached, and has seen nothing of the request"}
)
_NOT_KNOWN: Final = Outcome(Delivery.UNKNOWN, {"cause": "the upstream was sent the request, and did not answer"})


class Relay:
    """One request.

    Parameters
    ----------
    wires
        The connections to the upstream.
    forwarder
        Makes the header fields.
    fields
        The request's, as `forwarder` made them.
    metrics
        Where failures are counted.
    scope, receive, send
        As the server gave them.
    """

    def __init__(
        self,
        wires: Wires,
        forwarder: Forwarder,
        fields: Headers,
        metrics: RequestMetrics,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self._wires = wires
        self._forwarder = forwarder
        self._fields = fields
        self._metrics = metrics
        self._scope = scope
        self._receive = receive
        self._send = send
        self._judged = scope.get(PASSAGE_KEY) is PASSAGE
        self._clock: Callable[[], float] = asyncio.get_running_loop().time
        self._moved = 0.0
        self._uploaded = False
        self._client_left = False
        self._answering = False

    async def run(self) -> None:
        """Carry it there and back.

        Raises
        ------
        UpstreamError
            If an answer broke off: the server breaks off what it gave the client, and the guard records it.
        """
        framed = any(name in {b"content-length", b"transfer-encoding"} for name, _ in self._scope["headers"])
        # A body that is announced is not waited for: some clients send it when they see the answer begin.
        first = None if framed else await self._receive()
        request = self._request(first or {})
        repeatable = self._scope["method"] in _SAFE and not _has_body(request)
        try:
            wire = self._wires.reuse() if repeatable else None
            if wire is None or not await self._exchanged(wire, request, first):
                await self._exchange(await self._wires.connect(), request, first)
        except UpstreamUnreachableError as error:
            self._note(error)
            await self._unsent(error)
        except UpstreamError as error:
            if self._client_left and not self._judged:
                return
            self._note(error)
            if self._answering:
                raise
            await self._failed(error)

    def _note(self, error: UpstreamError) -> None:
        self._metrics.upstream_failed(_kind(error))
        log.warning("%s", error)

    async def _exchanged(self, wire: Wire, request: h11.Request, first: Message | None) -> bool:
        """Try a kept connection; False if it was closed by then, and the request may go out on another."""
        try:
            await self._exchange(wire, request, first)
        except UpstreamLostError:
            if self._answering or self._client_left:
                raise
            return False
        return True

    def _request(self, first: Message) -> h11.Request:
        """The head: target and fields as they came, the body framed anew."""
        scope = self._scope
        target: bytes = scope.get("raw_path") or scope["path"].encode("ascii", "surrogateescape")
        if scope["query_string"] or b"?" in target:
            target += b"?" + scope["query_string"]
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        chunked = any(name == b"transfer-encoding" for name, _ in scope["headers"])
        fields = list(self._fields)
        if chunked or (not lengths and (first.get("body") or first.get("more_body"))):
            fields.append((b"transfer-encoding", b"chunked"))
        elif lengths:
            fields.append((b"content-length", lengths[0]))
        return h11.Request(method=scope["method"], target=target, headers=fields)

    async def _exchange(self, wire: Wire, request: h11.Request, first: Message | None) -> None:
        """Send the request and give on the answer, at the same time."""
        upload: asyncio.Task[None] | None = None
        self._moved, self._uploaded = self._clock(), False
        try:
            await wire.send(request)
            upload = asyncio.get_running_loop().create_task(self._upload(wire, first))
            rest = await self._download(wire)
        except h11.LocalProtocolError as error:
            raise UpstreamLostError(f"the request cannot be sent as it is: {error}") from None
        finally:
            if upload is not None:
                upload.cancel()
                await asyncio.wait({upload})
            self._wires.give_back(wire)
        # Now that the connection is there for the client's next request, it may have the end of this answer.
        for message in rest:
            await self._send(message)

    async def _upload(self, wire: Wire, first: Message | None) -> None:
        """Send the body as it comes, then watch whether the client stays. Never raises: the answer says what was."""
        message = first
        try:
            while True:
                if message is None:
                    message = await self._receive()
                if message["type"] == "http.disconnect":
                    self._client_left = True
                    break
                if message.get("body"):
                    await wire.send(h11.Data(data=message["body"]))
                    self._moved = self._clock()
                if not message.get("more_body", False):
                    await wire.send(h11.EndOfMessage())
                    break
                message = None
            self._moved, self._uploaded = self._clock(), not self._client_left
            if self._uploaded and not self._judged:
                while (await self._receive())["type"] != "http.disconnect":
                    pass
                self._client_left = True
        except UpstreamLostError:
            return  # it may have answered before it closed
        except h11.LocalProtocolError:
            log.warning("a client's body is not as long as its Content-Length says")
        if not self._uploaded or self._client_left:
            # An incomplete request must not look complete, and an answer that nobody waits for need not be made.
            wire.abort()

    async def _download(self, wire: Wire) -> list[Message]:
        """Give on the answer as it comes, but for what comes together with its end: that is returned."""
        held: list[Message] = []
        while True:
            event: object = wire.read_now()
            if event is None:
                for message in held:
                    self._answering = True
                    await self._send(message)
                held.clear()
                event = await self._next(wire)
            if isinstance(event, h11.Response):
                fields = self._forwarder.response(event.headers.raw_items())
                held.append({"type": "http.response.start", "status": event.status_code, "headers": fields})
            elif isinstance(event, h11.Data):
                held.append({"type": "http.response.body", "body": bytes(event.data), "more_body": True})
            elif isinstance(event, h11.EndOfMessage):
                return [*held, {"type": "http.response.body", "body": b"", "more_body": False}]
            elif not isinstance(event, h11.InformationalResponse):
                raise UpstreamLostError("the upstream closed the connection before it had answered")

    async def _next(self, wire: Wire) -> object:
        patience = self._wires.patience.read_seconds
        while True:
            try:
                async with asyncio.timeout(patience):
                    return await wire.read()
            except TimeoutError:
                if not self._uploaded and self._clock() < self._moved + patience:
                    continue  # the client is still sending, and the upstream still takes it
                raise UpstreamTimeoutError(f"the upstream said nothing for {patience:g} s") from None

    async def _unsent(self, error: UpstreamUnreachableError) -> None:
        """Answer for a request of which the upstream has seen nothing."""
        detail = "The application was not reached, and has seen nothing of the request. Try again later."
        status, code = (503, "upstream_busy") if isinstance(error, UpstreamBusyError) else (502, "upstream_unreachable")
        if error.timed_out:
            status, code = 504, "upstream_unreachable"
        await self._answer(Problem(status, code, detail, retry_after_seconds=RETRY_AFTER_SECONDS), _NOT_SENT)

    async def _answer(self, problem: Problem, outcome: Outcome) -> None:
        reply = problem.reply()
        await self._send(
            {
                "type": "http.response.start",
                "status": reply.status,
                "headers": list(reply.headers),
                OUTCOME_KEY: outcome,
            }
        )
        await self._send({"type": "http.response.body", "body": reply.body, "more_body": False})

    async def _failed(self, error: UpstreamError) -> None:
        """Answer for a request that the upstream may have had."""
        late = isinstance(error, UpstreamTimeoutError)
        detail = "The application did not answer{}. Whether it did what was asked is not known."
        problem = Problem(
            504 if late else 502,
            "upstream_timeout" if late else "upstream_lost",
            detail.format(" in time" if late else ""),
        )
        await self._answer(problem, _NOT_KNOWN)


def _kind(error: UpstreamError) -> str:
    """How it failed, as the metrics name it."""
    if isinstance(error, UpstreamBusyError):
        return "busy"
    if isinstance(error, UpstreamUnreachableError):
        return "unreachable"
    return "timeout" if isinstance(error, UpstreamTimeoutError) else "lost"


def _has_body(request: h11.Request) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))
        for name, value in request.headers
    )
