"""The guard lives as long as the application, with a lifespan and without one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from feedback_guard.errors import BaselineError, UsageError
from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from feedback_guard.store.states import Delivery
from feedback_guard.verdict import Decision
from tests.middleware.direct import Recorder, call, make_scope, until
from tests.middleware.fakes import FEEDBACK, FakeGuard, make_policy
from tests.patience import PATIENCE_SECONDS


class Server:
    """The server's side of a lifespan."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.state: dict[str, Any] = {}
        self.to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.from_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.task: asyncio.Task[None] | None = None

    async def say(self, kind: str) -> dict[str, Any]:
        if self.task is None:
            scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": self.state}
            self.task = asyncio.ensure_future(self.app(scope, self.to_app.get, self.from_app.put))
        await self.to_app.put({"type": f"lifespan.{kind}"})
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.from_app.get()


def application(
    events: list[str],
    guard: FakeGuard,
    *,
    gate: asyncio.Event | None = None,
    at_start: Callable[[], Awaitable[object]] | None = None,
) -> Starlette:
    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[dict[str, Any]]:
        events.append(f"app starts, guard {'runs' if guard.running else 'stopped'}")
        if at_start is not None:
            await at_start()
        yield {"pool": "p"}
        events.append(f"app stops, guard {'runs' if guard.running else 'stopped'}")

    async def endpoint(request: Any) -> JSONResponse:
        if gate is not None:
            await gate.wait()
        events.append(f"called with {request.state.pool}")
        return JSONResponse({})

    return Starlette(routes=[Route("/feedback", endpoint, methods=["POST"])], lifespan=lifespan)


@pytest.mark.parametrize("place", ["outside", "inside"])
def test_the_guard_starts_before_the_application_and_stops_after_it(place: str) -> None:
    events: list[str] = []
    guard = FakeGuard()
    app: Any = application(events, guard)
    if place == "outside":
        app = FeedbackGuardMiddleware(app, guard=guard)
    else:
        app.add_middleware(FeedbackGuardMiddleware, guard=guard)

    async def run() -> None:
        server = Server(app)
        assert (await server.say("startup"))["type"] == "lifespan.startup.complete"
        assert guard.running
        assert server.state == {"pool": "p"}
        assert (await server.say("shutdown"))["type"] == "lifespan.shutdown.complete"
        assert server.task is not None
        await server.task
        assert not guard.running

    asyncio.run(run())
    assert events == ["app starts, guard runs", "app stops, guard runs"]
    assert (guard.starts, guard.stops) == (1, 1)


def test_what_is_approved_before_the_start_is_delivered_after_it_with_the_lifespans_state() -> None:
    events: list[str] = []
    guard = FakeGuard()
    guard.decide_on = lambda _: Decision.QUARANTINE
    app = FeedbackGuardMiddleware(application(events, guard), guard=guard)

    async def run() -> None:
        server = Server(app)
        before = FeedbackGuardMiddleware(Recorder(), guard=guard)
        assert (await call(before, body=FEEDBACK)).status == 202
        await before._service._quiesce()
        guard._move("s-1", Delivery.APPROVED)
        await server.say("startup")
        await until(lambda: guard.only.delivery is Delivery.DELIVERED)
        await server.say("shutdown")

    asyncio.run(run())
    assert events == ["app starts, guard runs", "called with p", "app stops, guard runs"]


def hold_and_approve(guard: FakeGuard) -> Awaitable[None]:
    """Leave an approved request in the store, as another process would."""

    async def run() -> None:
        guard.decide_on = lambda _: Decision.QUARANTINE
        before = FeedbackGuardMiddleware(Recorder(), guard=guard)
        assert (await call(before, body=FEEDBACK)).status == 202
        await before._service._quiesce()
        guard._move("s-1", Delivery.APPROVED)

    return run()


def test_nothing_is_given_to_an_application_that_is_still_starting() -> None:
    """Not even when a request comes early and starts the guard."""
    events: list[str] = []
    guard = FakeGuard()

    async def early() -> None:
        assert (await call(app, body=FEEDBACK)).status == 202
        for _ in range(50):
            await asyncio.sleep(0)
        events.append("app has started")

    app = FeedbackGuardMiddleware(application(events, guard, at_start=early), guard=guard)

    async def run() -> None:
        await hold_and_approve(guard)
        server = Server(app)
        await server.say("startup")
        await until(lambda: guard.kept["s-1"].delivery is Delivery.DELIVERED)
        await server.say("shutdown")

    asyncio.run(run())
    assert events[:3] == ["app starts, guard runs", "app has started", "called with p"]


def test_a_replay_ends_before_the_application_does() -> None:
    events: list[str] = []
    guard = FakeGuard()

    async def run() -> None:
        gate = asyncio.Event()
        await hold_and_approve(guard)
        server = Server(FeedbackGuardMiddleware(application(events, guard, gate=gate), guard=guard))
        await server.say("startup")
        await until(lambda: guard.only.delivery is Delivery.DISPATCHING)
        stopping = asyncio.ensure_future(server.say("shutdown"))
        for _ in range(50):
            await asyncio.sleep(0)
        gate.set()
        await stopping

    asyncio.run(run())
    assert events == ["app starts, guard runs", "called with p", "app stops, guard runs"]
    assert guard.only.delivery is Delivery.DELIVERED


