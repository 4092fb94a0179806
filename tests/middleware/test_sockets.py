"""The same promises over real sockets, through uvicorn with both of its HTTP implementations."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Literal

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from feedback_guard.store.states import Delivery
from feedback_guard.verdict import Decision
from tests.middleware.fakes import EXTRACT, FEEDBACK, FakeGuard, make_policy
from tests.patience import PATIENCE_SECONDS
from tests.serving import Client, Serving, head

Http = Literal["h11", "httptools"]
pytestmark = pytest.mark.parametrize("http", ["h11", "httptools"])
BODY = json.dumps(FEEDBACK).encode()
ROUTE = {"name": "feedback", "path": "/feedback", "extract": EXTRACT}


class App:
    """A Starlette application whose endpoint can be told to stop, to break, or to stream."""

    def __init__(self) -> None:
        self.got: list[tuple[bytes, list[tuple[bytes, bytes]], bytes]] = []
        self.mode = "answer"
        self.reached = threading.Event()
        self.go_on = threading.Event()
        self.starlette = Starlette(
            routes=[
                Route("/feedback", self.feedback, methods=["POST", "GET"]),
                Route("/other", self.feedback, methods=["POST"]),
            ]
        )

    async def feedback(self, request: Request) -> Any:
        body = await request.body()
        self.got.append((request.scope["raw_path"], request.scope["headers"], body))
        self.reached.set()
        if self.mode == "wait":
            await asyncio.to_thread(self.go_on.wait, 10)
        elif self.mode == "raise":
            raise RuntimeError("broken")
        elif self.mode == "stream":
            return StreamingResponse(self.stream())
        return JSONResponse({"bytes": len(body)})

    async def stream(self) -> AsyncIterator[bytes]:
        yield b"first;"
        await asyncio.to_thread(self.go_on.wait, 10)
        yield b"second;"


def reset(client: Client) -> None:
    """Leave at once, as a client that crashed."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.socket.close()


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def guard() -> FakeGuard:
    return FakeGuard(make_policy([ROUTE | {"max_body_bytes": 3_000_000, "body_deadline": "10s"}]))


@pytest.fixture
def serving(app: App, guard: FakeGuard, http: Http) -> Iterator[Serving]:
    with Serving(FeedbackGuardMiddleware(app.starlette, guard=guard, poll_seconds=0.05), http=http) as server:
        yield server
        app.go_on.set()


def test_sized_and_chunked_bodies_on_one_connection(serving: Serving, app: App, guard: FakeGuard) -> None:
    with serving.connect() as client:
        client.request("POST", "/feedback", BODY)
        assert client.answer().json == {"bytes": len(BODY)}
        client.chunked("/feedback", [BODY[:10], BODY[10:11], BODY[11:]])
        assert client.answer().json == {"bytes": len(BODY)}
        client.request("POST", "/feedback", b"{")
        assert client.answer().status == 400
        client.request("POST", "/feedback", BODY)
        assert client.answer().status == 200
    assert [body for _, _, body in app.got] == [BODY] * 3
    fields = dict(app.got[1][1])
    assert b"transfer-encoding" not in fields
    assert fields[b"content-length"] == str(len(BODY)).encode()
    assert len(guard.kept) == 3


def test_a_body_of_two_megabytes(serving: Serving, app: App) -> None:
    body = json.dumps(FEEDBACK | {"noise": "x" * 2_000_000}).encode()
    assert serving.post("/feedback", body).json == {"bytes": len(body)}
    with serving.connect() as client:
        client.chunked("/feedback", [body[at : at + 70_001] for at in range(0, len(body), 70_001)])
        assert client.answer().json == {"bytes": len(body)}
    assert [got[2] == body for got in app.got] == [True, True]


