"""The server's side of a connection: deadlines and bounds, tried with an application that says what it got."""

from __future__ import annotations

import contextlib
import resource
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from feedback_guard.gateway.bounds import Bounds
from tests.gateway.serving import Gateway, ServingAs, raw, read_all
from tests.gateway.upstreams import Upstream
from tests.middleware.fakes import FEEDBACK, FakeGuard, make_policy
from tests.patience import PATIENCE_SECONDS
from tests.serving import Client

SHORT = 0.5
LONG = 30.0


class Echo:
    """Answers with the body; other paths do what their name says."""

    def __init__(self) -> None:
        self.left = threading.Event()
        self.cut = threading.Event()
        self.raised: list[BaseException] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": f"{message['type']}.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        await getattr(self, scope["path"].strip("/").replace("-", "_") or "echo")(receive, send)

    async def echo(self, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left.set()
                return
            body += message["body"]
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    async def unread(self, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 403, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"no"})

    async def endless(self, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
        except OSError as error:
            self.raised.append(error)
            self.cut.set()
            raise

    async def wait(self, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left.set()

    async def nothing(self, receive: Any, send: Any) -> None:
        return

    async def raises(self, receive: Any, send: Any) -> None:
        raise RuntimeError("secret")

    async def half(self, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})

    async def longer(self, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"abc"})

    async def split(self, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"1\r\nset-cookie: a=b")]})
        await send({"type": "http.response.body", "body": b"abc"})


@contextlib.contextmanager
def served(bounds: Bounds | None = None, loop: Any = "asyncio") -> Iterator[tuple[ServingAs, Echo]]:
    echo = Echo()
    with ServingAs(echo, bounds=bounds, loop=loop) as serving:
        yield serving, echo


LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


@LOOPS
def test_requests_follow_each_other_on_a_connection(loop: str) -> None:
    with served(loop=loop) as (serving, _), serving.connect() as client:
        for number in range(5):
            client.request("POST", "/", b"%d" % number)
            assert client.answer().body == b"%d" % number
        client.chunked("/", [b"ab", b"c"])
        assert client.answer().body == b"abc"