def test_a_guard_that_cannot_start_refuses_the_start_with_its_sentence() -> None:
    events: list[str] = []
    guard = FakeGuard()
    guard.start_error = BaselineError("baseline: the file is not there; build it with `baseline build`")
    app = FeedbackGuardMiddleware(application(events, guard), guard=guard)

    async def run() -> None:
        server = Server(app)
        message = await server.say("startup")
        assert message["type"] == "lifespan.startup.failed"
        assert "build it with" in message["message"]
        assert server.task is not None
        with pytest.raises(BaselineError):
            await server.task
        assert server.from_app.empty(), "answered twice"

    asyncio.run(run())
    assert events == []


def test_a_guard_serves_one_application_at_a_time() -> None:
    """What is approved is given to an application by its route's name: a second one would be given the first one's."""
    events: list[str] = []
    guard = FakeGuard()

    def app() -> FeedbackGuardMiddleware:
        return FeedbackGuardMiddleware(application(events, guard), guard=guard)

    async def run() -> None:
        first, second, third = Server(app()), Server(app()), Server(app())
        assert (await first.say("startup"))["type"] == "lifespan.startup.complete"
        refused = await second.say("startup")
        assert refused["type"] == "lifespan.startup.failed"
        assert "serves another application" in refused["message"]
        assert second.task is not None
        with pytest.raises(UsageError):
            await second.task
        assert guard.running, "the first one goes on"
        assert (await first.say("shutdown"))["type"] == "lifespan.shutdown.complete"
        assert first.task is not None
        await first.task
        assert (await third.say("startup"))["type"] == "lifespan.startup.complete", "one after the other is no matter"
        await third.say("shutdown")

    asyncio.run(run())
    assert events == ["app starts, guard runs", "app stops, guard runs"] * 2


ROUTE = {"name": "feedback", "path": "/feedback", "extract": "@"}


@pytest.mark.parametrize(
    ("other", "starts"),
    [
        ({}, False),
        ({"application": "shop"}, True),
        ({"name": "shop"}, True),
        ({"store": {"url": "sqlite:///other.db"}}, True),
        ({"routes": [{**ROUTE, "name": "other"}]}, True),
    ],
    ids=["alike", "application", "name", "store", "routes"],
)
def test_two_guards_that_would_claim_the_same_do_not_live_side_by_side(other: dict[str, Any], starts: bool) -> None:
    async def run() -> None:
        first, second = (
            Server(FeedbackGuardMiddleware(application([], guard), guard=guard))
            for guard in (FakeGuard(make_policy([ROUTE])), FakeGuard(make_policy(**{"routes": [ROUTE], **other})))
        )
        assert (await first.say("startup"))["type"] == "lifespan.startup.complete"
        message = await second.say("startup")
        if starts:
            assert message["type"] == "lifespan.startup.complete"
            await second.say("shutdown")
        else:
            assert message["type"] == "lifespan.startup.failed"
            assert "a guard with this store and application serves another" in message["message"]
            assert second.task is not None
            with pytest.raises(UsageError):
                await second.task
        await first.say("shutdown")

    asyncio.run(run())


def test_two_middleware_of_one_guard_within_one_application_live_together() -> None:
    events: list[str] = []
    guard = FakeGuard()
    inner = FeedbackGuardMiddleware(application(events, guard), guard=guard)

    async def run() -> None:
        server = Server(FeedbackGuardMiddleware(inner, guard=guard))
        assert (await server.say("startup"))["type"] == "lifespan.startup.complete"
        assert (await server.say("shutdown"))["type"] == "lifespan.shutdown.complete"

    asyncio.run(run())


@pytest.mark.parametrize("reports", ["complete", "failed"])
def test_the_guards_refusal_to_start_stands_whatever_the_application_reports(reports: str) -> None:
    guard = FakeGuard()
    guard.start_error = BaselineError("not there")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        with contextlib.suppress(BaselineError):
            await receive()
        await send({"type": f"lifespan.startup.{reports}"})

    async def run() -> None:
        server = Server(FeedbackGuardMiddleware(app, guard=guard))
        assert (await server.say("startup"))["type"] == "lifespan.startup.failed"
        assert server.task is not None
        await server.task
        assert server.from_app.empty(), "answered twice"

    asyncio.run(run())


@pytest.mark.parametrize("how", ["raises", "returns"])
def test_an_application_without_a_lifespan_is_spoken_for(how: str) -> None:
    guard = FakeGuard()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            if how == "raises":
                raise ValueError("HTTP only")
            return
        await Recorder()(scope, receive, send)

    async def run() -> None:
        server = Server(FeedbackGuardMiddleware(app, guard=guard))
        assert (await server.say("startup"))["type"] == "lifespan.startup.complete"
        assert guard.running
        assert (await server.say("shutdown"))["type"] == "lifespan.shutdown.complete"
        assert not guard.running

    asyncio.run(run())