def test_an_endless_body_is_cut_off(serving: Serving, app: App, guard: FakeGuard) -> None:
    """The server must stop reading: of a gigabyte that is offered, only the bound and some buffers are taken."""
    sent = 0
    with serving.connect() as client:
        client.socket.settimeout(5)
        try:
            client.chunked("/feedback", [], end=False)
            while sent < 1 << 30:
                client.send(b"10000\r\n" + b"[" * 65_536 + b"\r\n")
                sent += 65_536
        except OSError:
            pass
        assert sent < 30_000_000
    assert not app.got
    assert not guard.kept
    guard.wait_until(lambda: guard.metrics.requests == [("feedback", "bad_input")])


def test_a_body_that_is_announced_too_large_is_answered_before_it_comes(serving: Serving, app: App) -> None:
    with serving.connect() as client:
        fields = [("content-type", "application/json"), ("content-length", "99999999"), ("expect", "100-continue")]
        client.send(head("POST", "/feedback", fields))
        answer = client.answer()
        assert (answer.status, answer.json["code"]) == (413, "body_too_large")
        assert answer.headers["connection"] == "close"
        assert client.closed()
    assert not app.got


def test_an_honest_client_reads_the_413(app: App, http: Http) -> None:
    middleware = FeedbackGuardMiddleware(app.starlette, guard=FakeGuard())
    with Serving(middleware, http=http) as server, httpx2.Client(base_url=server.url) as client:
        response = client.post("/feedback", json={"input": "x" * 120_000})
        assert response.status_code == 413
        assert response.headers["content-type"] == "application/problem+json"
        assert client.post("/feedback", json=FEEDBACK).status_code == 200


def test_expect_continue_works(serving: Serving) -> None:
    with serving.connect() as client:
        fields = [("content-type", "application/json"), ("content-length", str(len(BODY))), ("expect", "100-continue")]
        client.send(head("POST", "/feedback", fields))
        assert client.socket.recv(1_024).startswith(b"HTTP/1.1 100 ")
        client.send(BODY)
        assert client.answer().status == 200


def test_a_slow_body_is_given_up(app: App, http: Http) -> None:
    guard = FakeGuard(make_policy([ROUTE | {"body_deadline": "100ms"}]))
    with Serving(FeedbackGuardMiddleware(app.starlette, guard=guard), http=http) as server, server.connect() as client:
        client.send(head("POST", "/feedback", [("content-type", "application/json"), ("content-length", "100")]))
        client.send(b'{"input"')
        answer = client.answer()
        assert (answer.status, answer.json["code"]) == (408, "body_too_slow")
        assert client.closed()
    assert not app.got
    assert not guard.kept


@pytest.mark.parametrize("chunked", [False, True])
def test_clients_that_leave_in_mid_body_leave_nothing(
    serving: Serving, app: App, guard: FakeGuard, chunked: bool
) -> None:
    cuts = list(range(0, len(BODY), 6))
    for number, cut in enumerate(cuts):
        client = serving.connect()
        if chunked:
            client.chunked("/feedback", [BODY[:cut]] if cut else [], end=False)
        else:
            fields = [("content-type", "application/json"), ("content-length", str(len(BODY)))]
            client.send(head("POST", "/feedback", fields) + BODY[:cut])
        if number % 2:
            # A reset may overtake the request: the server must have seen it first.
            client.socket.shutdown(socket.SHUT_WR)
            client.closed()
        client.socket.close()
    # A request that is answered shows that the server still works, and that it has come past the others.
    assert serving.post("/feedback", BODY).status == 200
    guard.metrics.requests.remove(("feedback", "accepted"))

    def all_counted() -> bool:
        return guard.metrics.requests.count(("feedback", "aborted")) == len(cuts)

    for _ in range(200):
        if all_counted():
            break
        serving.post("/other", b"{}")
    assert all_counted()
    assert len(guard.kept) == 1
    assert len([got for got in app.got if got[2] == BODY]) == 1


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_before_the_answer_does_not_lose_the_outcome(
    serving: Serving, app: App, guard: FakeGuard, how: str
) -> None:
    app.mode = "wait"
    client = serving.connect()
    client.request("POST", "/feedback", BODY)
    assert app.reached.wait(PATIENCE_SECONDS)
    if how == "reset":
        reset(client)
    else:
        client.socket.close()
    app.go_on.set()
    kept = guard.settled()
    assert (kept.delivery, kept.detail["status"]) == (Delivery.DELIVERED, 200)


