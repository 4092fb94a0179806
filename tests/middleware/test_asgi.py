"""The way of one request, by direct ASGI calls: what the application sees, what is answered, what is recorded."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from fastapi import FastAPI, Request
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from feedback_guard.errors import ContributionError, EmbeddingError, StoreError, StoreFullError, UsageError
from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from feedback_guard.middleware.interface import PASSAGE, PASSAGE_KEY
from feedback_guard.store.states import Delivery
from feedback_guard.verdict import Decision, Verdict
from tests.middleware.direct import Connection, Recorder, call, make_scope
from tests.middleware.fakes import EXTRACT, FEEDBACK, FakeGuard, make_policy
from tests.patience import PATIENCE_SECONDS

JSON = (b"content-type", b"application/json")
BAD: dict[str, tuple[int, dict[str, Any]]] = {
    "not JSON": (400, {"body": b"{"}),
    "duplicate key": (400, {"body": b'{"input": "a", "label": "b", "label": "c"}'}),
    "too deep": (400, {"body": b"[" * 5_000}),
    "too large": (413, {"body": b'"' + b"x" * 70_000 + b'"'}),
    "announced too large": (413, {"headers": [JSON, (b"content-length", b"70000")]}),
    "compressed": (415, {"headers": [JSON, (b"content-encoding", b"gzip")], "body": b"\x1f\x8b"}),
    "no type": (415, {"headers": []}),
    "form": (415, {"headers": [(b"content-type", b"application/x-www-form-urlencoded")], "body": b"a=b"}),
    "nothing found": (422, {"body": {"other": 1}}),
}


def guarded(guard: FakeGuard, app: Any = None, **options: Any) -> tuple[FeedbackGuardMiddleware, Any]:
    app = app or Recorder()
    return FeedbackGuardMiddleware(app, guard=guard, **options), app


def send_one(app: Any, body: Any = FEEDBACK, **scope: Any) -> Connection:
    return asyncio.run(call(app, make_scope(**scope), body))


def test_an_accepted_request_reaches_the_application_as_it_was_sent() -> None:
    guard = FakeGuard()
    app, inner = guarded(guard)
    headers = [JSON, (b"x-a", b"1"), (b"x-a", b"\xe9"), (b"content-length", b"55")]
    body = json.dumps(FEEDBACK).encode()
    assert len(body) == 55
    connection = send_one(app, body, headers=headers, query_string=b"q=%20&q=2", state={"pool": 1})
    assert (connection.status, connection.body, connection.headers[b"x-app"]) == (200, b"app", b"yes")
    assert inner.bodies == [body]
    (scope,) = inner.scopes
    assert scope["headers"] == headers
    assert scope["query_string"] == b"q=%20&q=2"
    (verdict,) = scope["state"]["feedback_guard"]
    assert isinstance(verdict, Verdict)
    assert verdict.decision is Decision.ACCEPT
    assert scope["state"]["pool"] == 1
    assert guard.only.delivery is Delivery.DELIVERED
    assert guard.only.detail == {"status": 200}
    assert guard.metrics.requests == [("feedback", "accepted")]


def test_the_contribution_is_complete_before_the_guard_sees_it() -> None:
    guard = FakeGuard()
    app, _ = guarded(guard)
    send_one(app, FEEDBACK | {"contributor": "bob"})
    submission = guard.only.submission
    assert submission.route == "feedback"
    assert submission.anonymous
    (item,) = submission.contributions
    assert (item.input, item.label, item.contributor) == ("where is my card?", "card_arrival", "(anonymous)")
    assert item.groups == {"network": "192.0.2.0/24"}
    assert item.at_us == guard.clock.now_us()


@pytest.mark.parametrize(
    "pieces", [[b'{"input": "a", ', b'"label": "b"}'], [bytes([b]) for b in b'{"input":"a","label":"b"}']]
)
def test_a_chunked_body_is_given_on_with_its_length(pieces: list[bytes]) -> None:
    guard = FakeGuard()
    app, inner = guarded(guard)
    scope = make_scope(headers=[JSON, (b"transfer-encoding", b"chunked")])
    asyncio.run(call(app, scope, pieces=pieces))
    whole = b"".join(pieces)
    assert inner.bodies == [whole]
    assert inner.scopes[0]["headers"] == [JSON, (b"content-length", str(len(whole)).encode())]
    assert scope["headers"] == [JSON, (b"transfer-encoding", b"chunked")], "the server's own scope was changed"


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_answered_and_the_application_not_called(name: str) -> None:
    status, request = BAD[name]
    guard = FakeGuard()
    app, inner = guarded(guard)
    connection = send_one(app, **{"body": FEEDBACK} | request)
    assert connection.status == status
    assert connection.headers[b"content-type"] == b"application/problem+json"
    assert (connection.json["status"], connection.json["type"]) == (status, "about:blank")
    assert not inner.scopes
    assert not guard.kept
    assert guard.metrics.requests == [("feedback", "bad_input")]


@pytest.mark.parametrize("name", BAD)
def test_an_observing_guard_lets_bad_input_pass_as_it_came(name: str) -> None:
    _, request = BAD[name]
    guard = FakeGuard(enforcing=False)
    app, inner = guarded(guard)
    body = request.get("body", FEEDBACK)
    scope = make_scope(headers=request.get("headers", [JSON]))
    connection = asyncio.run(call(app, scope, body))
    assert connection.status == 200
    assert inner.bodies == [body if isinstance(body, bytes) else json.dumps(body).encode()]
    assert inner.scopes[0] == scope | {"state": {"feedback_guard": []}}
    assert not guard.kept
    assert guard.metrics.requests == [("feedback", "bad_input")]


def test_an_observing_guard_gives_on_a_body_that_it_gave_up_reading() -> None:
    guard = FakeGuard(enforcing=False)
    app, inner = guarded(guard)
    pieces = [b"[" + b" " * 40_000, b" " * 40_000, b" " * 40_000, b"]"]
    assert asyncio.run(call(app, pieces=pieces)).status == 200
    assert inner.bodies == [b"".join(pieces)]


def test_an_observing_guard_waits_for_a_slow_body_as_the_application_would() -> None:
    policy = make_policy([{"name": "feedback", "path": "/feedback", "extract": EXTRACT, "body_deadline": "1ms"}])
    guard = FakeGuard(policy, enforcing=False)
    app, inner = guarded(guard)

    async def run() -> Connection:
        connection = Connection(pieces=[b'{"input": "a",'], leaves=True)
        connection.left.clear()
        request = asyncio.ensure_future(app(make_scope(), connection.receive, connection.send))
        await asyncio.sleep(0.02)
        assert not request.done()
        connection.left.set()  # it leaves; an application would see just that
        with pytest.raises(AssertionError, match=r"http\.disconnect"):
            await request
        return connection

    asyncio.run(run())
    assert not inner.bodies
    assert guard.metrics.requests == [("feedback", "aborted")]


def test_a_body_that_comes_too_slowly_is_answered_408() -> None:
    policy = make_policy([{"name": "feedback", "path": "/feedback", "extract": EXTRACT, "body_deadline": "20ms"}])
    guard = FakeGuard(policy)
    app, inner = guarded(guard)

    async def run() -> Connection:
        connection = Connection(pieces=[b'{"input": "a",'], leaves=True)
        connection.left.clear()
        await app(make_scope(), connection.receive, connection.send)
        return connection

    connection = asyncio.run(run())
    assert connection.status == 408
    assert connection.headers[b"connection"] == b"close"
    assert not inner.scopes


@pytest.mark.parametrize(("http_version", "closes"), [("1.0", True), ("1.1", True), ("2", False), ("3", False)])
def test_an_early_answer_closes_only_where_that_can_be_said(http_version: str, closes: bool) -> None:
    app, _ = guarded(FakeGuard())
    connection = send_one(app, b"x" * 70_000, http_version=http_version, headers=[JSON, (b"content-length", b"70000")])
    assert (b"connection" in connection.headers) is closes


def test_a_client_that_waits_for_leave_to_send_is_answered_without_asking_for_its_body() -> None:
    app, _ = guarded(FakeGuard())
    headers = [JSON, (b"content-length", b"70000"), (b"expect", b"100-continue")]
    connection = send_one(app, b"x" * 70_000, headers=headers)
    assert connection.status == 413
    assert connection.receives == 0


def test_an_answer_after_the_whole_body_keeps_the_connection() -> None:
    app, _ = guarded(FakeGuard())
    assert b"connection" not in send_one(app, b"{").headers


@pytest.mark.parametrize("observing", [False, True])
def test_a_missing_contributor_is_401_or_passes_an_observing_guard(observing: bool) -> None:
    guard = FakeGuard(make_policy(identity={"missing": "refuse"}), enforcing=not observing)
    app, inner = guarded(guard)
    connection = send_one(app)
    assert connection.status == (200 if observing else 401)
    assert len(inner.scopes) == observing
    assert not guard.kept


def test_held_is_answered_202_and_the_request_kept_to_the_byte() -> None:
    guard = FakeGuard()
    guard.decide_on = lambda _: Decision.QUARANTINE
    app, inner = guarded(guard)
    connection = send_one(app)
    assert (connection.status, connection.json["id"]) == (202, "s-1")
    assert not inner.scopes
    assert guard.only.delivery is Delivery.HELD
    assert guard.only.submission.request
    assert guard.metrics.requests == [("feedback", "held")]


@pytest.mark.parametrize(
    ("decision", "status", "outcome"),
    [(Decision.LIMIT, 429, "limited"), (Decision.REJECT, 422, "refused")],
)
def test_limited_and_refused_never_reach_the_application(decision: Decision, status: int, outcome: str) -> None:
    guard = FakeGuard()
    guard.decide_on = lambda _: decision
    app, inner = guarded(guard)
    connection = send_one(app)
    assert connection.status == status
    assert not inner.scopes
    assert guard.only.delivery is Delivery.REFUSED
    assert guard.metrics.requests == [("feedback", outcome)]
    if decision is Decision.LIMIT:
        assert connection.headers[b"retry-after"] == b"3"


def test_a_route_that_passes_gives_a_held_contribution_to_the_application_with_its_verdict() -> None:
    guard = FakeGuard(make_policy([{"name": "f", "path": "/feedback", "extract": EXTRACT, "on_hold": "pass"}]))
    guard.decide_on = lambda _: Decision.QUARANTINE
    app, inner = guarded(guard)
    assert send_one(app).status == 200
    (verdict,) = inner.scopes[0]["state"]["feedback_guard"]
    assert verdict.decision is Decision.QUARANTINE
    assert guard.only.delivery is Delivery.DELIVERED
    assert guard.only.submission.request == b"", "nothing of it need be kept"
    assert guard.metrics.requests == [("f", "passed")]


@pytest.mark.parametrize("decision", list(Decision))
def test_an_observing_guard_judges_and_passes_whatever_it_decides(decision: Decision) -> None:
    guard = FakeGuard(enforcing=False)
    guard.decide_on = lambda _: decision
    app, inner = guarded(guard)
    assert send_one(app).status == 200
    (verdict,) = inner.scopes[0]["state"]["feedback_guard"]
    assert (verdict.decision, verdict.observed) == (decision, True)
    assert guard.only.delivery is Delivery.DELIVERED


def test_a_body_without_feedback_passes_where_the_route_allows_it() -> None:
    route = {"name": "f", "path": "/feedback", "extract": "feedback", "require_contribution": False}
    guard = FakeGuard(make_policy([route]))
    app, inner = guarded(guard)
    assert send_one(app, {"prompt": "hello"}).status == 200
    assert inner.scopes[0]["state"]["feedback_guard"] == []
    assert inner.bodies == [b'{"prompt": "hello"}']
    assert not guard.kept
    assert guard.metrics.requests == [("f", "passed")]


ERRORS: list[BaseException] = [
    StoreError("disk full"),
    StoreFullError("full"),
    EmbeddingError("gone"),
    ValueError("secret text"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("when", ["judge", "start"])
def test_a_guard_that_cannot_record_answers_503_before_anything_is_acknowledged(
    error: BaseException, when: str, caplog: pytest.LogCaptureFixture
) -> None:
    guard = FakeGuard()
    if when == "start":
        guard.start_error = error  # type: ignore[assignment]
    else:
        guard.judge_error = error
    app, inner = guarded(guard)
    with caplog.at_level(logging.DEBUG):
        connection = send_one(app)
    assert connection.status == 503
    assert connection.headers[b"retry-after"] == b"5"
    assert connection.json["code"] == "unavailable"
    assert not inner.scopes
    assert guard.metrics.requests == [("feedback", "unavailable")]
    assert "secret text" not in caplog.text


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_observing_guard_that_cannot_record_lets_the_request_pass_and_counts_it(error: BaseException) -> None:
    guard = FakeGuard(enforcing=False)
    guard.judge_error = error
    app, inner = guarded(guard)
    assert send_one(app).status == 200
    assert len(inner.bodies) == 1
    assert guard.metrics.requests == [("feedback", "passed")]
    assert guard.metrics.opened == ["store" if isinstance(error, StoreError) else "assess"]


def test_a_text_beyond_its_canonical_bounds_is_422() -> None:
    guard = FakeGuard()
    guard.judge_error = ContributionError("expands to more than 32768 characters", field="input")
    app, inner = guarded(guard)
    connection = send_one(app)
    assert connection.status == 422
    assert "input" in connection.json["detail"]
    assert not inner.scopes


def test_a_user_object_that_fails_neither_passes_unread_nor_stops_an_observed_application() -> None:
    class Lazy:
        @property
        def is_authenticated(self) -> bool:
            raise RuntimeError("no database here")

    for enforcing in (True, False):
        guard = FakeGuard(enforcing=enforcing)
        app, inner = guarded(guard)
        assert send_one(app, user=Lazy()).status == (503 if enforcing else 200)
        assert len(inner.scopes) == (not enforcing)


@pytest.mark.parametrize("status", [200, 204, 302, 399, 400, 404, 500, 503])
def test_the_outcome_is_the_status_of_the_application(status: int) -> None:
    guard = FakeGuard()
    app, _ = guarded(guard, Recorder(status))
    assert send_one(app).status == status
    assert guard.only.delivery is (Delivery.DELIVERED if status < 400 else Delivery.FAILED)
    assert guard.only.detail == {"status": status}


def starter(status: int | None, *, body: bool, raises: bool) -> Callable[..., Awaitable[None]]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if status is not None:
            await send({"type": "http.response.start", "status": status, "headers": []})
        if body:
            await send({"type": "http.response.body", "body": b"x"})
        if raises:
            raise RuntimeError("broken")

    return app


OUTCOMES = [
    # status, whole body, raises -> state
    (None, False, False, Delivery.UNKNOWN),
    (None, False, True, Delivery.UNKNOWN),
    (200, False, False, Delivery.DELIVERED),
    (200, False, True, Delivery.UNKNOWN),
    (200, True, True, Delivery.DELIVERED),
    (404, True, True, Delivery.FAILED),
    (500, True, False, Delivery.FAILED),
    (500, True, True, Delivery.UNKNOWN),
]


@pytest.mark.parametrize(("status", "body", "raises", "state"), OUTCOMES)
def test_an_application_that_breaks_leaves_a_stated_outcome_and_its_exception_passes(
    status: int | None, body: bool, raises: bool, state: Delivery
) -> None:
    guard = FakeGuard()
    app, _ = guarded(guard, starter(status, body=body, raises=raises))

    async def run() -> None:
        if raises:
            with pytest.raises(RuntimeError, match="broken") as caught:
                await call(app, body=FEEDBACK)
            assert caught.value.__context__ is None
        else:
            await call(app, body=FEEDBACK)
        assert guard.only.delivery is state
        assert guard.only.detail.get("raised") == ("RuntimeError" if raises else None)

    asyncio.run(run())


def test_a_starlette_application_that_raises_is_unknown_although_it_answers_500() -> None:
    async def endpoint(_: Any) -> None:
        raise RuntimeError("after the effect, perhaps")

    guard = FakeGuard()
    app, _ = guarded(guard, Starlette(routes=[Route("/feedback", endpoint, methods=["POST"])]))

    async def run() -> None:
        with pytest.raises(RuntimeError):
            await call(app, body=FEEDBACK)

    asyncio.run(run())
    assert guard.only.delivery is Delivery.UNKNOWN
    assert guard.only.detail == {"status": 500, "raised": "RuntimeError"}


def test_a_client_that_left_while_it_was_answered_does_not_change_the_outcome() -> None:
    """Servers of ASGI 2.4 and above raise OSError from `send`."""
    guard = FakeGuard()

    async def endpoint(_: Any) -> JSONResponse:
        return JSONResponse({})

    app, _ = guarded(guard, Starlette(routes=[Route("/feedback", endpoint, methods=["POST"])]))

    async def run() -> None:
        connection = Connection(FEEDBACK)

        async def send(message: Any) -> None:
            raise OSError("gone")

        with pytest.raises(OSError, match="gone"):
            await app(make_scope(spec_version="2.4"), connection.receive, send)

    asyncio.run(run())
    assert guard.only.delivery is Delivery.DELIVERED
    assert guard.only.detail["client"] == "left"


@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
@pytest.mark.parametrize("wrap", ["outside", "inside", "under base", "over base"])
def test_streamed_answers_pass_piece_by_piece(spec_version: str, wrap: str) -> None:
    """At spec 2.3 Starlette watches `receive` while it streams: an early disconnect would cut it short."""
    gates = [asyncio.Event() for _ in range(3)]

    async def stream() -> AsyncIterator[bytes]:
        for number, gate in enumerate(gates):
            await gate.wait()
            yield b"piece %d;" % number

    async def endpoint(request: Any) -> StreamingResponse:
        assert (await request.json())["label"] == "card_arrival"
        return StreamingResponse(stream())

    class Base(BaseHTTPMiddleware):
        async def dispatch(self, request: Any, call_next: Any) -> Any:
            return await call_next(request)

    guard = FakeGuard()
    app: Any = Starlette(routes=[Route("/feedback", endpoint, methods=["POST"])])
    if wrap == "outside":
        app = FeedbackGuardMiddleware(app, guard=guard)
    else:
        if wrap == "over base":
            app.add_middleware(Base)
        app.add_middleware(FeedbackGuardMiddleware, guard=guard)
        if wrap == "under base":
            app.add_middleware(Base)

    async def run() -> None:
        connection = Connection(FEEDBACK)
        scope = make_scope(spec_version=spec_version)
        request = asyncio.ensure_future(app(scope, connection.receive, connection.send))
        for number, gate in enumerate(gates):
            gate.set()
            while connection.body.count(b";") < number + 1:
                await asyncio.sleep(0)
                assert not request.done()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await request
        assert connection.body == b"piece 0;piece 1;piece 2;"
        assert connection.receives < 10, "receive was asked in a loop"

    asyncio.run(run())
    assert guard.only.delivery is Delivery.DELIVERED


@pytest.mark.parametrize("given", ["absent", "own", "shared"])
def test_the_state_is_never_shared_between_requests(given: str) -> None:
    guard = FakeGuard()
    app, inner = guarded(guard)
    shared: dict[str, Any] = {"pool": "p"}

    async def run() -> None:
        app._service.entry.lifespan_state = shared
        for _ in range(2):
            scope = make_scope()
            if given != "absent":
                scope["state"] = shared if given == "shared" else dict(shared)
            own = scope.get("state")
            await call(app, scope, FEEDBACK)
            if given == "own":
                assert inner.scopes[-1]["state"] is own, "what the app writes there is read by middleware outside"

    asyncio.run(run())
    one, two = (scope["state"] for scope in inner.scopes)
    assert one is not two
    assert one["feedback_guard"] is not two["feedback_guard"]
    assert one["feedback_guard"] != two["feedback_guard"]
    assert "feedback_guard" not in shared


def test_middleware_further_out_sees_what_routing_found() -> None:
    seen: list[Any] = []

    class Metrics(BaseHTTPMiddleware):
        async def dispatch(self, request: Any, call_next: Any) -> Any:
            response = await call_next(request)
            seen.append((request.scope.get("endpoint"), request.scope.get("path_params"), request.scope["headers"]))
            seen.append(request.state.note)
            return response

    async def endpoint(request: Any) -> JSONResponse:
        request.state.note = "from the endpoint"
        return JSONResponse({})

    guard = FakeGuard()
    app = Starlette(
        routes=[Route("/feedback", endpoint, methods=["POST"])],
        middleware=[Middleware(Metrics), Middleware(FeedbackGuardMiddleware, guard=guard)],
    )
    headers = [JSON, (b"transfer-encoding", b"chunked")]
    connection = asyncio.run(call(app, make_scope(headers=headers), FEEDBACK))
    assert connection.status == 200
    assert seen == [(endpoint, {}, headers), "from the endpoint"]


def test_a_context_variable_reaches_the_application_and_comes_back() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(variable.get())
        variable.set("inner")
        await Recorder()(scope, receive, send)

    wrapped, _ = guarded(FakeGuard(), app)

    async def run() -> None:
        variable.set("outer")
        await call(wrapped, body=FEEDBACK)
        seen.append(variable.get())

    asyncio.run(run())
    assert seen == ["outer", "inner"]


def test_of_two_nested_guards_only_the_outer_one_judges() -> None:
    outer, inner = FakeGuard(), FakeGuard()
    recorder = Recorder()
    app = FeedbackGuardMiddleware(FeedbackGuardMiddleware(recorder, guard=inner), guard=outer)
    assert send_one(app).status == 200
    assert len(recorder.bodies) == 1
    assert (len(outer.kept), len(inner.kept)) == (1, 0)


def test_no_value_that_a_client_or_server_could_send_is_a_passage() -> None:
    for forged in (True, "1", "PASSAGE", object(), repr(PASSAGE), 1):
        guard = FakeGuard()
        app, inner = guarded(guard)
        scope = make_scope(headers=[JSON, (PASSAGE_KEY.encode(), b"1")])
        scope[PASSAGE_KEY] = forged
        asyncio.run(call(app, scope, FEEDBACK))
        assert len(guard.kept) == 1
        assert inner.scopes[0][PASSAGE_KEY] is PASSAGE
        assert scope[PASSAGE_KEY] is forged, "the mark must not stick to the server's scope"


def test_a_fastapi_application_reads_the_verdicts() -> None:
    guard = FakeGuard()
    api = FastAPI()

    @api.post("/feedback")
    async def feedback(request: Request, body: dict[str, str]) -> dict[str, str]:
        (verdict,) = request.state.feedback_guard
        return {"label": body["label"], "decision": verdict.decision}

    api.add_middleware(FeedbackGuardMiddleware, guard=guard)
    assert send_one(api).json == {"label": "card_arrival", "decision": "accept"}


def test_a_sync_endpoint_reads_the_verdicts_too() -> None:
    api = FastAPI()

    @api.post("/feedback")
    def feedback(request: Request, body: dict[str, str]) -> str:
        return str(request.state.feedback_guard[0].id)

    api.add_middleware(FeedbackGuardMiddleware, guard=FakeGuard())
    assert send_one(api).json == "id-1"


def test_a_callable_extracts() -> None:
    def from_form(body: Any, scope: Any) -> dict[str, Any]:
        return {"kind": "label", "input": body["q"], "label": scope["path_params"]["label"]}

    guard = FakeGuard(make_policy([{"name": "f", "path": "/teach/{label}"}]))
    app, _ = guarded(guard, extractors={"f": from_form})
    assert send_one(app, {"q": "hello"}, path="/teach/greeting").status == 200
    assert guard.only.submission.contributions[0].label == "greeting"


def test_extractors_for_unknown_routes_are_refused_at_start() -> None:
    with pytest.raises(UsageError, match=r"no route 'nope'; it has: feedback"):
        guarded(FakeGuard(), extractors={"nope": lambda body, scope: None})


def test_a_policy_without_routes_is_told(caplog: pytest.LogCaptureFixture) -> None:
    guarded(FakeGuard(make_policy([])))
    assert "judges nothing" in caplog.text


def test_a_client_that_leaves_in_mid_body_leaves_nothing_behind() -> None:
    body = json.dumps(FEEDBACK).encode()

    async def run() -> None:
        for cut in range(len(body)):
            guard = FakeGuard()
            app, inner = guarded(guard)
            connection = await call(app, pieces=[body[:cut]], leaves=True)
            assert connection.sent == []
            assert not guard.kept
            assert not inner.scopes
            assert guard.metrics.requests == [("feedback", "aborted")]
            assert len(app._service.tasks) == 0

    asyncio.run(run())
