"""Gives out receipts: each answer of a serving endpoint gets a `Feedback-Receipt` for whom it is served to.

Two ways, by the policy's `digest`:

- `receipt`: the answer waits until it is whole, within bounds, and the receipt carries the digest of its text.
- `store`: the answer streams. A header stands before the body, so the receipt is signed when nobody knows its text; it
  says that the digest is in the store, where it is written before the end of the answer is let through.

The application and its clients never suffer for a receipt: what cannot be signed passes as it is, counted, and feedback
on it is refused.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from feedback_guard.errors import GuardError, StoreError
from feedback_guard.middleware.identity import Identifier
from feedback_guard.middleware.interface import ASGIApp, JudgingGuard, Message, Receive, Scope, Send
from feedback_guard.middleware.replies import BadInputError
from feedback_guard.middleware.routes import RouteTable
from feedback_guard.middleware.served import Finder, Reader, UnreadableError
from feedback_guard.middleware.service import Service
from feedback_guard.policy.receipts import ServingPolicy
from feedback_guard.policy.routes import RoutePolicy
from feedback_guard.store.votes import vote_key

log = logging.getLogger(__name__)

HEADER: Final = b"feedback-receipt"
"""Header of an answer that its receipt stands in."""
_WITHOUT_OUTPUT: Final = frozenset({204, 205, 206})


class Serving:
    """Stands between the middleware and the application, for endpoints that serve outputs.

    Parameters
    ----------
    app
        The application.
    guard
        Has the keys.
    identifier
        Says whom an answer is served to, as it says of feedback.
    service
        Starts the guard.
    root_path
        A prefix that the application strips by itself.

    Raises
    ------
    PolicyError
        If an expression or a path cannot work, or an endpoint is a route, too.
    """

    def __init__(
        self, app: ASGIApp, guard: JudgingGuard, identifier: Identifier, service: Service, *, root_path: str = ""
    ) -> None:
        self._app = app
        self._guard = guard
        self._identifier = identifier
        self._service = service
        self._endpoints = {policy.name: _Endpoint(policy, Finder(policy)) for policy in guard.policy.receipts.serving}
        stand_ins = [_stand_in(policy) for policy in guard.policy.receipts.serving]
        RouteTable([*guard.policy.routes, *stand_ins], root_path=root_path)
        self._table = RouteTable(stand_ins, root_path=root_path, exactly=lambda: True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request that is no feedback."""
        match = self._table.match(scope) if scope["type"] == "http" and scope["method"] != "HEAD" else None
        if match is None:
            await self._app(scope, receive, send)
            return
        name = match.route.name
        try:
            contributor = (await self._identifier.identify(scope)).contributor
            await self._service.ready(scope)
        except (BadInputError, GuardError) as error:
            unnamed = isinstance(error, BadInputError)
            if not unnamed:
                log.error("an answer of %s gets no receipt: %s", name, error)
                self._guard.metrics.failed("receipt")
            self._guard.metrics.receipt(name, "unnamed" if unnamed else "unsigned")
            await self._app(scope, receive, send)
            return
        # A compressed answer could not be read.
        child = {**scope, "headers": [field for field in scope["headers"] if field[0] != b"accept-encoding"]}
        issuing = _Issuing(self._guard, self._endpoints[name], contributor, send)
        try:
            await self._app(child, receive, issuing.send)
        finally:
            for key, value in child.items():
                if key != "headers" and scope.get(key) is not value:
                    scope[key] = value  # middleware further out sees what routing found, as if there were no copy


@dataclass(frozen=True, slots=True)
class _Endpoint:
    policy: ServingPolicy
    finder: Finder