def test_a_client_that_leaves_in_mid_answer_does_not_lose_the_outcome(
    serving: Serving, app: App, guard: FakeGuard
) -> None:
    app.mode = "stream"
    client = serving.connect()
    client.request("POST", "/feedback", BODY)
    received = b""
    while b"first;" not in received:
        received += client.socket.recv(4_096)
    reset(client)
    kept = guard.settled()
    app.go_on.set()
    assert kept.detail["status"] == 200
    assert kept.delivery is Delivery.DELIVERED


def test_streamed_answers_are_not_buffered(serving: Serving, app: App) -> None:
    app.mode = "stream"
    with serving.connect() as client:
        client.request("POST", "/feedback", BODY)
        received = b""
        while b"first;" not in received:
            received += client.socket.recv(4_096)
        assert b"second;" not in received
        app.go_on.set()
        while not received.endswith(b"0\r\n\r\n"):
            received += client.socket.recv(4_096)
        assert b"second;" in received


def test_an_application_that_raises_is_500_and_unknown(serving: Serving, app: App, guard: FakeGuard) -> None:
    app.mode = "raise"
    assert serving.post("/feedback", BODY).status == 500
    assert guard.settled().delivery is Delivery.UNKNOWN


def test_an_application_that_never_answers_is_500_and_unknown(http: Http) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        return

    guard = FakeGuard()
    with Serving(FeedbackGuardMiddleware(app, guard=guard), http=http) as server:
        assert server.post("/feedback", BODY).status == 500
    assert guard.only.delivery is Delivery.UNKNOWN


SPELLINGS = {
    "/feedback": (200, 1),
    "/%66eedback": (200, 1),
    "/f%65%65dback?x=1": (200, 1),
    "/feedback%0A": (200, 1),
    "/feedback%3Fx": (404, 0),
    "/feedback%2F": (307, 0),
    "/feedback/": (307, 0),
    "//feedback": (404, 0),
    "/x/../feedback": (404, 0),
    "/x/..%2Ffeedback": (404, 0),
    "/Feedback": (404, 0),
    "/feedback;x": (404, 0),
    "/other": (200, 0),
}


@pytest.mark.parametrize("path", SPELLINGS)
def test_every_spelling_that_reaches_the_endpoint_is_judged(serving: Serving, guard: FakeGuard, path: str) -> None:
    status, judged = SPELLINGS[path]
    assert serving.post(path, BODY).status == status
    assert len(guard.kept) == judged


def test_other_methods_pass(serving: Serving, app: App, guard: FakeGuard) -> None:
    for method, status in (("GET", 200), ("HEAD", 200), ("OPTIONS", 405), ("PUT", 405)):
        assert serving.post("/feedback", BODY, method=method).status == status
    assert len(app.got) == 2
    assert not guard.kept


def test_a_server_with_a_prefix(app: App, guard: FakeGuard, http: Http) -> None:
    middleware = FeedbackGuardMiddleware(app.starlette, guard=guard)
    with Serving(middleware, http=http, root_path="/api") as server:
        assert server.post("/feedback", BODY).status == 200
    assert len(guard.kept) == 1


