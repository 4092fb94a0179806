"""A client leaves at every byte of its request, or during a streamed answer; an upstream misbehaves in its answer.

Real sockets, behind the middleware and behind the gateway. What is not whole is never judged; what was judged has its
outcome, whoever is there to read it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from feedback_guard.middleware.body import Body
from feedback_guard.middleware.outcome import Recorder
from feedback_guard.middleware.service import Service
from feedback_guard.store.states import OUTCOMES, Delivery
from tests.gateway.serving import Gateway
from tests.gateway.upstreams import Seen, Upstream, reset
from tests.middleware.fakes import FEEDBACK, FakeGuard
from tests.patience import PATIENCE_SECONDS
from tests.serving import Serving, encode, head

BODY, FIELDS = encode(FEEDBACK, ())
PIECES = [b"piece %d;" % number for number in range(8)]
STEP = 11


class Door:
    """A guard in front of something that writes down what it got and answers in pieces."""

    def __init__(self, guard: FakeGuard, serving: Serving, bodies: list[bytes], service: Service) -> None:
        self.service = service
        self.guard = guard
        self.serving = serving
        self.bodies = bodies

    def nothing_is_left(self) -> None:
        """No task, no call, no connection of those that left."""
        tasks = self.service.tasks
        self.until(lambda: len(tasks) + len(self.service.silences) == 0, "a task, or a call, is left")
        connections = self.serving.server.server_state.connections
        self.until(lambda: not connections, "a connection is left")

    def until(self, condition: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, what
            time.sleep(0.01)


@contextlib.contextmanager
def opened(door: str) -> Iterator[Door]:
    guard, bodies = FakeGuard(), list[bytes]()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError("HTTP only")
        bodies.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in PIECES:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def answer(seen: Seen) -> bytes:
        bodies.append(seen.body)
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*PIECES, b""))
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks

    if door == "middleware":
        with Serving(FeedbackGuardMiddleware(app, guard=guard), lifespan="off") as serving:
            yield Door(guard, serving, bodies, serving.server.config.app._service)  # type: ignore[union-attr]
    else:
        with Upstream(answer) as upstream, Gateway(upstream.url, guard) as gateway:
            outermost: Any = gateway.server.config.app
            yield Door(guard, gateway, bodies, outermost._app._service)


def request(framing: str) -> tuple[bytes, int]:
    """A whole request as bytes, and how many of them are its head."""
    if framing == "sized":
        start = head("POST", "/feedback", [*FIELDS, ("content-length", str(len(BODY)))])
        return start + BODY, len(start)
    start = head("POST", "/feedback", [*FIELDS, ("transfer-encoding", "chunked")])
    half = len(BODY) // 2
    chunks = [BODY[:half], BODY[half:], b""]
    return start + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks), len(start)


def leave_at_every_byte_of_the_request(door: Door, framing: str) -> None:
    data, start = request(framing)
    for cut in range(len(data)):
        with door.serving.connect() as client:
            client.send(data[:cut])
    assert door.serving.post("/feedback", BODY).status == 200
    aborted = len(data) - start  # nobody has seen a request whose head did not come
    requests = door.guard.metrics.requests
    door.until(lambda: requests.count(("feedback", "aborted")) == aborted, f"not {aborted} aborted: {requests[-5:]}")
    assert len(door.guard.kept) == 1
    assert door.bodies == [BODY]
    door.nothing_is_left()


def leave_at_many_bytes_of_the_answer(door: Door) -> None:
    whole = len(b"".join(PIECES)) + 150
    cuts = range(0, whole, STEP)
    for cut in cuts:
        with door.serving.connect() as client:
            client.request("POST", "/feedback", BODY)
            got = 0
            while got < cut and (piece := client.socket.recv(cut - got)):
                got += len(piece)
                if got > whole - 60:
                    break
            door.until(lambda cut=cut: len(door.guard.kept) == cut // STEP + 1, "it was not judged")  # type: ignore[misc]
            reset(client.socket)
    kept = door.guard.kept.values()
    door.until(lambda: all(one.delivery in OUTCOMES for one in kept), "an outcome is missing")
    assert {one.delivery for one in kept} <= {Delivery.DELIVERED, Delivery.UNKNOWN}
    door.until(lambda: len(door.bodies) >= len(cuts), "the application was not called")
    assert door.bodies == [BODY] * len(cuts)
    door.nothing_is_left()


@pytest.mark.parametrize("framing", ["sized", "chunked"])
@pytest.mark.parametrize("door", ["middleware", "gateway"])
def test_a_client_that_leaves_at_any_byte_of_its_request_leaves_nothing(door: str, framing: str) -> None:
    with opened(door) as there:
        leave_at_every_byte_of_the_request(there, framing)


@pytest.mark.parametrize("door", ["middleware", "gateway"])
def test_a_client_that_leaves_at_any_byte_of_the_answer_loses_no_outcome(door: str) -> None:
    with opened(door) as there:
        leave_at_many_bytes_of_the_answer(there)


@pytest.mark.parametrize("door", ["middleware", "gateway"])
def test_a_half_body_that_is_taken_for_a_whole_is_noticed(door: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def read_one(self: Body) -> None:
        message = await self._receive()
        self._data += message.get("body") or b""
        self.complete = not message.get("more_body", False)

    monkeypatch.setattr(Body, "_read_one", read_one)
    with opened(door) as there:
        there.until = bounded(there.until, "aborted")  # type: ignore[method-assign]
        with pytest.raises(AssertionError, match="aborted"):
            leave_at_every_byte_of_the_request(there, "sized")


def test_an_outcome_that_goes_with_its_client_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the gateway: uvicorn does not tell a middleware of a client that left."""
    real = Recorder.begin

    def begin(self: Recorder, submission: str, outcome: Any, *, fence: int = 0) -> asyncio.Event:
        if "client" in outcome.detail or outcome.detail.get("complete") is False:
            never = asyncio.Event()
            never.set()
            return never
        return real(self, submission, outcome, fence=fence)

    monkeypatch.setattr(Recorder, "begin", begin)
    with opened("gateway") as there:
        there.until = bounded(there.until, "an outcome is missing")  # type: ignore[method-assign]
        with pytest.raises(AssertionError, match="an outcome is missing"):
            leave_at_many_bytes_of_the_answer(there)