@LOOPS
def test_pipelined_requests_are_answered_one_by_one_in_order(loop: str) -> None:
    with served(loop=loop) as (serving, _):
        data = b"".join(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n%d" % n for n in range(9))
        data += b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\n9"
        got = raw(serving.port, data)
    assert [part[-1:] for part in got.split(b"HTTP/1.1 200 OK")[1:]] == [b"%d" % n for n in range(10)]


def test_a_body_in_single_bytes_is_the_same_body() -> None:
    with served() as (serving, _), serving.connect() as client:
        for byte in b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello":
            client.send(bytes([byte]))
        assert client.answer().body == b"hello"


def test_the_application_is_told_to_go_on_only_if_it_wants_the_body() -> None:
    with served() as (serving, _):
        head = b"POST %s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        with serving.connect() as client:
            client.send(head % b"/")
            assert client.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.send(b"ab")
            assert client.answer().body == b"ab"
        with serving.connect() as client:
            client.send(head % b"/unread")
            assert client.answer().status == 403


def test_an_answer_before_the_body_ends_the_connection_and_arrives() -> None:
    with served() as (serving, _), serving.connect() as client:
        client.send(b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + b"x" * 100_000)
        got = client.answer()
        assert (got.status, got.body) == (403, b"no")
        for _ in range(10):
            client.send(b"x" * 10_000)  # a client that has not read its answer yet must not be reset for sending on
        assert client.closed()


def test_an_answer_to_http_1_0_ends_with_the_connection() -> None:
    with served() as (serving, _):
        got = raw(serving.port, b"GET /half HTTP/1.0\r\n\r\n")
        assert b"transfer-encoding" not in got
        with serving.connect() as client:
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert client.closed()


@pytest.mark.parametrize("path", ["nothing", "raises", "longer", "split"])
def test_an_application_that_fails_is_answered_for(path: str, caplog: pytest.LogCaptureFixture) -> None:
    with served() as (serving, _), serving.connect() as client:
        client.send(b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
        got = read_all(client.socket)
    if path == "longer":
        assert b"abc" not in got
    else:
        assert got.startswith(b"HTTP/1.1 500 ")
    assert b"set-cookie" not in got
    assert "secret" not in caplog.text
    assert caplog.records


def test_half_an_answer_is_not_made_whole() -> None:
    with served() as (serving, _):
        got = raw(serving.port, b"GET /half HTTP/1.1\r\nHost: x\r\n\r\n")
    assert got.endswith(b"4\r\nhalf\r\n")


# Deadlines.


@LOOPS
@pytest.mark.parametrize("data", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nX-A"])
def test_a_head_that_does_not_come_ends_the_connection(data: bytes, loop: str) -> None:
    with served(Bounds(head_seconds=SHORT), loop) as (serving, _), serving.connect() as client:
        client.send(data)
        got = read_all(client.socket)
    assert got.startswith(b"HTTP/1.1 408 ") if data else got == b""


def test_a_head_that_trickles_gains_nothing_by_it() -> None:
    with served(Bounds(head_seconds=SHORT)) as (serving, _), serving.connect() as client:
        began = time.monotonic()
        client.socket.settimeout(0.05)
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n")
        got = b""
        with contextlib.suppress(OSError):
            while not got and time.monotonic() < began + LONG:
                client.send(b"X-A: 1\r\n")
                with contextlib.suppress(TimeoutError):
                    got = client.socket.recv(100)
        assert got.startswith(b"HTTP/1.1 408 ")


def test_the_second_head_has_a_deadline_too_and_an_idle_connection_is_closed() -> None:
    with served(Bounds(head_seconds=SHORT, keep_seconds=LONG)) as (serving, _), serving.connect() as client:
        client.request("POST", "/", b"a")
        assert client.answer().status == 200
        client.send(b"GET / HT")
        assert read_all(client.socket).startswith(b"HTTP/1.1 408 ")
    with served(Bounds(keep_seconds=SHORT)) as (serving, _), serving.connect() as client:
        client.request("POST", "/", b"a")
        assert client.answer().status == 200
        assert read_all(client.socket) == b""


@LOOPS
def test_a_body_slower_than_the_least_rate_ends_the_connection(loop: str) -> None:
    bounds = Bounds(body_bytes_per_second=1000.0, body_grace_seconds=SHORT)
    with served(bounds, loop) as (serving, echo), serving.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
        assert read_all(client.socket).startswith(b"HTTP/1.1 408 ")
        assert echo.left.wait(PATIENCE_SECONDS)


def test_a_client_that_reads_nothing_is_cut_off() -> None:
    with served(Bounds(stall_seconds=SHORT)) as (serving, echo), serving.connect() as client:
        client.send(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        assert echo.cut.wait(PATIENCE_SECONDS)


@LOOPS
def test_an_application_learns_that_its_client_has_left(loop: str) -> None:
    with served(loop=loop) as (serving, echo):
        with serving.connect() as client:
            client.send(b"POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabc")
        assert echo.left.wait(PATIENCE_SECONDS)


def test_who_waits_longest_makes_room() -> None:
    with served(Bounds(connections=3)) as (serving, _), contextlib.ExitStack() as stack:
        slow = [stack.enter_context(serving.connect()) for _ in range(3)]
        slow[0].send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na")
        until_crowded(serving, 3)
        for _ in range(5):
            assert serving.post("/", b"x").status == 200
        slow[0].send(b"b")
        assert slow[0].answer().body == b"ab", "a request in progress is never closed for others"
        assert slow[1].closed()


def test_when_all_are_busy_a_new_client_is_told_so() -> None:
    with served(Bounds(connections=2)) as (serving, _), contextlib.ExitStack() as stack:
        busy = [stack.enter_context(serving.connect()) for _ in range(2)]
        for client in busy:
            client.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: len(serving.crowd._busy) == 2)
        with serving.connect() as client:
            got = client.answer()
            assert (got.status, got.headers["retry-after"]) == (503, "5")


def until_crowded(serving: ServingAs, n: int) -> None:
    until(lambda: len(serving.crowd) == n)


def until(condition: Any, seconds: float = PATIENCE_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@LOOPS
@pytest.mark.usefixtures("many_files")
def test_a_thousand_slow_sockets_do_not_slow_an_honest_client(loop: Any) -> None:
    """A third sends nothing, a third half a head, a third half a body, to the guarded path. All of them stay open."""
    bounds = Bounds(
        head_seconds=2 * PATIENCE_SECONDS, keep_seconds=2 * PATIENCE_SECONDS, body_grace_seconds=2 * PATIENCE_SECONDS
    )
    with (
        Upstream() as upstream,
        Gateway(upstream.url, bounds=bounds, loop=loop) as gateway,
        Gateway(upstream.url, FakeGuard(make_policy(application="other")), loop=loop) as other,
    ):
        _, spent_before = answer_seconds(gateway, other)
        with slow_sockets(gateway.port, 1_000) as slow:
            until_crowded(gateway, 1_000)
            (beside, alone), spent = answer_seconds(gateway, other)
            assert len(gateway.crowd) >= 1_000, "no slow socket was closed for the honest client's sake"
            assert not any(readable(client) for client in slow)
        assert len(upstream.seen) == 160
    # What a thousand sockets cost if each request looked at all of them is far more than what is allowed for here.
    assert beside <= 2 * alone + 0.005
    assert spent <= 2 * spent_before + 0.005


def answer_seconds(*gateways: Gateway) -> tuple[list[float], float]:
    """How long an honest client waits for an answer of each, guarded or not; the median of 40. And the mean of the
    processor's time. They are asked by turns, so that whatever else the machine does slows all of them.
    """
    taken: list[list[float]] = [[] for _ in gateways]
    spent = time.process_time()
    for _ in range(20):
        for path, body in (("/feedback", FEEDBACK), ("/other", {})):
            for gateway, mine in zip(gateways, taken, strict=True):
                begin = time.perf_counter()
                assert gateway.post(path, body).status == 200
                mine.append(time.perf_counter() - begin)
    return [statistics.median(mine) for mine in taken], (time.process_time() - spent) / (40 * len(gateways))


@LOOPS
@pytest.mark.usefixtures("many_files")
def test_three_hundred_slow_sockets_are_closed_by_their_deadline(loop: Any) -> None:
    bounds = Bounds(head_seconds=1.0, body_grace_seconds=1.0, linger_seconds=0.1)
    with (
        Upstream() as upstream,
        Gateway(upstream.url, bounds=bounds, loop=loop) as gateway,
        slow_sockets(gateway.port, 300) as slow,
    ):
        assert all(client.closed() for client in slow)
        until_crowded(gateway, 0)
        assert upstream.seen == []
        assert gateway.guard.kept == {}


@contextlib.contextmanager
def slow_sockets(port: int, n: int) -> Iterator[list[Client]]:
    starts = [
        b"",
        b"POST /feedback HTTP/1.1\r\nHost: x\r\nX-A",
        b"POST /feedback HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{",
    ]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(port)) for _ in range(n)]
        for number, client in enumerate(clients):
            client.send(starts[number % 3])
        yield clients


def readable(client: Client) -> bool:
    client.socket.setblocking(False)
    try:
        client.socket.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    return True