def test_a_header_is_believed_from_a_trusted_hop_only(app: App, http: Http, tmp_path: Path) -> None:
    headers = {"X-User": "ada", "X-Forwarded-For": "10.0.0.1"}
    for hops, status in ((["10.0.0.0/8"], 401), (["127.0.0.0/8"], 200), (["unix"], 401)):
        guard = FakeGuard(make_policy([ROUTE], identity={"header": {"header": "X-User", "hops": hops}}))
        with Serving(FeedbackGuardMiddleware(app.starlette, guard=guard), http=http) as server:
            assert server.post("/feedback", BODY, headers).status == status
            twice = server.post("/feedback", BODY, [("X-User", "ada"), ("X-User", "bob")])
            assert twice.status == (400 if status == 200 else 401)
    guard = FakeGuard(make_policy([ROUTE], identity={"header": {"header": "X-User", "hops": ["unix"]}}))
    path = str(tmp_path / "app.sock")
    middleware = FeedbackGuardMiddleware(app.starlette, guard=guard)
    transport = httpx2.HTTPTransport(uds=path)
    with Serving(middleware, http=http, uds=path), httpx2.Client(transport=transport, base_url="http://t") as client:
        assert client.post("/feedback", json=FEEDBACK, headers=headers).status_code == 200
    assert guard.only.submission.contributions[0].contributor == "ada"


def test_held_approved_and_replayed_as_it_was_sent(serving: Serving, app: App, guard: FakeGuard) -> None:
    guard.decide_on = lambda _: Decision.QUARANTINE
    body = b' {"label":"card_arrival", "input":"\xc3\xa9\\u00e9"}\n'
    fields = [("x-a", "1"), ("X-A", "2"), ("x-latin", "\xe9\xff"), ("content-type", "application/json")]
    with serving.connect() as client:
        client.request("POST", "/%66eedback?q=%20&q='\"", body, fields)
        answer = client.answer()
    assert (answer.status, answer.json["id"]) == (202, "s-1")
    assert not app.got
    guard.approve("s-1")
    assert guard.settled().detail == {"status": 200}
    ((raw_path, headers, replayed),) = app.got
    assert raw_path == b"/%66eedback"
    assert replayed == body
    assert headers == [
        (b"host", b"test"),
        (b"x-a", b"1"),
        (b"x-a", b"2"),
        (b"x-latin", b"\xe9\xff"),
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]


def test_many_clients_at_once_each_get_their_own_answer(serving: Serving, app: App, guard: FakeGuard) -> None:
    guard.decide_on = lambda s: Decision.QUARANTINE if s.contributions[0].label == "hold" else Decision.ACCEPT
    answers: dict[int, int] = {}

    def client(number: int) -> None:
        with serving.connect() as connection:
            for _ in range(5):
                label = "hold" if number % 2 else "pass"
                connection.request("POST", "/feedback", {"input": str(number), "label": label})
                answers[number] = answers.get(number, 0) + (connection.answer().status == (202 if number % 2 else 200))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == dict.fromkeys(range(8), 5)
    assert len(app.got) == 20
    assert len(guard.kept) == 40


def test_the_end_of_the_server_stops_the_guard_after_the_last_outcome(app: App, http: Http) -> None:
    guard = FakeGuard()
    with Serving(FeedbackGuardMiddleware(app.starlette, guard=guard), http=http) as server:
        app.mode = "wait"
        client = server.connect()
        client.request("POST", "/feedback", BODY)
        assert app.reached.wait(PATIENCE_SECONDS)
        threading.Timer(0.1, app.go_on.set).start()
    client.socket.close()
    assert guard.only.delivery is Delivery.DELIVERED
    assert not guard.running


def test_an_endpoint_that_reads_a_body_that_was_cut_off_under_an_observing_guard(http: Http) -> None:
    """What an application does with a client that leaves is its own business when the guard only observes."""
    seen: list[str] = []

    async def endpoint(request: Request) -> PlainTextResponse:
        try:
            await request.body()
        except ClientDisconnect:
            seen.append("left")
            raise
        return PlainTextResponse("ok")

    guard = FakeGuard(enforcing=False)
    app = Starlette(routes=[Route("/feedback", endpoint, methods=["POST"])])
    with Serving(FeedbackGuardMiddleware(app, guard=guard), http=http) as server:
        client = server.connect()
        client.send(head("POST", "/feedback", [("content-type", "application/json"), ("content-length", "100")]))
        client.send(b'{"input"')
        client.socket.close()
        for _ in range(200):
            if seen:
                break
            server.post("/nothing", b"{}")
    assert seen == ["left"]
    assert not guard.kept