def test_an_application_that_fails_to_start_says_so_itself_and_the_guard_stops() -> None:
    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        raise RuntimeError("no database")
        yield

    guard = FakeGuard()

    async def run() -> None:
        server = Server(FeedbackGuardMiddleware(Starlette(lifespan=lifespan), guard=guard))
        message = await server.say("startup")
        assert message["type"] == "lifespan.startup.failed"
        assert "no database" in message["message"]
        assert server.task is not None
        with pytest.raises(RuntimeError, match="no database"):
            await server.task

    asyncio.run(run())
    assert not guard.running


def test_without_a_lifespan_the_first_guarded_request_starts_it_and_others_do_not() -> None:
    guard = FakeGuard()
    app = Starlette(routes=[Mount("/sub", app=FeedbackGuardMiddleware(Recorder(), guard=guard))])

    async def run() -> None:
        assert (await call(app, make_scope("/sub/other"))).status == 200
        assert (await call(app, make_scope("/sub/feedback", method="GET"))).status == 200
        assert guard.starts == 0
        for _ in range(3):
            assert (await call(app, make_scope("/sub/feedback"), FEEDBACK)).status == 200
        assert guard.starts == 1

    asyncio.run(run())


def test_a_start_that_failed_is_tried_again_by_the_next_request() -> None:
    guard = FakeGuard()
    guard.start_error = BaselineError("not yet")
    app = FeedbackGuardMiddleware(Recorder(), guard=guard)

    async def run() -> None:
        assert (await call(app, body=FEEDBACK)).status == 503
        guard.start_error = None
        assert (await call(app, body=FEEDBACK)).status == 200

    asyncio.run(run())


def test_a_mounted_application_is_replayed_through_its_parent() -> None:
    guard = FakeGuard()
    guard.decide_on = lambda _: Decision.QUARANTINE
    inner = Recorder()
    app = Starlette(routes=[Mount("/sub", app=FeedbackGuardMiddleware(inner, guard=guard, poll_seconds=0.01))])

    async def run() -> None:
        assert (await call(app, make_scope("/sub/feedback"), FEEDBACK)).status == 202
        guard.approve("s-1")
        await until(lambda: guard.only.delivery is Delivery.DELIVERED)

    asyncio.run(run())
    (scope,) = inner.scopes
    assert (scope["path"], scope["root_path"], scope["app"]) == ("/sub/feedback", "/sub", app)


def test_a_test_client_without_a_lifespan_works_in_a_new_event_loop_each_time() -> None:
    guard = FakeGuard()
    client = TestClient(FeedbackGuardMiddleware(Recorder(), guard=guard))
    for _ in range(3):
        assert client.post("/feedback", json=FEEDBACK).status_code == 200


def test_a_test_client_with_a_lifespan_stops_the_guard() -> None:
    events: list[str] = []
    guard = FakeGuard()
    with TestClient(FeedbackGuardMiddleware(application(events, guard), guard=guard)) as client:
        assert client.post("/feedback", json=FEEDBACK).status_code == 200
        assert guard.running
    assert not guard.running
    assert events[1] == "called with p"


@pytest.mark.parametrize("place", ["outside", "inside"])
@pytest.mark.parametrize(("path", "told"), [("/feedbak", True), ("/feedback", False)])
def test_a_route_that_fits_nothing_is_told_when_the_application_starts(
    place: str, path: str, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A letter too few, and everything passes unjudged."""
    guard = FakeGuard(make_policy([{"name": "feedback", "path": path, "extract": "@"}]))
    app: Any = application([], guard)
    if place == "outside":
        app = FeedbackGuardMiddleware(app, guard=guard)
    else:
        app.add_middleware(FeedbackGuardMiddleware, guard=guard)
    with caplog.at_level("WARNING"), TestClient(app):
        pass
    assert ["fits no route of the application: it guards nothing" in text for text in caplog.messages] == [True] * told


def test_nothing_is_told_of_an_application_that_does_not_tell_its_routes(caplog: pytest.LogCaptureFixture) -> None:
    guard = FakeGuard(make_policy([{"name": "feedback", "path": "/feedbak", "extract": "@"}]))

    async def opaque(scope: Any, receive: Any, send: Any) -> None:
        await Recorder()(scope, receive, send)

    with caplog.at_level("WARNING"), TestClient(FeedbackGuardMiddleware(opaque, guard=guard)):
        pass
    assert not caplog.messages


@pytest.mark.parametrize(
    ("keep", "expected"), [(True, ["app starts, guard runs", "kept"]), (False, ["app starts, guard runs"])]
)
def test_what_is_there_is_kept_once_the_application_has_started_too(
    monkeypatch: pytest.MonkeyPatch, keep: bool, expected: list[str]
) -> None:
    events: list[str] = []
    monkeypatch.setattr("feedback_guard.middleware.service.keep_for_good_once", lambda: events.append("kept"))
    guard = FakeGuard()
    app: Any = FeedbackGuardMiddleware(application(events, guard), guard=guard, keep=keep)

    async def run() -> None:
        server = Server(app)
        await server.say("startup")
        assert events == expected
        await server.say("shutdown")

    asyncio.run(run())
