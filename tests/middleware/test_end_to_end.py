"""The middleware with the real guard: sockets, SQLite, ledger, signals; only the embedding model is replaced."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request

from feedback_guard.contribution import Contribution
from feedback_guard.errors import TransitionError
from feedback_guard.guard import Guard
from feedback_guard.ledger.verify import verify
from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from feedback_guard.store.records import StoredSubmission
from feedback_guard.store.states import Delivery, Learning
from tests.guards import labelled, make_guard
from tests.patience import PATIENCE_SECONDS
from tests.serving import Answer, Serving

ROUTE = {"name": "feedback", "path": "/feedback", "extract": "{kind: 'label', input: text, label: topic}"}
IDENTITY = {"header": {"header": "X-User", "hops": ["127.0.0.1"]}, "network_group": False}
FINAL = {Delivery.DELIVERED, Delivery.FAILED, Delivery.UNKNOWN}


class Host:
    """A FastAPI application behind a guard, on a real socket."""

    def __init__(self, folder: Path, database: Path, **policy: Any) -> None:
        self.got: list[tuple[bytes, bytes, str]] = []
        self.changed = threading.Condition()
        self.api = FastAPI(lifespan=self.lifespan)
        self.api.post("/feedback")(self.feedback)
        parts = {"routes": [ROUTE], "identity": IDENTITY, "store": {"url": f"sqlite:///{database}"}} | policy
        self.guard: Guard = make_guard(folder, **parts)
        self.api.add_middleware(FeedbackGuardMiddleware, guard=self.guard, poll_seconds=0.05)
        self.serving = Serving(self.api)
        self.loop: asyncio.AbstractEventLoop | None = None

    @contextlib.asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[dict[str, str]]:
        """Give the endpoint something that only a lifespan can give."""
        self.loop = asyncio.get_running_loop()
        yield {"pool": "the pool"}

    async def feedback(self, request: Request) -> dict[str, Any]:
        assert request.state.pool == "the pool"
        decisions = ",".join(verdict.decision for verdict in request.state.feedback_guard)
        with self.changed:
            self.got.append((request.scope["raw_path"], await request.body(), decisions))
            self.changed.notify_all()
        return {"decisions": decisions}

    def send(self, item: Contribution, *, user: str = "ada", path: str = "/feedback", **extra: object) -> Answer:
        body = {"text": item.input, "topic": item.label, **extra}
        return self.serving.post(path, body, {"X-User": user})

    def hold_one(self, seed: int = 3, **options: Any) -> str:
        """Send contributions with the wrong label until one is held, and return its id."""
        for item in labelled(40, seed=seed, flip=True):
            answer = self.send(item, user=f"liar-{item.id}", **options)
            if answer.status == 202:
                return str(answer.json["id"])
            assert answer.status == 200
        raise AssertionError("nothing was held")

    def decide(self, ident: str, *, approve: bool) -> None:
        assert self.loop is not None
        deciding = self.guard.decide(ident, approve=approve, moderator="mo", note="looked at it")
        asyncio.run_coroutine_threadsafe(deciding, self.loop).result(PATIENCE_SECONDS)

    def stored(self, ident: str) -> StoredSubmission:
        stored = self.guard.store.submission(ident)
        assert stored is not None
        return stored

    def wait_for(self, ident: str, reached: Callable[[StoredSubmission], bool]) -> StoredSubmission:
        end = time.monotonic() + PATIENCE_SECONDS
        while not reached(stored := self.stored(ident)):
            assert time.monotonic() < end, f"{ident} stays {stored.delivery}"
            with self.changed:
                self.changed.wait(0.02)
        return stored

    def last(self) -> StoredSubmission:
        """The submission that was recorded last."""
        event = self.guard.store.events_after(0, 100_000)
        return self.stored(next(e.stored.submission for e in reversed(event) if e.stored is not None))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the baseline is, built once."""
    return tmp_path_factory.mktemp("guard")


@pytest.fixture
def start(folder: Path, tmp_path: Path) -> Iterator[Callable[..., Host]]:
    with contextlib.ExitStack() as stack:
        databases: list[Path] = []

        def start(**policy: Any) -> Host:
            database = tmp_path / f"guard-{len(databases)}.db"
            databases.append(database)
            host = Host(folder, database, **policy)
            stack.enter_context(host.serving)
            return host

        yield start
        stack.close()
        for database in databases:
            assert verify(f"sqlite:///{database}").clean


