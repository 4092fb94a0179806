"""Approved requests: given to the application once, as they were sent, with an outcome whatever it does."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from feedback_guard.errors import StoreError, TransitionError
from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from feedback_guard.middleware.dispatch import approved
from feedback_guard.store.states import OUTCOMES, Delivery
from feedback_guard.verdict import Decision, Verdict
from tests.middleware.direct import Recorder, call, make_scope, until
from tests.middleware.fakes import FEEDBACK, FakeGuard, Kept
from tests.patience import PATIENCE_SECONDS

JSON = (b"content-type", b"application/json")
ODD_SCOPE = {
    "path": "/feedback",
    "raw_path": b"/%66eedback/./../feedback",
    "query_string": b"a=%20&a=\"'&b=\xff",
    "headers": [JSON, (b"x-a", b"1"), (b"x-a", b"2"), (b"x-l", b"\xe9\xff"), (b"content-length", b"47"), (b"x-e", b"")],
    "client": ("2001:db8::1", 4_321),
    "scheme": "https",
    "http_version": "2",
    "server": ("example.test", 443),
}
ODD_BODY = b' {"label":"card_arrival",\n"input" :"\\u00e9\xc3\xa9"}\t'


class Bench:
    """One middleware in front of one application, with a way to hold and approve."""

    def __init__(self, app: Any = None, *, guard: FakeGuard | None = None, **options: Any) -> None:
        self.app = app or Recorder()
        self.guard = guard or FakeGuard()
        self.guard.decide_on = lambda _: Decision.QUARANTINE
        options = {"poll_seconds": 0.01, "replay_deadline_seconds": PATIENCE_SECONDS} | options
        self.middleware = FeedbackGuardMiddleware(self.app, guard=self.guard, **options)

    async def hold(self, entry: Any = None, body: Any = FEEDBACK, **scope: Any) -> str:
        connection = await call(entry or self.middleware, make_scope(**scope), body)
        assert connection.status == 202
        return str(connection.json["id"])

    async def settle(self, ident: str) -> Kept:
        await until(lambda: self.guard.kept[ident].delivery in OUTCOMES)
        return self.guard.kept[ident]

    async def hold_and_approve(self, **options: Any) -> Kept:
        ident = await self.hold(**options)
        self.guard.approve(ident)
        return await self.settle(ident)

    async def close(self) -> None:
        await self.middleware._service._quiesce()


def test_what_was_approved_is_what_the_application_gets() -> None:
    async def run() -> None:
        bench = Bench()
        kept = await bench.hold_and_approve(body=ODD_BODY, **ODD_SCOPE)
        assert kept.delivery is Delivery.DELIVERED
        assert kept.history == [Delivery.HELD, Delivery.APPROVED, Delivery.DISPATCHING, Delivery.DELIVERED]
        (scope,) = bench.app.scopes
        for name, value in ODD_SCOPE.items():
            assert scope[name] == value, name
        assert bench.app.bodies == [ODD_BODY]
        assert isinstance(scope["client"], tuple)
        await bench.close()

    asyncio.run(run())


def test_a_second_approval_is_refused_and_the_application_called_once() -> None:
    async def run() -> None:
        bench = Bench()
        ident = await bench.hold()
        bench.guard.approve(ident)
        with pytest.raises(TransitionError):
            bench.guard.approve(ident)
        await bench.settle(ident)
        with pytest.raises(TransitionError):
            bench.guard.approve(ident)
        await asyncio.sleep(0.05)
        assert len(bench.app.bodies) == 1
        await bench.close()

    asyncio.run(run())


def test_two_processes_call_the_application_once() -> None:
    async def run() -> None:
        guard = FakeGuard()
        app = Recorder()
        benches = [Bench(app, guard=guard) for _ in range(4)]
        ident = await benches[0].hold()
        for bench in benches[1:]:
            await bench.middleware._service.ready(make_scope())
        guard.approve(ident)
        await benches[0].settle(ident)
        await asyncio.sleep(0.05)
        assert len(app.bodies) == 1
        for bench in benches:
            await bench.close()

    asyncio.run(run())


def test_a_replayed_request_is_neither_judged_again_nor_without_verdicts() -> None:
    async def run() -> None:
        bench = Bench()
        await bench.hold_and_approve()
        assert len(bench.guard.kept) == 1
        (verdict,) = bench.app.scopes[0]["state"]["feedback_guard"]
        assert (verdict.decision, verdict.weight) == (Decision.ACCEPT, 1.0)
        assert verdict.reasons[-1].signal == "review"
        await bench.close()

    asyncio.run(run())


def test_an_approved_verdict_keeps_what_spoke_against_it() -> None:
    held = Verdict("a", Decision.QUARANTINE, 0.0, 0.99, (), "p", "b", campaign="c")
    after = approved(held)
    assert (after.decision, after.weight, after.suspicion, after.campaign) == (Decision.ACCEPT, 1.0, 0.99, "c")


def test_the_state_of_the_lifespan_is_there_fresh_for_each_replay() -> None:
    async def run() -> None:
        bench = Bench()
        state = {"pool": object()}
        bench.middleware._service.entry.lifespan_state = state
        for _ in range(2):
            await bench.hold_and_approve()
        one, two = (scope["state"] for scope in bench.app.scopes)
        assert one["pool"] is two["pool"] is state["pool"]
        assert one is not two
        assert state.keys() == {"pool"}
        await bench.close()

    asyncio.run(run())


def test_a_guard_inside_an_application_replays_through_all_that_stands_before_it() -> None:
    """Endpoints need what outer middleware sets: a session, a user, `scope["app"]`."""
    seen: list[Any] = []

    class Authentication:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                scope["user"] = dict(scope["headers"]).get(b"x-user", b"").decode()
            await self.app(scope, receive, send)

    async def endpoint(request: Any) -> JSONResponse:
        seen.append((request.scope["user"], request.app, await request.json()))
        return JSONResponse({})

    async def run() -> None:
        guard = FakeGuard()
        guard.decide_on = lambda _: Decision.QUARANTINE
        app = Starlette(routes=[Route("/feedback", endpoint, methods=["POST"])])
        app.add_middleware(FeedbackGuardMiddleware, guard=guard, poll_seconds=0.01)
        app.add_middleware(Authentication)
        connection = await call(app, make_scope(headers=[JSON, (b"x-user", b"ada")]), FEEDBACK)
        assert connection.status == 202
        assert not seen
        guard.approve("s-1")
        await until(lambda: guard.only.delivery is Delivery.DELIVERED)
        assert seen == [("ada", app, FEEDBACK)]
        assert len(guard.kept) == 1

    asyncio.run(run())


def test_an_application_that_finds_itself_in_the_scope_finds_itself_there_at_a_replay_too() -> None:
    """As one that somebody else put there: Starlette does it by itself, others have it done."""
    got: list[Any] = []

    async def run() -> None:
        bench = Bench()

        async def outermost(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                got.append(scope["app"])
            await bench.middleware(scope, receive, send)

        kept = await bench.hold_and_approve(entry=outermost, app=outermost)
        assert kept.delivery is Delivery.DELIVERED
        assert got == [outermost, outermost]
        await bench.close()

    asyncio.run(run())


def test_the_context_of_one_user_does_not_leak_into_another_ones_replay() -> None:
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(user.get())
        await Recorder()(scope, receive, send)

    async def run() -> None:
        bench = Bench(app)
        user.set("ada")  # her request starts guard and dispatcher
        await bench.hold_and_approve()
        assert seen == ["nobody"]
        await bench.close()

    asyncio.run(run())


def test_a_streamed_answer_to_a_replay_ends() -> None:
    async def stream() -> AsyncIterator[bytes]:
        for _ in range(3):
            await asyncio.sleep(0.001)
            yield b"x"

    async def endpoint(request: Any) -> StreamingResponse:
        await request.json()
        return StreamingResponse(stream())

    async def run() -> None:
        bench = Bench(Starlette(routes=[Route("/feedback", endpoint, methods=["POST"])]))
        assert (await bench.hold_and_approve()).detail == {"status": 200}
        await bench.close()

    asyncio.run(run())


def app_of(*steps: Any) -> Callable[..., Awaitable[None]]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for step in steps:
            if isinstance(step, BaseException):
                raise step
            if step == "hang":
                await asyncio.Event().wait()
            elif step == "hang twice":
                for _ in range(2):
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.Event().wait()
            elif step == "until disconnect":
                while (await receive())["type"] != "http.disconnect":
                    pass
            elif isinstance(step, int):
                await send({"type": "http.response.start", "status": step, "headers": []})
            else:
                await send({"type": "http.response.body", "body": b"x"})

    return app


ENDS = {
    "200": ((200, "body"), Delivery.DELIVERED),
    "waits for the client to leave": ((200, "body", "until disconnect"), Delivery.DELIVERED),
    "waits for the client to leave first": (("until disconnect", 200, "body"), Delivery.UNKNOWN),
    "302": ((302, "body"), Delivery.DELIVERED),
    "400": ((400, "body"), Delivery.FAILED),
    "401: stale credentials": ((401, "body"), Delivery.NEEDS_CREDENTIALS),
    "403": ((403, "body"), Delivery.NEEDS_CREDENTIALS),
    "raises after a whole 401": ((401, "body", RuntimeError("what a user wrote")), Delivery.NEEDS_CREDENTIALS),
    "500": ((500, "body"), Delivery.FAILED),
    "nothing": ((), Delivery.UNKNOWN),
    "raises before": ((RuntimeError("what a user wrote"),), Delivery.UNKNOWN),
    "raises in between": ((200, RuntimeError("what a user wrote")), Delivery.UNKNOWN),
    "raises after a whole answer": ((200, "body", RuntimeError("what a user wrote")), Delivery.DELIVERED),
    "raises after a 500": ((500, "body", RuntimeError("what a user wrote")), Delivery.UNKNOWN),
    "cancels itself": ((asyncio.CancelledError(),), Delivery.UNKNOWN),
    "hangs before": (("hang",), Delivery.UNKNOWN),
    "hangs in between": ((200, "hang"), Delivery.UNKNOWN),
    "hangs after a whole answer": ((200, "body", "hang"), Delivery.DELIVERED),
    "hangs and will not be cancelled": (("hang twice",), Delivery.UNKNOWN),
}


@pytest.mark.parametrize("name", ENDS)
def test_every_end_has_a_state(name: str, caplog: pytest.LogCaptureFixture) -> None:
    steps, state = ENDS[name]

    async def run() -> Kept:
        late = "hang" in name or "leave first" in name
        bench = Bench(app_of(*steps), replay_deadline_seconds=0.05 if late else PATIENCE_SECONDS)
        kept = await bench.hold_and_approve()
        await bench.close()
        return kept

    with caplog.at_level(logging.DEBUG):
        kept = asyncio.run(run())
    assert kept.delivery is state
    if steps and isinstance(steps[0], int):
        assert kept.detail["status"] == steps[0]
    if name == "waits for the client to leave":
        assert kept.detail == {"status": 200}
    if "hang" in name or "leave first" in name:
        assert "did not return within 0.05 s" in str(kept.detail["cause"])
    assert "what a user wrote" not in caplog.text


def test_a_kept_request_that_cannot_be_read_is_failed_and_not_called() -> None:
    async def run() -> None:
        bench = Bench()
        ident = await bench.hold()
        submission = bench.guard.kept[ident].submission
        object.__setattr__(submission, "request", b"altered")
        bench.guard.approve(ident)
        kept = await bench.settle(ident)
        assert kept.delivery is Delivery.FAILED
        assert "cannot be read" in str(kept.detail["cause"])
        assert not bench.app.scopes
        await bench.close()

    asyncio.run(run())


def test_a_decision_in_this_process_is_acted_upon_at_once() -> None:
    async def run() -> None:
        waits: list[float] = []

        async def wait(event: asyncio.Event, seconds: float) -> None:
            waits.append(seconds)
            await event.wait()  # never by time

        bench = Bench(wait=wait, poll_seconds=77.0)
        assert (await bench.hold_and_approve()).delivery is Delivery.DELIVERED
        assert set(waits) == {77.0}
        await bench.close()

    asyncio.run(run())


def test_a_decision_of_another_process_is_found_by_the_next_poll() -> None:
    async def run() -> None:
        polls = asyncio.Semaphore(0)

        async def wait(event: asyncio.Event, seconds: float) -> None:
            await polls.acquire()

        bench = Bench(wait=wait)
        ident = await bench.hold()
        bench.guard._move(ident, Delivery.APPROVED)  # nobody sets the event
        await asyncio.sleep(0.01)
        assert bench.guard.kept[ident].delivery is Delivery.APPROVED
        polls.release()
        await bench.settle(ident)
        polls.release()
        polls.release()
        await bench.close()

    asyncio.run(run())


@pytest.mark.parametrize("error", [StoreError("busy"), ValueError("what a user wrote")])
def test_the_dispatcher_survives_a_claim_that_fails(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        bench = Bench()
        bench.guard.claim_errors = [error, error]
        assert (await bench.hold_and_approve()).delivery is Delivery.DELIVERED
        assert bench.guard.metrics.failures == ["delivery", "delivery"]
        await bench.close()

    asyncio.run(run())
    assert "what a user wrote" not in caplog.text


def test_only_so_many_replays_run_at_a_time_and_none_is_forgotten() -> None:
    async def run() -> None:
        gate = asyncio.Event()
        running = most = 0

        async def app(scope: Any, receive: Any, send: Any) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await gate.wait()
            running -= 1
            await Recorder()(scope, receive, send)

        bench = Bench(app, poll_seconds=10 * PATIENCE_SECONDS)
        idents = [await bench.hold() for _ in range(20)]
        for ident in idents:
            bench.guard.approve(ident)
        await until(lambda: running == 8)
        await asyncio.sleep(0.02)
        assert running == 8
        gate.set()
        for ident in idents:
            assert (await bench.settle(ident)).delivery is Delivery.DELIVERED
        assert most == 8
        await bench.close()

    asyncio.run(run())


def test_the_end_waits_for_what_was_claimed_and_claims_nothing_more() -> None:
    async def run() -> None:
        gate = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await gate.wait()
            await Recorder()(scope, receive, send)

        bench = Bench(app)
        first, second = await bench.hold(), await bench.hold()
        bench.guard.approve(first)
        await until(lambda: bench.guard.kept[first].delivery is Delivery.DISPATCHING)
        closing = asyncio.ensure_future(bench.close())
        await asyncio.sleep(0.01)
        assert not closing.done()
        bench.guard.approve(second)
        gate.set()
        await closing
        assert bench.guard.kept[first].delivery is Delivery.DELIVERED
        assert bench.guard.kept[second].delivery is Delivery.APPROVED, "left for the next process"

    asyncio.run(run())


def test_a_request_that_is_being_claimed_at_the_end_is_still_delivered() -> None:
    """Its claim is committed: if the end forgot it, nobody would ever give it to the application."""

    async def run() -> None:
        bench = Bench()
        ident = await bench.hold()
        claim, claimed, go_on = bench.guard.claim_approved, asyncio.Event(), asyncio.Event()

        async def slow_claim(routes: Any, limit: int = 10, **options: Any) -> Any:
            claims = await claim(routes, limit, **options)
            if claims:
                claimed.set()
                await go_on.wait()
            return claims

        bench.guard.claim_approved = slow_claim  # type: ignore[method-assign]
        bench.guard.approve(ident)
        await claimed.wait()
        closing = asyncio.ensure_future(bench.close())
        await asyncio.sleep(0.01)
        go_on.set()
        await closing
        assert bench.guard.kept[ident].delivery is Delivery.DELIVERED
        assert len(bench.app.bodies) == 1

    asyncio.run(run())


def test_a_replay_that_outlasts_the_end_is_unknown() -> None:
    async def run() -> None:
        bench = Bench(app_of("hang"), replay_deadline_seconds=60.0)
        ident = await bench.hold()
        bench.guard.approve(ident)
        await until(lambda: bench.guard.kept[ident].delivery is Delivery.DISPATCHING)
        dispatcher = bench.middleware._service._dispatcher
        assert dispatcher is not None
        for task in list(dispatcher._deliveries._tasks):
            task.cancel()  # what the end of the event loop does
        kept = await bench.settle(ident)
        assert kept.delivery is Delivery.UNKNOWN
        assert "stopped" in str(kept.detail["cause"])
        await bench.close()

    asyncio.run(run())


def test_what_is_cancelled_before_the_call_is_given_back() -> None:
    async def run() -> None:
        hanging = asyncio.Event()

        async def mint(_: Any) -> None:
            hanging.set()
            await asyncio.Event().wait()

        bench = Bench(credentials={"feedback": mint})
        ident = await bench.hold()
        bench.guard.approve(ident)
        await hanging.wait()
        dispatcher = bench.middleware._service._dispatcher
        assert dispatcher is not None
        dispatcher._stopping = True
        for task in list(dispatcher._deliveries._tasks):
            task.cancel()
        await until(lambda: bench.guard.kept[ident].delivery is Delivery.APPROVED)
        assert "before it called the application" in str(bench.guard.kept[ident].detail["cause"])
        assert not bench.app.scopes
        await bench.close()

    asyncio.run(run())


def test_a_claim_that_is_too_old_is_given_back_and_the_application_not_called() -> None:
    async def run() -> None:
        bench = Bench()
        bench.guard.lease_us = 0

        async def slow(replay: Any) -> dict[str, str]:
            bench.guard.clock.advance(10.5 if replay.attempt == 1 else 0)
            return {}

        bench = Bench(guard=bench.guard, credentials={"feedback": slow})
        kept = await bench.hold_and_approve()
        assert kept.delivery is Delivery.DELIVERED
        assert kept.history.count(Delivery.DISPATCHING) == 2
        assert kept.history.count(Delivery.APPROVED) == 2
        assert len(bench.app.bodies) == 1
        assert bench.guard.lease_us == (10 + PATIENCE_SECONDS + 2 + 15) * 1_000_000, "start, deadline, grace and record"
        await bench.close()

    asyncio.run(run())


def test_a_record_that_cannot_be_read_leaves_the_request_for_later() -> None:
    async def run() -> None:
        bench = Bench()
        ident = await bench.hold()
        read, failures = bench.guard.store.submission, [StoreError("busy")]

        def submission(submission_id: str) -> Any:
            if failures:
                raise failures.pop()
            return read(submission_id)

        bench.guard.store.submission = submission  # type: ignore[method-assign]
        bench.guard.approve(ident)
        kept = await bench.settle(ident)
        assert kept.delivery is Delivery.DELIVERED
        assert kept.history.count(Delivery.DISPATCHING) == 2
        assert len(bench.app.bodies) == 1
        await bench.close()

    asyncio.run(run())


def test_what_may_end_better_is_said_to_the_guard() -> None:
    async def run(status: int) -> bool:
        bench = Bench(app_of(status, "body"))
        await bench.hold_and_approve()
        await bench.close()
        return bench.guard.again[-1][1]

    worth = {status: asyncio.run(run(status)) for status in (200, 400, 401, 404, 408, 409, 422, 425, 429, 500, 503)}
    assert {status for status, again in worth.items() if again} == {408, 425, 429, 500, 503}
