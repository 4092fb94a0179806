"""What becomes of a request between client and upstream, over real sockets; and what the guard records of it."""

from __future__ import annotations

import json
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from feedback_guard.gateway.wires import Patience
from feedback_guard.store.states import Delivery
from feedback_guard.verdict import Decision
from tests.gateway.serving import PATIENT, Gateway, raw, read_all
from tests.gateway.upstreams import OK, Seen, Upstream, reset
from tests.middleware.fakes import EXTRACT, FEEDBACK, FakeGuard, make_policy
from tests.patience import PATIENCE_SECONDS
from tests.ports import free_port


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(params=["asyncio", "uvloop"])
def gateway(request: pytest.FixtureRequest, upstream: Upstream) -> Iterator[Gateway]:
    with Gateway(upstream.url, loop=request.param) as gateway:
        yield gateway


def answer(*lines: bytes, body: bytes = b"ok", status: bytes = b"200 OK") -> bytes:
    return b"\r\n".join([b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *lines, b"", body])


# What goes through.


@pytest.mark.parametrize(
    "target",
    [
        b"/a/../b",
        b"/a%2Fb",
        b"//a//b",
        b"/a;v=1/b",
        b"/%61",
        b"/a%20b?q=%27a%27&q=+b",
        b"/?",
        b"/??a=b",
        b"/a'\"<>|\\^`{}",
        b"/.%2e/x",
        b"/%C3%A9",
        b"/%ff",
        b"/x?next=http://169.254.169.254/",
    ],
)
def test_targets_are_never_rewritten(target: bytes, gateway: Gateway, upstream: Upstream) -> None:
    raw(gateway.port, b"GET " + target + b" HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
    assert upstream.raw[0].startswith(b"GET " + (target if target != b"/?" else b"/") + b" HTTP/1.1\r\n")


def test_fields_keep_their_bytes_their_order_and_their_repetitions(gateway: Gateway, upstream: Upstream) -> None:
    fields = b"X-B: 2\r\nX-A: caf\xe9\r\nX-B: 1\r\nCookie: a=b\r\nX-Empty:\r\nCookie: c=d\r\nX-Tab: a\tb\r\n"
    raw(gateway.port, b"GET /x HTTP/1.1\r\nHost: test\r\n" + fields + b"Connection: close\r\n\r\n")
    mine = (b"x-a", b"x-b", b"x-e", b"x-t", b"cookie")
    assert [(name, value) for name, value in upstream.only.headers if name.startswith(mine)] == [
        (b"x-b", b"2"),
        (b"x-a", b"caf\xe9"),
        (b"x-b", b"1"),
        (b"cookie", b"a=b"),
        (b"x-empty", b""),
        (b"cookie", b"c=d"),
        (b"x-tab", b"a\tb"),
    ]


def test_an_answer_keeps_its_fields_but_those_of_the_connection(gateway: Gateway, upstream: Upstream) -> None:
    upstream.answer = lambda _: answer(
        b"Set-Cookie: a=1",
        b"Set-Cookie: b=2",
        b"X-Name: caf\xe9",
        b"Connection: X-Hop",
        b"X-Hop: 1",
        b"Keep-Alive: timeout=5",
        b"Date: Mon, 01 Jan 2035 00:00:00 GMT",
    )
    got = raw(gateway.port, b"GET /x HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
    head = got.split(b"\r\n\r\n")[0].split(b"\r\n")
    assert head == [
        b"HTTP/1.1 200 OK",
        b"Content-Length: 2",
        b"Set-Cookie: a=1",
        b"Set-Cookie: b=2",
        b"X-Name: caf\xe9",
        b"Date: Mon, 01 Jan 2035 00:00:00 GMT",
        b"connection: close",
    ]


def test_a_redirect_is_given_to_the_client(gateway: Gateway, upstream: Upstream) -> None:
    upstream.answer = lambda _: answer(b"Location: http://127.0.0.1:1/elsewhere", status=b"302 Found")
    got = gateway.post("/feedback", FEEDBACK)
    assert (got.status, got.headers["location"]) == (302, "http://127.0.0.1:1/elsewhere")
    assert len(upstream.seen) == 1


def test_what_the_client_says_names_no_other_host(gateway: Gateway, upstream: Upstream) -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        there = f"127.0.0.1:{elsewhere.getsockname()[1]}"
        fields = {"X-Forwarded-Host": there, "Forwarded": f"host={there}", "X-Original-URL": f"http://{there}/"}
        got = gateway.post("/feedback", FEEDBACK, fields)
        data = f"GET /x HTTP/1.1\r\nHost: {there}\r\nConnection: close\r\n\r\n".encode()
        assert raw(gateway.port, data).startswith(b"HTTP/1.1 200")
        elsewhere.setblocking(False)
        with pytest.raises(BlockingIOError):
            elsewhere.accept()
    assert got.status == 200
    assert len(upstream.seen) == 2


def test_an_answer_without_a_length_streams_to_its_end(gateway: Gateway, upstream: Upstream) -> None:
    upstream.answer = lambda _: b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 300_000
    assert gateway.post("/x", b"", method="GET").body == b"x" * 300_000


def test_an_answer_to_head_has_the_length_and_no_body(gateway: Gateway, upstream: Upstream) -> None:
    upstream.answer = lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n"
    got = raw(gateway.port, b"HEAD /x HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
    assert b"Content-Length: 12345\r\n" in got
    assert got.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_an_answer_without_a_body_leaves_the_connection_usable(
    status: bytes, gateway: Gateway, upstream: Upstream
) -> None:
    upstream.answer = lambda _: b"HTTP/1.1 " + status + b"\r\nX-App: yes\r\n\r\n"
    with gateway.connect() as client:
        for _ in range(2):
            client.request("GET", "/x")
            assert client.answer("GET").status == int(status[:3])


def test_hints_before_the_answer_are_dropped(gateway: Gateway, upstream: Upstream) -> None:
    upstream.answer = lambda _: b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK
    assert gateway.post("/feedback", FEEDBACK).status == 200


def test_both_ways_stream_without_waiting_for_an_end(gateway: Gateway, upstream: Upstream) -> None:
    """The upstream echoes each piece; the client sends the next one only when it has the echo of the last."""

    def echo(connection: socket.socket) -> bool:
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(1)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while piece := connection.recv(65_536):
            size = int(piece.split(b"\r\n")[0], 16)
            connection.sendall(b"%x\r\n%s\r\n" % (size, b"e" * size) if size else b"0\r\n\r\n")
            if not size:
                break
        return False

    upstream.on_connection = echo
    with gateway.connect() as client:
        client.chunked("/echo", [], end=False)
        got = b""
        while b"\r\n\r\n" not in got:
            got += client.socket.recv(1)
        for size in (1, 10, 1000):
            client.send(b"%x\r\n%s\r\n" % (size, b"a" * size))
            expected = b"%x\r\n%s\r\n" % (size, b"e" * size)
            got = b""
            while len(got) < len(expected):
                got += client.socket.recv(len(expected) - len(got))
            assert got == expected
        client.send(b"0\r\n\r\n")
        assert client.socket.recv(100) == b"0\r\n\r\n"


def test_a_large_body_is_not_gathered_in_memory(gateway: Gateway, upstream: Upstream) -> None:
    """An upstream that does not read makes the client wait, long before a body that is larger than any buffer."""
    reading = threading.Event()

    def stubborn(_: socket.socket) -> bool:
        return reading.wait(PATIENCE_SECONDS)

    upstream.on_connection = stubborn
    with gateway.connect() as client:
        client.socket.setblocking(False)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        total = 256 * 1024 * 1024
        head = f"POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: {total}\r\n\r\n".encode()
        sent = client.socket.send(head) - len(head)
        piece = b"x" * 65_536
        while select.select([], [client.socket], [], 1.0)[1]:
            sent += client.socket.send(piece)
        assert 0 < sent < 32 * 1024 * 1024
        reading.set()


def test_an_early_answer_is_given_on_while_the_client_still_sends(gateway: Gateway, upstream: Upstream) -> None:
    def refuse(connection: socket.socket) -> bool:
        connection.recv(65_536)
        connection.sendall(answer(b"Connection: close", status=b"413 Content Too Large"))
        return False

    upstream.on_connection = refuse
    with gateway.connect() as client:
        client.send(b"POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: 10000000\r\n\r\nabc")
        assert client.answer().status == 413
        assert client.closed()


# Connections.


def test_requests_that_change_nothing_share_a_connection(gateway: Gateway, upstream: Upstream) -> None:
    for _ in range(5):
        assert gateway.post("/x", b"", method="GET").status == 200
    assert len(upstream.raw) == 1
    assert gateway.post("/feedback", FEEDBACK).status == 200
    assert gateway.post("/other", b"{}").status == 200
    assert len(upstream.raw) == 3, "what changes something goes out on a connection of its own"


def test_a_kept_connection_that_was_closed_is_replaced(gateway: Gateway, upstream: Upstream) -> None:
    """The upstream closes as the second request arrives, having read it or not."""
    closing = threading.Event()

    def answer_then_close(_: Seen) -> bytes | None:
        if len(upstream.seen) == 2:
            closing.set()
            return None
        return OK

    upstream.answer = answer_then_close
    assert [gateway.post("/x", b"", method="GET").status for _ in range(3)] == [200, 200, 200]
    assert closing.is_set()
    assert [seen.target for seen in upstream.seen] == [b"/x"] * 4


def test_bytes_that_nobody_asked_for_are_no_answer(gateway: Gateway, upstream: Upstream) -> None:
    poison = answer(b"X-Poison: yes", body=b"poison")
    upstream.answer = lambda seen: OK + (poison if seen.target == b"/first" else b"")
    assert gateway.post("/first", b"", method="GET").body == b"ok"
    assert gateway.post("/second", b"", method="GET").body == b"ok"
    assert len(upstream.raw) == 2


# What goes wrong, and what is recorded.


def test_an_upstream_that_is_not_there_has_seen_nothing() -> None:
    with Gateway(f"http://127.0.0.1:{free_port()}") as gateway:
        got = gateway.post("/feedback", FEEDBACK)
        assert (got.status, got.json["code"]) == (502, "upstream_unreachable")
        assert got.headers["content-type"] == "application/problem+json"
        kept = gateway.guard.settled()
        assert kept.delivery is Delivery.FAILED
        assert "has seen nothing" in str(kept.detail["cause"])
        assert gateway.guard.metrics.upstream == ["unreachable"]
        assert gateway.guard.metrics.failures == [], "the guard did not fail"


def test_an_upstream_without_a_name_has_seen_nothing() -> None:
    with Gateway("http://upstream.invalid:80") as gateway:
        assert gateway.post("/feedback", FEEDBACK).status == 502
        assert gateway.guard.settled().delivery is Delivery.FAILED


def test_an_upstream_that_takes_no_connection_in_time_has_seen_nothing() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        with Gateway(f"http://127.0.0.1:{port}", patience=Patience(connect_seconds=0.2)) as gateway:
            got = gateway.post("/feedback", FEEDBACK)
            assert (got.status, got.json["code"]) == (504, "upstream_unreachable")
            assert gateway.guard.settled().delivery is Delivery.FAILED
        for one in waiting:
            one.close()


def test_tls_that_fails_means_that_nothing_was_seen(upstream: Upstream) -> None:
    with Gateway(upstream.url.replace("http:", "https:")) as gateway:
        assert gateway.post("/feedback", FEEDBACK).status == 502
        assert gateway.guard.settled().delivery is Delivery.FAILED
    assert upstream.seen == []


@pytest.mark.parametrize(
    "how", ["reset after the body", "close after the body", "close at once", "not HTTP", "half a head", "101"]
)
def test_a_connection_that_ends_before_an_answer_leaves_the_outcome_unknown(
    how: str, gateway: Gateway, upstream: Upstream
) -> None:
    def end(connection: socket.socket) -> bool:
        if how != "close at once":
            data = b""
            while not data.endswith(b"}"):
                data += connection.recv(65_536)
        if how == "reset after the body":
            reset(connection)
        elif how == "not HTTP":
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
        elif how == "half a head":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-")
        elif how == "101":
            connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n")
            read_all(connection)
        return False

    upstream.on_connection = end
    got = gateway.post("/feedback", FEEDBACK)
    assert (got.status, got.json["code"]) == (502, "upstream_lost")
    assert "retry-after" not in got.headers, "it may have taken effect"
    kept = gateway.guard.settled()
    assert kept.delivery is Delivery.UNKNOWN
    assert len(upstream.raw) == 1, "nothing is sent twice"
    assert (gateway.guard.metrics.upstream, gateway.guard.metrics.failures) == (["lost"], [])


def test_an_answer_that_does_not_come_in_time_leaves_the_outcome_unknown(upstream: Upstream) -> None:
    hanging = threading.Event()
    upstream.on_connection = lambda _: hanging.wait(PATIENCE_SECONDS) and False
    with Gateway(upstream.url, patience=Patience(read_seconds=0.3)) as gateway:
        got = gateway.post("/feedback", FEEDBACK)
        assert (got.status, got.json["code"]) == (504, "upstream_timeout")
        assert gateway.guard.settled().delivery is Delivery.UNKNOWN
        assert (gateway.guard.metrics.upstream, gateway.guard.metrics.failures) == (["timeout"], [])
        hanging.set()


@pytest.mark.parametrize("how", ["length", "chunks", "reset", "stall"])
def test_an_answer_that_breaks_off_is_broken_off_and_unknown(how: str, upstream: Upstream) -> None:
    hanging, begun = threading.Event(), threading.Event()

    def break_off(connection: socket.socket) -> bool:
        connection.recv(65_536)
        chunks = b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n"
        sized = b"Content-Length: 9\r\n\r\nabcde"
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + (chunks if how == "chunks" else sized))
        begun.wait(PATIENCE_SECONDS)
        if how == "stall":
            hanging.wait(PATIENCE_SECONDS)
        elif how == "reset":
            reset(connection)
        return False

    upstream.on_connection = break_off
    # The beginning comes at once; how long that takes says nothing.
    patience = replace(PATIENT, read_seconds=2.0) if how == "stall" else PATIENT
    with Gateway(upstream.url, patience=patience) as gateway:
        with gateway.connect() as client:
            client.request("POST", "/feedback", FEEDBACK)
            got = b""
            while b"abcde" not in got:
                piece = client.socket.recv(65_536)
                assert piece, got
                got += piece
            begun.set()
            got += read_all(client.socket)
        assert got.startswith(b"HTTP/1.1 200 OK")
        assert not got.endswith(b"0\r\n\r\n")
        kept = gateway.guard.settled()
        assert kept.delivery is Delivery.UNKNOWN
        assert kept.detail["complete"] is False
        hanging.set()


@pytest.mark.parametrize(
    ("status", "delivery"),
    [(b"201 Created", Delivery.DELIVERED), (b"409 Conflict", Delivery.FAILED), (b"500 No", Delivery.FAILED)],
)
def test_an_answer_is_recorded_by_its_status(
    status: bytes, delivery: Delivery, gateway: Gateway, upstream: Upstream
) -> None:
    upstream.answer = lambda _: answer(status=status)
    assert gateway.post("/feedback", FEEDBACK).status == int(status[:3])
    assert gateway.guard.settled().delivery is delivery


def test_a_client_that_leaves_takes_nothing_back(gateway: Gateway, upstream: Upstream) -> None:
    """The guarded request was sent; its outcome is recorded though nobody waits for it."""
    gone = threading.Event()

    def wait(_: Seen) -> bytes:
        gone.wait(PATIENCE_SECONDS)
        return OK

    upstream.answer = wait
    with gateway.connect() as client:
        client.request("POST", "/feedback", FEEDBACK)
        upstream.wait_for(lambda: len(upstream.seen) == 1)
    until(lambda: len(gateway.crowd) == 0)
    gone.set()
    assert gateway.guard.settled().delivery is Delivery.DELIVERED


def test_a_reset_after_the_client_has_left_is_unknown_too(gateway: Gateway, upstream: Upstream) -> None:
    gone = threading.Event()

    def wait(_: Seen) -> None:
        gone.wait(PATIENCE_SECONDS)

    upstream.answer = wait
    with gateway.connect() as client:
        client.request("POST", "/feedback", FEEDBACK)
        upstream.wait_for(lambda: len(upstream.seen) == 1)
    until(lambda: len(gateway.crowd) == 0)
    gone.set()
    assert gateway.guard.settled().delivery is Delivery.UNKNOWN


def test_an_unguarded_request_ends_with_its_client(gateway: Gateway, upstream: Upstream) -> None:
    ended = threading.Event()

    def watch(connection: socket.socket) -> bool:
        connection.recv(65_536)
        read_all(connection)
        ended.set()
        return False

    upstream.on_connection = watch
    with gateway.connect() as client:
        client.request("GET", "/events")
    assert ended.wait(PATIENCE_SECONDS)


def test_a_body_that_ends_too_soon_is_not_made_whole(gateway: Gateway, upstream: Upstream) -> None:
    with gateway.connect() as client:
        client.chunked("/upload", [b"abc"], end=False)
        upstream.wait_for(lambda: bool(upstream.raw) and b"abc" in upstream.raw[0])
    upstream.wait_for(lambda: gateway_closed(upstream))
    assert b"0\r\n\r\n" not in upstream.raw[0]
    assert upstream.seen == []


def until(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def gateway_closed(upstream: Upstream) -> bool:
    return all(connection.fileno() < 0 for connection in upstream._open)


# Hold and replay.


def test_a_held_request_is_replayed_as_it_came(gateway: Gateway, upstream: Upstream) -> None:
    guard: FakeGuard = gateway.guard
    guard.decide_on = lambda _: Decision.QUARANTINE
    body = b'{ "input" : "caf\xc3\xa9",\r\n"label":"x" }'
    head = (
        b"POST /%66eedback?q=%20&q=a'b HTTP/1.1\r\nHost: app.test\r\nContent-Type: application/json\r\n"
        b"X-B: 2\r\nX-A: caf\xe9\r\nX-B: 1\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n"
    )
    sized = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    for number, data in enumerate((sized, chunked), start=1):
        assert raw(gateway.port, data).startswith(b"HTTP/1.1 202")
        assert len(upstream.seen) == number - 1
        guard.approve(f"s-{number}")
        assert guard.settled(f"s-{number}").delivery is Delivery.DELIVERED
        assert len(upstream.seen) == number
    guard.decide_on = lambda _: Decision.ACCEPT
    assert raw(gateway.port, sized).startswith(b"HTTP/1.1 200")
    marks = [re.findall(rb'feedback-guard-replay: ("s-.*)\r\n', data) for data in upstream.raw]
    assert [bool(mark) for mark in marks] == [True, True, False]
    first, second, third = (re.sub(rb"feedback-guard-replay: .*\r\n", b"", data) for data in upstream.raw)
    assert first == second == third
    assert upstream.seen[0].target == b"/%66eedback?q=%20&q=a'b"
    assert upstream.seen[0].body == body


def test_a_replay_that_breaks_off_is_unknown_and_one_that_finds_nobody_is_not() -> None:
    guard = FakeGuard()
    guard.decide_on = lambda _: Decision.QUARANTINE
    with Upstream(lambda _: None) as upstream, Gateway(upstream.url, guard) as gateway:
        gateway.post("/feedback", FEEDBACK)
        guard.approve("s-1")
        assert guard.settled("s-1").delivery is Delivery.UNKNOWN
    guard = FakeGuard()
    guard.decide_on = lambda _: Decision.QUARANTINE
    with Gateway(f"http://127.0.0.1:{free_port()}", guard) as gateway:
        gateway.post("/feedback", FEEDBACK)
        guard.approve("s-1")
        assert guard.settled("s-1").delivery is Delivery.FAILED
        assert guard.kept["s-1"].detail["cause"] == "the upstream was not reached, and has seen nothing of the request"


# What the upstream learns.


def test_the_upstream_learns_the_verdicts(gateway: Gateway, upstream: Upstream) -> None:
    forged = {"Feedback-Guard": "accept;w=1.000", "Feedback_Guard": "accept;w=1.000"}
    gateway.post("/feedback", FEEDBACK, forged)
    gateway.guard.decide_on = lambda _: Decision.QUARANTINE
    gateway.post("/feedback", FEEDBACK, forged)
    gateway.guard.approve("s-2")
    gateway.guard.settled("s-2")
    gateway.post("/other", {}, forged)
    assert [seen.values(b"feedback-guard") + seen.values(b"feedback_guard") for seen in upstream.seen] == [
        [b"accept;w=1.000"],
        [b"accept;w=1.000"],
        [],
    ]


def test_the_upstream_learns_what_to_leave_out(upstream: Upstream) -> None:
    """`on_hold: pass` gives the application what is held; a guard that only observes gives it everything."""
    several = "[{kind: 'label', input: input, label: label}, {kind: 'label', input: input, label: 'x'}]"
    route = {"name": "feedback", "path": "/feedback", "extract": several, "on_hold": "pass"}
    for enforcing, expected in ((True, b"quarantine;w=0.000, quarantine;w=0.000"), (False, b"accept;w=1.000;observed")):
        guard = FakeGuard(make_policy([route]), enforcing=enforcing)
        guard.decide_on = {True: lambda _: Decision.QUARANTINE, False: lambda _: Decision.ACCEPT}[enforcing]
        with Gateway(upstream.url, guard) as gateway:
            assert gateway.post("/feedback", FEEDBACK).status == 200
        assert upstream.seen[-1].values(b"feedback-guard")[0].startswith(expected)


# Who it is.


def identified() -> FakeGuard:
    return FakeGuard(
        make_policy(
            [{"name": "feedback", "path": "/feedback", "extract": EXTRACT}],
            identity={"header": {"header": "X-User", "hops": ["192.0.2.0/24"]}, "missing": "anonymous"},
        )
    )


@pytest.mark.parametrize("name", ["X-User", "x-user", "X_User"])
def test_an_identity_that_a_client_claims_reaches_nobody(name: str, upstream: Upstream) -> None:
    with Gateway(upstream.url, identified()) as gateway:
        assert gateway.post("/feedback", FEEDBACK, {name: "mallory"}).status == 200
        (contribution,) = gateway.guard.only.submission.contributions
    assert contribution.contributor == "(anonymous)"
    assert [name for name, _ in upstream.only.headers if b"user" in name.lower()] == []


def test_what_a_moderator_approves_was_never_in_a_log(upstream: Upstream, caplog: pytest.LogCaptureFixture) -> None:
    upstream.answer = lambda _: None
    with Gateway(upstream.url) as gateway:
        gateway.post("/feedback?secret=query", {"input": "secret text", "label": "x"}, {"X-Secret": "field"})
        gateway.guard.settled()
    assert caplog.text
    assert "secret" not in caplog.text.lower()


def test_an_answer_says_what_is_wrong_as_a_problem() -> None:
    with Gateway(f"http://127.0.0.1:{free_port()}") as gateway:
        problem: dict[str, Any] = json.loads(gateway.post("/x", b"{}").body)
    assert problem["status"] == 502
    assert problem["title"] == "Bad Gateway"