def bounded(until: Callable[..., None], expected: str) -> Callable[..., None]:
    """Lose patience with what is expected not to come, and with nothing else."""

    def shorter(condition: Callable[[], bool], what: str) -> None:
        until(condition, what, seconds=1.0 if expected in what else PATIENCE_SECONDS)

    return shorter


# Upstreams that misbehave in the middle of an answer.

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ANSWERS = {
    "byte by byte": (HEAD + b"5\r\nabcde\r\n0\r\n\r\n", Delivery.DELIVERED),
    "a chunk without a size": (HEAD + b"5\r\nabcde\r\nxyz\r\nabc\r\n0\r\n\r\n", Delivery.UNKNOWN),
    "a chunk longer than it says": (HEAD + b"5\r\nabcdefgh\r\n0\r\n\r\n", Delivery.UNKNOWN),
    "the last chunk is missing": (HEAD + b"5\r\nabcde\r\n", Delivery.UNKNOWN),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", Delivery.UNKNOWN),
    "more than it says": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcdefgh", Delivery.DELIVERED),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_each_way_to_misbehave_has_its_state(name: str) -> None:
    data, expected = ANSWERS[name]

    def serve(connection: Any) -> bool:
        got = b""
        while not got.endswith(BODY):
            got += connection.recv(65_536)
        for number in range(len(data)):
            connection.sendall(data[number : number + 1])
        return False

    with Upstream() as upstream:
        upstream.on_connection = serve
        with Gateway(upstream.url) as gateway:
            with gateway.connect() as client:
                client.request("POST", "/feedback", BODY, [("connection", "close")])
                got = b""
                with contextlib.suppress(ConnectionResetError):
                    while piece := client.socket.recv(65_536):
                        got += piece
            kept = gateway.guard.settled()
            assert kept.delivery is expected
            assert len(upstream.raw) == 1, "nothing is sent twice"
            if expected is Delivery.DELIVERED:
                # A byte that comes alone goes on alone, as a chunk of its own.
                body = got.partition(b"\r\n\r\n")[2]
                assert bytes(byte for byte in body if byte in b"abcdefgh") == b"abcde"
            else:
                assert not got.endswith(b"0\r\n\r\n"), "half an answer is not made whole"
