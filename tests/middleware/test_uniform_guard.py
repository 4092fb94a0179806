"""Uniform answers with the real guard, on real sockets."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from feedback_guard.contribution import Contribution
from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from feedback_guard.store.states import Delivery
from tests.guards import labelled, make_guard
from tests.middleware.counting import GOOD, IDENTITY, ROUTE, Host
from tests.middleware.counting import folder as folder
from tests.middleware.counting import start as start
from tests.patience import PATIENCE_SECONDS, wait_until
from tests.serving import Serving

UNIFORM = {
    "acknowledge": "uniform",
    "held_answer": {"status": 200, "headers": {"X-Api": "v1", "Content-Type": "text/json"}, "body": "{id: id()}"},
    "uniform": {"floor": "20ms", "jitter": "1ms"},
}


def raw(host: Host, item: Contribution, user: str) -> tuple[bytes, bool]:
    """The bytes of an answer without what time and chance make of it, and whether the connection stays open."""
    with host.serving.connect() as client:
        for _ in range(2):
            body = {"text": item.input, "topic": item.label}
            client.request("POST", "/feedback", body, {"X-User": user})
            data = b""
            while b"\r\n\r\n" not in data or not data.endswith(b"}"):
                more = client.socket.recv(65_536)
                if not more:
                    return data, False
                data += more
        return re.sub(rb"[0-9a-f]{16}-[0-9a-f]{20}|date: [^\r]*", b"-", data), True


def settled(host: Host, n: int) -> dict[Delivery, int]:
    """Wait until so many submissions have an outcome, or need none."""
    counted: dict[Delivery, int] = {}

    def all_have() -> bool:
        counted.clear()
        counted.update(host.guard.store.count_by_delivery())
        return sum(counted.values()) >= n and Delivery.DISPATCHING not in counted

    wait_until(all_have, "some are open")
    return counted


def test_held_and_accepted_are_the_same_bytes_on_a_connection_that_stays_open(start: Callable[..., Host]) -> None:
    host = start(UNIFORM)
    held = None
    for number, item in enumerate(labelled(40, seed=3, flip=True)):
        before = len(host.app.effects)
        answer = raw(host, item, f"liar-{number}")
        if len(host.app.effects) == before:
            held = answer
            break
    host.app.status = 500
    accepted = raw(host, GOOD, "ada")
    assert held is not None
    assert held == accepted
    assert held[1]


def test_what_the_application_answers_is_recorded_and_not_shown(start: Callable[..., Host]) -> None:
    host = start(UNIFORM)
    host.app.status = 422
    answer = host.send(key=None)
    assert (answer.status, list(answer.json)) == (200, ["id"])
    assert answer.headers["set-cookie"] is None
    assert settled(host, 1) == {Delivery.FAILED: 1}
    stored = host.guard.store.submission(answer.json["id"])
    assert stored is not None
    assert stored.detail == {"status": 422}


def test_an_application_that_raises_closes_nobody_s_connection(start: Callable[..., Host]) -> None:
    host = start(UNIFORM)
    host.app.error = RuntimeError("never mind")
    _, stays_open = raw(host, GOOD, "ada")
    assert stays_open
    assert settled(host, 2) == {Delivery.UNKNOWN: 2}


def test_an_application_that_takes_long_is_not_waited_for(start: Callable[..., Host]) -> None:
    host = start(UNIFORM)
    host.app.go_on.clear()
    first = host.send()
    assert first.status == 200
    assert host.app.called.wait(PATIENCE_SECONDS)
    again = host.send()
    assert (again.status, again.body) == (200, first.body)
    host.app.go_on.set()
    assert settled(host, 1) == {Delivery.DELIVERED: 1}
    assert len(host.app.effects) == 1


def test_a_repetition_of_what_was_held_is_the_same_too(start: Callable[..., Host]) -> None:
    host = start(UNIFORM)
    ident = None
    for number, item in enumerate(labelled(40, seed=3, flip=True)):
        before, who = len(host.app.effects), f"liar-{number}"
        answer = host.send(item, user=who)
        if len(host.app.effects) == before and host.guard.store.count_by_delivery().get(Delivery.HELD):
            ident = answer.json["id"]
            assert host.send(item, user=who).json["id"] == ident
            break
    assert ident is not None
    accepted = host.send()
    assert host.send().body == accepted.body


def test_a_repetition_takes_its_time_like_the_first_request(start: Callable[..., Host]) -> None:
    """How fast an answer is made again says nothing of what it was made for."""
    host = start(UNIFORM | {"uniform": {"floor": "300ms", "jitter": "1ms"}})
    for _ in range(2):
        begin = time.monotonic()
        assert host.send().status == 200
        assert time.monotonic() - begin >= 0.3


def test_a_budget_of_weight_is_not_shown_and_one_of_attempts_is(start: Callable[..., Host]) -> None:
    """What is left of weight depends on what was accepted; how often somebody sent something, he knows."""
    limits: list[dict[str, Any]] = [
        {"name": "weight", "facet": "contributor", "measure": "weight", "amount": 1},
        {"name": "attempts", "facet": "contributor", "measure": "count", "amount": 4, "per": "1h", "burst": 4},
    ]
    host = start(UNIFORM, limits=limits)
    items = list(labelled(6, seed=1))
    answers = [host.send(item, key=f'"{item.id}"') for item in items]
    assert [answer.status for answer in answers] == [200, 200, 200, 200, 429, 429]
    assert answers[4].json["budget"] == "attempts"
    assert {tuple(answer.headers.keys()) for answer in answers[:4]} == {tuple(answers[0].headers.keys())}
    assert len({len(answer.body) for answer in answers[:4]}) == 1
    counted = settled(host, 6)
    assert counted[Delivery.REFUSED] >= 4
    assert len(host.app.effects) == counted[Delivery.DELIVERED] < 4
    # A concealed refusal is repeated like any other answer; one that was shown may be tried again.
    assert host.send(items[3], key=f'"{items[3].id}"').body == answers[3].body
    assert host.send(items[4], key=f'"{items[4].id}"').status == 429


def test_without_a_baseline_the_application_answers_for_itself(start: Callable[..., Host]) -> None:
    host = start(UNIFORM, baseline={"path": None})
    answer = host.send(key=None)
    assert (answer.status, answer.body) == (201, b"made 1")


def test_a_template_that_fails_says_nothing_of_holding(start: Callable[..., Host]) -> None:
    held_answer = {"body": "{n: length(number)}"}
    host = start({**UNIFORM, "held_answer": held_answer})
    answer = host.send(key=None)
    assert (answer.status, answer.json["status"]) == (202, "received")
    assert 'feedback_guard_failures_total{part="answer"} 1.0' in host.guard.metrics.render()[0].decode()


def test_a_framework_s_streams_background_tasks_and_middleware_work_unseen(folder: Path, tmp_path: Path) -> None:
    """What stands around the guard stays open until the application is done; what it streams goes nowhere."""
    happened: list[str] = []
    may_end = threading.Event()

    class Session(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: Any) -> Response:
            response: Response = await call_next(request)
            return response

    class Around:
        """A session that is open as long as the application runs."""

        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.app(scope, receive, send)
            if scope["type"] == "http":
                happened.append("closed")

    async def stream() -> AsyncIterator[bytes]:
        for number in range(3):
            await asyncio.to_thread(may_end.wait, PATIENCE_SECONDS)
            happened.append(f"chunk {number}")
            yield b"chunk"

    async def endpoint(request: Request) -> StreamingResponse:
        assert (await request.json())["text"]
        return StreamingResponse(stream(), background=BackgroundTask(happened.append, "background"))

    guard = make_guard(
        folder,
        routes=[{**ROUTE, **UNIFORM}],
        identity=IDENTITY,
        store={"url": f"sqlite:///{tmp_path}/guard.db"},
    )
    app = Starlette(
        routes=[Route("/feedback", endpoint, methods=["POST"])],
        middleware=[Middleware(Around), Middleware(Session), Middleware(FeedbackGuardMiddleware, guard=guard)],
    )
    with Serving(app) as serving:
        answer = serving.post("/feedback", {"text": GOOD.input, "topic": GOOD.label}, {"X-User": "ada"})
        assert (answer.status, list(answer.json)) == (200, ["id"])
        assert happened == []
        may_end.set()
        wait_until(lambda: guard.store.count_by_delivery() == {Delivery.DELIVERED: 1} and "closed" in happened)
        assert happened == ["chunk 0", "chunk 1", "chunk 2", "background", "closed"]
