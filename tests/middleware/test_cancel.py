"""Requests that are cancelled, and outcomes that cannot be recorded at once: nothing is left half done."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from feedback_guard.errors import StoreError, TransitionError
from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from feedback_guard.store.states import Delivery
from feedback_guard.verdict import Decision
from tests.middleware.direct import Connection, Recorder, call, make_scope, until
from tests.middleware.fakes import FEEDBACK, FakeGuard
from tests.patience import PATIENCE_SECONDS

FINAL = {Delivery.DELIVERED, Delivery.FAILED, Delivery.UNKNOWN}


async def no_wait(_: asyncio.Event, seconds: float) -> None:
    """Lets retries follow each other at once; the dispatcher's poll waits for its end."""
    await asyncio.sleep(0 if seconds < 1 else 0.001)


async def idle(middleware: FeedbackGuardMiddleware) -> None:
    """Wait until the tasks that outlive requests are done."""
    await until(lambda: len(middleware._service.tasks) == 0)


class Steps:
    """An application that can be stopped at every await."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.calls += 1
        await asyncio.sleep(0)
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        await asyncio.sleep(0)


@pytest.mark.parametrize("decision", [Decision.ACCEPT, Decision.QUARANTINE, Decision.LIMIT])
def test_a_request_cancelled_at_any_await_is_closed(decision: Decision) -> None:
    """Cancels after 0, 1, 2, ... turns of the loop, through reading, judging, calling, answering and recording."""
    states: set[tuple[Delivery | None, int]] = set()

    async def cancelled_after(turns: int) -> bool:
        guard, app = FakeGuard(), Steps()
        guard.decide_on = lambda _: decision
        middleware = FeedbackGuardMiddleware(app, guard=guard)
        connection = Connection(FEEDBACK)

        async def send(message: Any) -> None:
            await asyncio.sleep(0)
            await connection.send(message)

        task = asyncio.ensure_future(middleware(make_scope(), connection.receive, send))
        for _ in range(turns):
            await asyncio.sleep(0)
        finished = task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert finished or task.cancelled(), "the cancellation was swallowed"
        await idle(middleware)
        kept = next(iter(guard.kept.values()), None)
        if kept is None:
            assert app.calls == 0
        elif decision is Decision.ACCEPT:
            assert kept.delivery in FINAL, f"left {kept.delivery} after {turns} turns"
            assert app.calls <= 1
            if app.calls == 0:
                assert kept.delivery is Delivery.FAILED
                assert "before the application was called" in str(kept.detail)
            elif not connection.answered.is_set():
                assert kept.delivery is not Delivery.FAILED
        else:
            assert app.calls == 0
        states.add((kept.delivery if kept else None, app.calls))
        await middleware._service._quiesce()
        return finished

    async def run() -> None:
        for turns in range(200):
            if await cancelled_after(turns):
                return
        raise AssertionError("the request never finished by itself")

    asyncio.run(run())
    if decision is Decision.ACCEPT:
        assert states == {(None, 0), (Delivery.FAILED, 0), (Delivery.UNKNOWN, 1), (Delivery.DELIVERED, 1)}


def test_a_judgement_that_fails_after_its_request_was_cancelled_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        guard = FakeGuard()
        guard.go_on = asyncio.Event()
        middleware = FeedbackGuardMiddleware(Recorder(), guard=guard)
        task = asyncio.ensure_future(call(middleware, body=FEEDBACK))
        await guard.judging.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (judging,) = [t for t in middleware._service.tasks._tasks if "judge" in t.get_name()]
        assert not judging.done(), "the judgement was cancelled with the request"
        guard.go_on.set()
        await idle(middleware)
        assert guard.only.delivery is Delivery.FAILED
        await middleware._service._quiesce()

    asyncio.run(run())
    assert "never retrieved" not in caplog.text


def test_the_first_request_may_leave_while_the_guard_starts() -> None:
    async def run() -> None:
        guard = FakeGuard()
        started, go_on = asyncio.Event(), asyncio.Event()
        start, starts = guard.start, 0

        async def slow_start() -> None:
            nonlocal starts
            starts += 1
            started.set()
            await go_on.wait()
            await start()

        guard.start = slow_start  # type: ignore[method-assign]
        app = Recorder()
        middleware = FeedbackGuardMiddleware(app, guard=guard)
        first = asyncio.ensure_future(call(middleware, body=FEEDBACK))
        await started.wait()
        second = asyncio.ensure_future(call(middleware, body=FEEDBACK))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        go_on.set()
        assert (await second).status == 200
        assert starts == 1
        assert len(app.bodies) == 1
        await middleware._service._quiesce()

    asyncio.run(run())


def test_an_outcome_that_the_store_refuses_is_tried_again_after_the_answer() -> None:
    async def run() -> None:
        guard = FakeGuard()
        guard.delivery_errors = [StoreError("busy"), StoreError("busy")]
        go_on = asyncio.Event()

        async def wait(event: asyncio.Event, seconds: float) -> None:
            await go_on.wait()

        middleware = FeedbackGuardMiddleware(Recorder(), guard=guard, wait=wait)
        connection = await call(middleware, body=FEEDBACK)
        assert connection.status == 200
        assert guard.only.delivery is Delivery.DISPATCHING
        assert guard.metrics.failures == ["store"]
        go_on.set()
        await until(lambda: guard.only.delivery is Delivery.DELIVERED)
        await middleware._service._quiesce()

    asyncio.run(run())


def test_an_outcome_that_came_too_late_is_not_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        guard = FakeGuard()
        guard.delivery_errors = [TransitionError("a request cannot go from unknown to delivered")]
        middleware = FeedbackGuardMiddleware(Recorder(), guard=guard, wait=no_wait)
        await call(middleware, body=FEEDBACK)
        await idle(middleware)
        assert guard.only.delivery is Delivery.DISPATCHING
        await middleware._service._quiesce()

    asyncio.run(run())
    assert "came too late" in caplog.text


def test_the_end_gives_an_open_outcome_one_last_chance(caplog: pytest.LogCaptureFixture) -> None:
    async def run(failures: int) -> Delivery:
        guard = FakeGuard()
        guard.delivery_errors = [StoreError("gone") for _ in range(failures)]
        middleware = FeedbackGuardMiddleware(Recorder(), guard=guard)
        await call(middleware, body=FEEDBACK)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await middleware._service._quiesce()
        return guard.only.delivery

    assert asyncio.run(run(1)) is Delivery.DELIVERED
    assert asyncio.run(run(9)) is Delivery.DISPATCHING
    assert "stays open" in caplog.text
