"""What the applications of the suite have in common: what they saw, what they wait for, and what they answer."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.patience import PATIENCE_SECONDS

FIRST, SECOND = b"first;", b"second;"


@dataclass(frozen=True)
class Call:
    """One request as an endpoint saw it."""

    endpoint: str
    raw_path: bytes | None
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    decisions: tuple[str, ...]
    state: frozenset[str]
    """What is in the request's state beside the verdicts: what the application's lifespan put there."""


class Desk:
    """One application's: where its endpoints write down what they saw, and ask when to go on."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.started = self.stopped = 0
        self._changed = threading.Condition()
        self._go_on: dict[str, threading.Event] = {}

    def saw(self, endpoint: str, scope: Any, body: bytes) -> dict[str, Any]:
        """Write a request down; what the endpoint answers."""
        state = dict(scope.get("state") or {})
        verdicts = state.pop("feedback_guard", [])
        call = Call(
            endpoint,
            scope.get("raw_path"),
            scope.get("query_string", b""),
            tuple((bytes(name), bytes(value)) for name, value in scope["headers"]),
            body,
            tuple(str(verdict.decision) for verdict in verdicts),
            frozenset(state) & {"pool"},
        )
        with self._changed:
            self.calls.append(call)
            self._changed.notify_all()
        return self.seen(body) | {"decisions": list(call.decisions)}

    @staticmethod
    def seen(body: bytes) -> dict[str, Any]:
        """How an endpoint tells which body it got."""
        return {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}

    def until(self, reached: Callable[[list[Call]], bool]) -> None:
        """Block until the calls are as a test wants them."""
        with self._changed:
            assert self._changed.wait_for(lambda: reached(self.calls), PATIENCE_SECONDS), self.calls[-3:]

    def of(self, body: bytes) -> list[Call]:
        """Which calls came with this body."""
        with self._changed:
            return [call for call in self.calls if call.body == body]

    def go_on(self, body: bytes) -> threading.Event:
        """What the endpoints `wait` and `stream` wait for, each request by its own body."""
        return self._go_on.setdefault(hashlib.sha256(body).hexdigest(), threading.Event())

    def wait(self, body: bytes) -> None:
        """Wait, in an endpoint that is a thread's."""
        assert self.go_on(body).wait(PATIENCE_SECONDS), "nobody said go on"

    async def wait_async(self, body: bytes) -> None:
        """Wait, in an endpoint that is a task."""
        await asyncio.to_thread(self.wait, body)

    async def stream(self, body: bytes) -> AsyncIterator[bytes]:
        """Answer in two parts: the second is made only when the test says so."""
        yield FIRST
        await self.wait_async(body)
        yield SECOND

    def stream_now(self, body: bytes) -> Iterator[bytes]:
        """Do the same in a thread."""
        yield FIRST
        self.wait(body)
        yield SECOND

    def release(self) -> None:
        """Let go of whatever still waits."""
        for event in list(self._go_on.values()):
            event.set()
