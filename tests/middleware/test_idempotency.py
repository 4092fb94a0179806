"""Requests that come again, with the real guard: sockets, SQLite, an application that counts its effects."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from feedback_guard.contribution import Contribution
from feedback_guard.guard import Guard
from feedback_guard.ledger.verify import verify
from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from tests.guards import labelled, make_guard
from tests.serving import Answer, Serving

ROUTE = {"name": "feedback", "path": "/feedback", "extract": "{kind: 'label', input: text, label: topic}"}
OTHER = {**ROUTE, "name": "other", "path": "/other"}
IDENTITY = {"header": {"header": "X-User", "hops": ["127.0.0.1"]}, "network_group": False, "missing": "anonymous"}
WINDOW = {"duplicates": {"window": "30s"}}
REQUIRED = {"idempotency": {"key": "required"}}
SIGNALS = {"false_hold_rate": 0.05, "near_duplicate": {"share": 0.0}}
GOOD, SECOND = list(labelled(2, seed=1))
KEY = '"8e03978e-40d5-43e8-bc93-6894a57f9324"'


class App:
    """Counts its effects; its answer is what the test wants, and can be made to wait."""

    def __init__(self) -> None:
        self.effects: list[bytes] = []
        self.status = 201
        self.headers = [(b"content-type", b"text/plain"), (b"location", b"/f/1"), (b"set-cookie", b"session=secret")]
        self.pieces = [b"made ", b"1"]
        self.called = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.error: Exception | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError("HTTP only")
        self.effects.append((await receive())["body"])
        self.called.set()
        await asyncio.to_thread(self.go_on.wait, 20)
        if self.error is not None:
            raise self.error
        number = len(self.effects)
        headers = [*self.headers, (b"x-effect", str(number).encode())]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        for place, piece in enumerate(self.pieces):
            await send({"type": "http.response.body", "body": piece, "more_body": place < len(self.pieces) - 1})


class Host:
    """The application behind a guard, on a real socket."""

    def __init__(self, folder: Path, database: Path, route: Mapping[str, Any], **policy: Any) -> None:
        self.app = App()
        routes = [{**ROUTE, **route}, {**OTHER, **route}]
        parts: dict[str, Any] = {"routes": routes, "identity": IDENTITY, "signals": SIGNALS}
        parts |= {"store": {"url": f"sqlite:///{database}"}} | policy
        self.guard: Guard = make_guard(folder, **parts)
        self.serving = Serving(FeedbackGuardMiddleware(self.app, guard=self.guard))

    def send(
        self, item: Contribution = GOOD, key: str | None = KEY, *, user: str = "ada", path: str = "/feedback"
    ) -> Answer:
        headers = {"X-User": user} if user else {}
        if key is not None:
            headers["Idempotency-Key"] = key
        return self.serving.post(path, {"text": item.input, "topic": item.label}, headers)

    @property
    def counted(self) -> int:
        return sum(self.guard.store.count_by_delivery().values())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the baseline is, built once."""
    return tmp_path_factory.mktemp("guard")


@pytest.fixture
def start(folder: Path, tmp_path: Path) -> Iterator[Callable[..., Host]]:
    with contextlib.ExitStack() as stack:
        database = tmp_path / "guard.db"

        def start(route: Mapping[str, Any] | None = None, **policy: Any) -> Host:
            host = Host(folder, database, route or {}, **policy)
            stack.enter_context(host.serving)
            return host

        yield start
        stack.close()
        assert verify(f"sqlite:///{database}").clean


def same(first: Answer, second: Answer) -> None:
    assert (second.status, second.body) == (first.status, first.body)


def test_a_repetition_gets_the_first_answer_and_has_no_effect(start: Callable[..., Host]) -> None:
    host = start()
    first = host.send()
    assert (first.status, first.body) == (201, b"made 1")
    for _ in range(3):
        again = host.send()
        same(first, again)
        assert (again.headers["location"], again.headers["content-type"]) == ("/f/1", "text/plain")
    assert len(host.app.effects) == host.counted == 1


def test_an_answer_that_is_given_again_has_no_cookie_and_nothing_unknown(start: Callable[..., Host]) -> None:
    host = start()
    first = host.send()
    assert first.headers["set-cookie"]
    again = host.send()
    assert again.headers["set-cookie"] is None
    assert again.headers["x-effect"] is None


def test_the_bare_key_of_common_clients_is_the_same_key(start: Callable[..., Host]) -> None:
    host = start()
    same(host.send(key=KEY), host.send(key=KEY.strip('"')))
    assert len(host.app.effects) == 1


def test_another_key_another_contributor_and_another_route_are_other_requests(start: Callable[..., Host]) -> None:
    host = start()
    host.send()
    host.send(key='"other"')
    host.send(user="eve")
    host.send(path="/other")
    assert len(host.app.effects) == 4


@pytest.mark.parametrize("change", ["body", "query"])
def test_a_key_that_was_used_for_another_request_is_422(start: Callable[..., Host], change: str) -> None:
    host = start()
    host.send()
    answer = host.send(SECOND) if change == "body" else host.send(path="/feedback?a=1")
    assert (answer.status, answer.json["code"]) == (422, "key_reused")
    assert len(host.app.effects) == host.counted == 1


def test_a_key_in_flight_is_409_until_the_answer_is_there(start: Callable[..., Host]) -> None:
    host = start()
    host.app.go_on.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(host.send)
        assert host.app.called.wait(10)
        answer = host.send()
        assert (answer.status, answer.json["code"], answer.headers["retry-after"]) == (409, "in_flight", "1")
        assert host.send(SECOND).status == 422
        host.app.go_on.set()
        same(first.result(), host.send())
    assert len(host.app.effects) == 1


@pytest.mark.parametrize("key", ['""', '"a', "a b", '"a" b', '"é"', '"' + "x" * 256 + '"', "x" * 256, '"\\x"'])
def test_a_malformed_key_is_400_and_nothing_happens(start: Callable[..., Host], key: str) -> None:
    host = start()
    answer = host.send(key=key.encode().decode("latin-1"))
    assert (answer.status, answer.json["code"]) == (400, "bad_key")
    assert host.app.effects == []
    assert host.counted == 0


def test_two_keys_are_400(start: Callable[..., Host]) -> None:
    host = start()
    fields = [("X-User", "ada"), ("Idempotency-Key", '"a"'), ("Idempotency-Key", '"a"')]
    assert host.serving.post("/feedback", {"text": GOOD.input, "topic": GOOD.label}, fields).status == 400


def test_a_route_may_require_a_key(start: Callable[..., Host]) -> None:
    host = start(REQUIRED)
    answer = host.send(key=None)
    assert (answer.status, answer.json["code"]) == (400, "key_missing")
    assert host.send().status == 201


def test_a_route_may_leave_the_key_to_the_application(start: Callable[..., Host]) -> None:
    host = start({"idempotency": {"key": "ignore"}})
    host.send()
    host.send(key="not a key")
    assert len(host.app.effects) == 2