class _Issuing:
    """One answer on its way out."""

    def __init__(self, guard: JudgingGuard, endpoint: _Endpoint, contributor: str, send: Send) -> None:
        self._guard = guard
        self._policy = endpoint.policy
        self._finder = endpoint.finder
        self._contributor = contributor
        self._send = send
        self._waiting: list[Message] | None = None
        self._size = 0
        self._reader: Reader | None = None
        self._interaction = ""

    async def send(self, message: Message) -> None:
        """Pass a message on, or keep it until the answer is whole."""
        if message["type"] == "http.response.start":
            await self._start(message)
        elif self._waiting is not None:
            await self._wait(self._waiting, message)
        elif self._reader is not None and message["type"] == "http.response.body":
            await self._follow(self._reader, message)
        else:
            await self._send(message)

    async def _start(self, message: Message) -> None:
        fields = [(bytes(name).lower(), bytes(value)) for name, value in message.get("headers", ())]
        names = {name for name, _ in fields}
        # What the application signed by itself stays as it is.
        if not 200 <= message["status"] <= 299 or message["status"] in _WITHOUT_OUTPUT or HEADER in names:
            await self._send(message)
        elif any(name == b"content-encoding" and value != b"identity" for name, value in fields):
            await self._unsigned("unreadable", [message])
        elif self._policy.digest == "receipt":
            announced = next((value for name, value in fields if name == b"content-length"), b"")
            if announced.isdigit() and (len(announced) > 18 or int(announced) > self._policy.max_bytes):
                await self._unsigned("too_large", [message])
            else:
                self._waiting = [message]
        else:
            await self._begin(message, fields)

    async def _begin(self, message: Message, fields: list[tuple[bytes, bytes]]) -> None:
        """Sign at the beginning of an answer; its text is followed to its end."""
        try:
            self._interaction = self._named(fields) or self._guard.new_id()
            signed = self._guard.receipts.signer.sign(
                interaction=self._interaction,
                contributor=self._contributor,
                model=self._policy.model,
                audience=self._policy.audience,
                recorded=True,
            )
        except GuardError as error:
            self._failed(error)
            await self._unsigned("unsigned", [message])
            return
        self._reader = self._finder.reader()
        self._guard.metrics.receipt(self._policy.name, "issued")
        await self._send(_with(message, signed))

    async def _follow(self, reader: Reader, message: Message) -> None:
        """Read a piece; the digest is on record before the last one goes out, so that feedback cannot be faster."""
        try:
            reader.feed(message.get("body") or b"")
            if not message.get("more_body", False):
                key = vote_key(self._policy.audience, self._interaction, self._contributor)
                await self._guard.receipts.serve(key, reader.finish().digest())
                self._reader = None
        except UnreadableError as error:
            self._reader = None
            log.warning("an answer of %s has no digest: %s", self._policy.name, error)
            self._guard.metrics.receipt(self._policy.name, "unreadable")
        except StoreError as error:
            self._reader = None
            self._failed(error)
            self._guard.metrics.receipt(self._policy.name, "unsigned")
        await self._send(message)

    async def _wait(self, waiting: list[Message], message: Message) -> None:
        waiting.append(message)
        if message["type"] != "http.response.body":
            await self._unsigned("unreadable", waiting)  # a file that the server sends, and other extensions
            return
        self._size += len(message.get("body") or b"")
        if self._size > self._policy.max_bytes:
            await self._unsigned("too_large", waiting)
        elif not message.get("more_body", False):
            await self._whole(waiting)

    async def _whole(self, waiting: list[Message]) -> None:
        """Sign a whole answer, and let it go."""
        start = waiting[0]
        body = b"".join(message.get("body") or b"" for message in waiting[1:])
        fields = [(bytes(name).lower(), bytes(value)) for name, value in start.get("headers", ())]
        try:
            reader = self._finder.reader()
            reader.feed(body)
            signed = self._guard.receipts.signer.sign(
                interaction=self._finder.interaction(body) or self._named(fields) or self._guard.new_id(),
                contributor=self._contributor,
                output=reader.finish(),
                model=self._policy.model,
                audience=self._policy.audience,
            )
        except UnreadableError as error:
            log.warning("an answer of %s gets no receipt: %s", self._policy.name, error)
            await self._unsigned("unreadable", waiting)
            return
        except GuardError as error:
            self._failed(error)
            await self._unsigned("unsigned", waiting)
            return
        self._guard.metrics.receipt(self._policy.name, "issued")
        await self._release([_with(start, signed), *waiting[1:]])

    def _named(self, fields: list[tuple[bytes, bytes]]) -> str | None:
        """The identifier that a header names; none if it is not there."""
        wanted = (self._policy.interaction_header or "").lower().encode("ascii")
        found = next((value for name, value in fields if name == wanted), None)
        return found.decode("latin-1") if found else None

    async def _unsigned(self, outcome: str, messages: list[Message]) -> None:
        self._guard.metrics.receipt(self._policy.name, outcome)
        await self._release(messages)

    async def _release(self, messages: list[Message]) -> None:
        self._waiting = None
        for message in messages:
            await self._send(message)

    def _failed(self, error: GuardError) -> None:
        log.error("an answer of %s gets no receipt: %s", self._policy.name, error)
        self._guard.metrics.failed("receipt")


def _with(start: Message, signed: str) -> Message:
    return {**start, "headers": [*start.get("headers", ()), (HEADER, signed.encode("ascii"))]}


def _stand_in(policy: ServingPolicy) -> RoutePolicy:
    """A route that takes the same requests, for the table that finds routes."""
    return RoutePolicy.model_validate(
        {
            "name": policy.name,
            "path": policy.path,
            "methods": policy.methods,
            "accepts": ("json", "empty"),
            "extract": "@",
        }
    )
