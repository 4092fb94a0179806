"""An application that hangs for ever in a request that a client waits for, behind the middleware and the gateway.

It is recorded as unknown after a time, and when the guard ends; the client sees what the application said, and no more;
neither other requests nor the end of the server wait for it. If it answers after all, that is what is recorded.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from feedback_guard.gateway.relay import Relay
from feedback_guard.gateway.wires import Patience, Wires
from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from feedback_guard.middleware.silence import Listening, Silences
from feedback_guard.store.states import Delivery
from tests.gateway.serving import Gateway
from tests.gateway.upstreams import Upstream
from tests.middleware.fakes import FEEDBACK, FakeGuard
from tests.patience import PATIENCE_SECONDS
from tests.serving import Serving

SECONDS = {"middleware": 0.3, "gateway": 1.5}
"""How long it may be silent. Behind a gateway that is how long a request that does not hang may take, too."""
HOW = {
    "before its answer": (b"", True),
    "in its answer": (b"first", True),
    "and cannot be cancelled": (b"", False),
}
"""What it has said, and whether it ends when it is cancelled."""


class Hanging:
    """An application that hangs until the test ends; only the first request is so unlucky."""

    def __init__(self, how: str) -> None:
        self.said, self.obedient = HOW[how]
        self.go_on = threading.Event()
        self.called = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError("HTTP only")
        await receive()
        start = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]}
        said = b""
        if not self.called.is_set():
            said = self.said
            if said:
                await send(start)
                await send({"type": "http.response.body", "body": said, "more_body": True})
            self.called.set()
            while not self.go_on.is_set():
                with contextlib.suppress(*() if self.obedient else (asyncio.CancelledError,)):
                    await asyncio.sleep(0.01)
        if not said:
            await send(start)
        await send({"type": "http.response.body", "body": b"firstlast"[len(said) :], "more_body": False})


class Behind:
    """A guard in front of something that hangs, and what there is to look at."""

    def __init__(self, serving: Serving, guard: FakeGuard, hanging: Hanging, left: Callable[[], int]) -> None:
        self.serving = serving
        self.guard = guard
        self.hanging = hanging
        self.left = left
        """Tasks, calls and connections that are left."""
        self.missing: str | None = None
        """What is expected not to come; with it, patience is lost soon."""

    def until(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + (3.0 if self.missing and self.missing in what else PATIENCE_SECONDS)
        while not condition():
            assert time.monotonic() < end, f"{what}; states: {[one.delivery for one in self.guard.kept.values()]}"
            time.sleep(0.005)


@contextlib.contextmanager
def behind(door: str, how: str, seconds: float | None = None) -> Iterator[Behind]:
    guard, hanging = FakeGuard(), Hanging(how)
    seconds = SECONDS[door] if seconds is None else seconds
    if door == "middleware":
        middleware = FeedbackGuardMiddleware(hanging, guard=guard, silence_seconds=seconds)
        service = middleware._service
        serving = Serving(middleware)
        serving.server.config.timeout_graceful_shutdown = 1
        there = Behind(serving, guard, hanging, lambda: len(service.tasks) + len(service.silences))
        with contextlib.ExitStack() as stack:
            stack.enter_context(serving)
            stack.callback(hanging.go_on.set)
            yield there
        return
    wires: list[Wires] = []
    real = Relay.__init__

    def noting(self: Relay, one: Wires, *args: Any) -> None:
        wires.append(one)
        real(self, one, *args)

    def serve(connection: socket.socket) -> bool:
        while FEEDBACK_END not in connection.recv(65_536):
            pass
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
        if hanging.called.is_set():
            connection.sendall(head + b"firstlast")
            return False
        connection.sendall(head + hanging.said if hanging.said else b"")
        hanging.called.set()
        hanging.go_on.wait(PATIENCE_SECONDS)
        return False

    patience = Patience(connect_seconds=PATIENCE_SECONDS, read_seconds=seconds)
    with pytest.MonkeyPatch.context() as patch, Upstream() as upstream:
        patch.setattr(Relay, "__init__", noting)
        upstream.on_connection = serve
        gateway = Gateway(upstream.url, guard, patience=patience)
        gateway.server.config.timeout_graceful_shutdown = 1
        with contextlib.ExitStack() as stack:
            stack.enter_context(gateway)
            stack.callback(hanging.go_on.set)
            yield Behind(gateway, guard, hanging, lambda: wires[0]._busy)


FEEDBACK_END = b"}"
CASES = [
    ("middleware", "before its answer"),
    ("middleware", "in its answer"),
    ("middleware", "and cannot be cancelled"),
    ("gateway", "before its answer"),
    ("gateway", "in its answer"),
]


def is_unknown_until_it_answers(there: Behind, door: str) -> None:
    guard, said = there.guard, there.hanging.said
    with there.serving.connect() as client:
        client.request("POST", "/feedback", FEEDBACK)
        there.until(there.hanging.called.is_set, "it was not called")
        there.until(lambda: guard.only.delivery is Delivery.UNKNOWN, "no outcome")
        assert guard.only.detail.get("status") == (200 if said else None if door == "middleware" else 504)
        assert there.serving.post("/feedback", FEEDBACK).body == b"firstlast", "others are served"
        wanted, got = said or (b" 504 " if door == "gateway" else b""), b""
        while wanted not in got:
            piece = client.socket.recv(65_536)
            assert piece, got
            got += piece
        client.socket.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            while piece := client.socket.recv(65_536):
                got += piece
        if said:
            assert got.endswith(said), "as far as the application came"
        else:
            assert (b" 504 " in got) is (door == "gateway"), got
    hung = guard.kept["s-1"]
    there.until(lambda: there.left() == int(door == "middleware"), "more is left than the call that hangs")
    assert hung.delivery is Delivery.UNKNOWN
    there.hanging.go_on.set()
    if door == "middleware":
        there.until(lambda: hung.delivery is Delivery.DELIVERED, "the late answer is not recorded")
    there.until(lambda: there.left() == 0, "something is left")
    there.until(lambda: guard.kept["s-2"].delivery is Delivery.DELIVERED, "the other one's outcome is not recorded")
    late = [Delivery.DELIVERED] if door == "middleware" else []
    assert hung.history == [Delivery.DISPATCHING, Delivery.UNKNOWN, *late]


def does_not_hold_up_the_end(there: Behind) -> None:
    with there.serving.connect() as client:
        client.request("POST", "/feedback", FEEDBACK)
        there.until(there.hanging.called.is_set, "it was not called")
        there.serving.server.should_exit = True
        there.until(lambda: there.guard.stops == 1, "the guard does not stop")
        assert there.guard.only.history == [Delivery.DISPATCHING, Delivery.UNKNOWN], "what is recorded by then"
        there.hanging.go_on.set()
        assert client.closed()


@pytest.mark.parametrize(("door", "how"), CASES)
def test_it_is_unknown_until_it_answers(door: str, how: str) -> None:
    with behind(door, how) as there:
        is_unknown_until_it_answers(there, door)


@pytest.mark.parametrize(("door", "how"), CASES)
def test_it_does_not_hold_up_the_end(door: str, how: str) -> None:
    with behind(door, how, seconds=60.0) as there:
        does_not_hold_up_the_end(there)


# Each of these is noticed.


@contextlib.contextmanager
def noticed(what: str, door: str, how: str, **options: float) -> Iterator[Behind]:
    with behind(door, how, **options) as there:
        there.missing = what
        with pytest.raises(AssertionError, match=what):
            yield there


def test_a_guard_that_waits_for_ever_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Listening, "go_on", lambda _: None)
    with noticed("no outcome", "middleware", "before its answer") as there:
        is_unknown_until_it_answers(there, "middleware")


def test_a_gateway_that_waits_for_ever_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Relay, "_next", lambda _, wire: wire.read())
    with noticed("no outcome", "gateway", "before its answer") as there:
        is_unknown_until_it_answers(there, "gateway")


def test_a_late_answer_that_is_not_recorded_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Listening.end

    def end(self: Listening, outcome: Any) -> asyncio.Event:
        self._told = outcome.delivery if self._told else None
        return real(self, outcome)

    monkeypatch.setattr(Listening, "end", end)
    with noticed("late answer", "middleware", "in its answer") as there:
        is_unknown_until_it_answers(there, "middleware")


def test_an_end_that_forgets_what_hangs_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Silences, "end", lambda _: None)
    with noticed("recorded by then", "middleware", "and cannot be cancelled", seconds=60.0) as there:
        does_not_hold_up_the_end(there)


def test_connections_that_are_not_given_back_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Wires, "give_back", lambda _, wire: wire.abort())
    with noticed("more is left", "gateway", "in its answer") as there:
        is_unknown_until_it_answers(there, "gateway")