def test_honest_feedback_passes_and_its_record_says_what_the_application_did(start: Callable[..., Host]) -> None:
    host = start()
    item = next(labelled(1, seed=1))
    answer = host.send(item)
    assert (answer.status, answer.json) == (200, {"decisions": "accept"})
    stored = host.wait_for(host.last().id, lambda found: found.delivery in FINAL)
    assert (stored.delivery, stored.detail) == (Delivery.DELIVERED, {"status": 200})
    (kept,) = stored.contributions
    assert (kept.contribution.input, kept.contribution.contributor) == (item.input, "ada")
    assert kept.learning is Learning.ACCEPTED
    assert stored.request is None

    def page() -> str:
        return host.guard.metrics.render()[0].decode()

    assert 'feedback_guard_requests_total{outcome="accepted",route="feedback"} 1.0' in page()
    host.wait_for(stored.id, lambda _: 'feedback_guard_deliveries_total{state="delivered"} 1.0' in page())


def test_poison_is_held_and_after_approval_given_to_the_application_once_as_it_was_sent(
    start: Callable[..., Host],
) -> None:
    host = start()
    ident = host.hold_one(path="/%66eedback?q=%20", contributor="somebody else", n=1)
    before = len(host.got)
    stored = host.stored(ident)
    assert stored.delivery is Delivery.HELD
    assert not any(kept.contribution.contributor == "somebody else" for kept in stored.contributions)
    host.decide(ident, approve=True)
    stored = host.wait_for(ident, lambda found: found.delivery in FINAL)
    assert (stored.delivery, stored.detail) == (Delivery.DELIVERED, {"status": 200})
    raw_path, body, decisions = host.got[before]
    assert (raw_path, decisions) == (b"/%66eedback", "accept")
    (kept,) = stored.contributions
    expected = {"text": kept.contribution.input, "topic": kept.contribution.label}
    assert json.loads(body) == expected | {"contributor": "somebody else", "n": 1}
    assert kept.learning is Learning.APPROVED
    with pytest.raises(TransitionError):
        host.decide(ident, approve=True)
    assert len(host.got) == before + 1


def test_a_denied_request_never_reaches_the_application(start: Callable[..., Host]) -> None:
    host = start()
    ident = host.hold_one()
    before = len(host.got)
    host.decide(ident, approve=False)
    other = host.hold_one(seed=4)
    host.decide(other, approve=True)
    host.wait_for(other, lambda found: found.delivery in FINAL)
    assert host.stored(ident).delivery is Delivery.DENIED
    assert not any(
        b'"' + host.stored(ident).contributions[0].contribution.input.encode() in got[1] for got in host.got[before:]
    )


def test_a_budget_without_room_is_429_and_the_application_sees_nothing(start: Callable[..., Host]) -> None:
    limit = {"name": "per-hour", "facet": "contributor", "measure": "count", "amount": 3, "per": "1h"}
    host = start(limits=[limit])
    items = list(labelled(4, seed=5))
    statuses = [host.send(item, user="busy").status for item in items[:3]]
    answer = host.send(items[3], user="busy")
    assert 429 not in statuses
    assert (answer.status, answer.json["budget"]) == (429, "per-hour")
    assert answer.headers["retry-after"] == "1200"
    assert answer.headers["ratelimit-policy"] == '"per-hour";q=3;w=3600'
    assert answer.headers["ratelimit"] == '"per-hour";r=0;t=1200'
    assert host.send(items[3], user="somebody else").status == 200
    assert host.last().delivery is not Delivery.REFUSED


def test_a_hold_store_at_its_bound_and_a_store_that_is_gone_are_503(start: Callable[..., Host], tmp_path: Path) -> None:
    host = start(store={"url": f"sqlite:///{tmp_path}/guard-0.db", "hold_capacity": 1})
    host.hold_one()
    before = len(host.got)
    statuses = {host.send(item, user="liar").status for item in labelled(20, seed=6, flip=True)}
    assert 503 in statuses
    assert 202 not in statuses
    accepted = len(host.got) - before
    assert accepted < 20
    host.guard.store.close()
    answer = host.send(next(labelled(1, seed=7)))
    assert answer.status == 503
    assert answer.headers["retry-after"]
    assert len(host.got) == before + accepted


def test_without_a_baseline_the_guard_observes_and_passes_everything(start: Callable[..., Host]) -> None:
    host = start(baseline={"path": None})
    assert not host.guard.enforcing
    for item in labelled(4, seed=8, flip=True):
        assert host.send(item).status == 200
    assert host.serving.post("/feedback", b"{", {"X-User": "ada"}).status == 200
    assert len(host.got) == 5
    host.wait_for(host.last().id, lambda found: found.delivery is Delivery.DELIVERED)


def test_a_missing_contributor_is_401_and_bad_input_leaves_no_record(start: Callable[..., Host]) -> None:
    host = start()
    assert host.serving.post("/feedback", {"text": "a", "topic": "b"}).status == 401
    assert host.serving.post("/feedback", b'{"text": 1, "text": 2}', {"X-User": "ada"}).status == 400
    assert host.serving.post("/feedback", {"text": "a"}, {"X-User": "ada"}).status == 422
    assert host.got == []
    assert host.guard.store.count_by_delivery() == {}
