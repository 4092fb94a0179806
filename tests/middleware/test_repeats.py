"""The admission of requests, step by step: what is cancelled, lost or refused blocks nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from feedback_guard import settings
from feedback_guard.clock import ManualClock
from feedback_guard.errors import ClaimLostError, ContributionError, StoreError
from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from feedback_guard.policy.store import StorePolicy
from feedback_guard.repeats import RepeatBook
from feedback_guard.store import repeats
from feedback_guard.store.database import Store
from feedback_guard.store.repeats import Found, KeptAnswer, RepeatKey, Seen
from feedback_guard.store.states import Delivery
from feedback_guard.submission import Judgement, Submission
from feedback_guard.verdict import Decision
from tests.middleware.direct import Connection, Recorder, call, make_scope, until
from tests.middleware.fakes import EXTRACT, FEEDBACK, NOW_US, FakeGuard, make_policy
from tests.store.build import submission as new_submission

LEASE_US = 22_000_000
HEADERS = ((b"content-type", b"application/json"), (b"idempotency-key", b'"k"'), (b"x-user", b"ada"))
IDENTITY = {"header": {"header": "X-User", "hops": ["192.0.2.7"]}, "missing": "anonymous"}


class Book(RepeatBook):
    """The real book, with doors that the test can shut."""

    def __init__(self, store: Store, guard: BookGuard) -> None:
        super().__init__(lambda: store, guard.clock, LEASE_US)
        self.open = asyncio.Event()
        self.open.set()
        self.claiming = asyncio.Event()
        self.error: Exception | None = None
        self.kept: list[KeptAnswer] = []
        self.on_keep: Callable[[], None] = lambda: None

    async def claim(self, key: RepeatKey) -> Found:
        if self.error is not None:
            raise self.error
        found = await super().claim(key)
        self.claiming.set()
        await self.open.wait()
        return found

    async def keep(self, submission: str, answer: KeptAnswer) -> None:
        self.on_keep()
        if self.error is not None:
            raise self.error
        self.kept.append(answer)
        await super().keep(submission, answer)


class BookGuard(FakeGuard):
    """The fake guard with real keys: what it judges is bound as the real one binds it."""

    def __init__(self, store: Store, route: dict[str, Any]) -> None:
        routes = [{"name": "feedback", "path": "/feedback", "extract": EXTRACT, **route}]
        super().__init__(make_policy(routes, identity=IDENTITY))
        self._records = store
        self.book = Book(store, self)
        self.repeats = self.book  # type: ignore[assignment]

    async def judge(self, submission: Submission) -> Judgement:
        judgement = await super().judge(submission)
        claim = submission.claim
        assert claim is not None

        def record(tx: Any) -> None:
            tx.insert(new_submission(judgement.submission, delivery=judgement.delivery, worker="w"))
            repeats.bind(tx.connection, claim, judgement.submission)

        await self._records.run(record)
        return judgement

    async def record_delivery(self, submission_id: str, to: Delivery, detail: Any, **options: Any) -> None:
        await super().record_delivery(submission_id, to, detail, **options)
        await self._records.run(lambda tx: tx.deliver(submission_id, to, now_us=0, detail=detail))


@pytest.fixture
def store() -> Iterator[Store]:
    with Store.open(StorePolicy(url="sqlite:///:memory:"), clock=ManualClock(NOW_US)) as opened:
        yield opened


async def send(app: Any, body: Any = FEEDBACK, headers: Any = HEADERS) -> Connection:
    return await call(app, make_scope(headers=headers), body)


def test_a_request_that_is_cancelled_while_it_claims_blocks_nobody(store: Store) -> None:
    async def run() -> None:
        guard, inner = BookGuard(store, {}), Recorder()
        app = FeedbackGuardMiddleware(inner, guard=guard)
        guard.book.open.clear()
        first = asyncio.create_task(send(app))
        await guard.book.claiming.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        guard.book.open.set()
        await until(lambda: not len(app._service.tasks))
        assert (await send(app)).status == 200
        assert len(inner.bodies) == 1

    asyncio.run(run())


def test_a_request_that_is_cancelled_before_the_application_was_called_may_come_again(store: Store) -> None:
    async def run() -> None:
        guard, inner = BookGuard(store, {}), Recorder()
        app = FeedbackGuardMiddleware(inner, guard=guard)
        guard.go_on = asyncio.Event()
        first = asyncio.create_task(send(app))
        await guard.judging.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        guard.go_on.set()
        await until(lambda: not len(app._service.tasks))
        assert guard.kept["s-1"].delivery is Delivery.FAILED
        assert (await send(app)).status == 200
        assert (len(inner.bodies), len(guard.kept)) == (1, 2)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "status"),
    [(ContributionError("too long"), 422), (StoreError("gone"), 503), (RuntimeError("a bug"), 503)],
)
def test_a_request_that_could_not_be_judged_gives_its_claim_back(store: Store, error: Exception, status: int) -> None:
    async def run() -> None:
        guard = BookGuard(store, {})
        app = FeedbackGuardMiddleware(Recorder(), guard=guard)
        guard.judge_error = error
        assert (await send(app)).status == status
        guard.judge_error = None
        assert (await send(app)).status == 200

    asyncio.run(run())


@pytest.mark.parametrize(("keyed", "status"), [(True, 409), (False, 503)])
def test_whoever_lost_its_claim_is_told_to_come_back(store: Store, keyed: bool, status: int) -> None:
    async def run() -> None:
        guard, inner = BookGuard(store, {"duplicates": {"window": "30s"}}), Recorder()
        app = FeedbackGuardMiddleware(inner, guard=guard)
        guard.judge_error = ClaimLostError("somebody else took over")
        connection = await send(app, headers=HEADERS if keyed else (HEADERS[0], HEADERS[2]))
        assert (connection.status, connection.json["code"]) == (status, "in_flight")
        assert inner.bodies == []

    asyncio.run(run())


def test_a_store_that_cannot_say_admits_nobody(store: Store) -> None:
    async def run() -> None:
        guard, inner = BookGuard(store, {}), Recorder()
        app = FeedbackGuardMiddleware(inner, guard=guard)
        guard.book.error = StoreError("gone")
        assert (await send(app)).status == 503
        assert (inner.bodies, guard.kept) == ([], {})

    asyncio.run(run())


@pytest.mark.parametrize("decision", [Decision.ACCEPT, Decision.QUARANTINE])
def test_an_answer_that_cannot_be_kept_goes_out(store: Store, decision: Decision) -> None:
    async def run() -> None:
        guard = BookGuard(store, {})
        guard.decide_on = lambda _: decision
        app = FeedbackGuardMiddleware(Recorder(), guard=guard)

        def fail() -> None:
            guard.book.error = StoreError("gone")

        guard.book.on_keep = fail
        assert (await send(app)).status == (200 if decision is Decision.ACCEPT else 202)
        assert guard.metrics.failures == ["store"]

    asyncio.run(run())


@pytest.mark.parametrize("decision", [Decision.ACCEPT, Decision.QUARANTINE, Decision.REJECT])
def test_an_answer_is_kept_before_its_client_has_it(store: Store, decision: Decision) -> None:
    async def run() -> None:
        guard = BookGuard(store, {})
        guard.decide_on = lambda _: decision
        app, connection = FeedbackGuardMiddleware(Recorder(), guard=guard), Connection(FEEDBACK)

        def look() -> None:
            assert not any(message["type"] == "http.response.body" for message in connection.sent)

        guard.book.on_keep = look
        await app(make_scope(headers=HEADERS), connection.receive, connection.send)
        assert guard.metrics.failures == []
        (kept,) = guard.book.kept
        assert (kept.status, kept.body) == (connection.status, connection.body)

    asyncio.run(run())


def test_only_so_many_wait(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "MAX_REPEATS_WAITING", 1)

    async def run() -> None:
        guard = BookGuard(store, {"duplicates": {"window": "30s"}})
        app = FeedbackGuardMiddleware(Recorder(), guard=guard)
        headers = (HEADERS[0], HEADERS[2])
        guard.go_on = asyncio.Event()
        first = asyncio.create_task(send(app, headers=headers))
        await guard.judging.wait()
        second = asyncio.create_task(send(app, headers=headers))
        await until(lambda: app._setup.endings.repeats._waiting == 1)
        assert (await send(app, headers=headers)).status == 503
        guard.go_on.set()
        assert [(await each).status for each in (first, second)] == [200, 200]

    asyncio.run(run())


def test_a_claim_that_is_stolen_is_not_given_back_by_its_old_holder(store: Store) -> None:
    key = RepeatKey("s" * 64, "f" * 64, "feedback", 3_600_000_000)

    def steal(tx: Any) -> Found:
        first = repeats.claim(tx.connection, key, now_us=0, lease_us=1).claim
        repeats.claim(tx.connection, key, now_us=1, lease_us=1_000)
        assert first is not None
        repeats.release(tx.connection, first)
        return repeats.look(tx.connection, key, 2)

    assert store.submit(steal).result().seen is Seen.IN_FLIGHT
