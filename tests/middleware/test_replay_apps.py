"""Held, approved and replayed through real frameworks and the real guard, over a socket, as if it had just come."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser, requires
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from feedback_guard.clock import ManualClock
from feedback_guard.guard import Guard
from feedback_guard.ledger.verify import verify
from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from feedback_guard.store.states import OUTCOMES, Delivery, Resolution
from tests.guards import labelled, make_guard
from tests.patience import PATIENCE_SECONDS, wait_until
from tests.serving import Answer, Serving

ROUTE = {"name": "feedback", "path": "/feedback", "extract": "{kind: 'label', input: text, label: topic}"}
IDENTITY = {"header": {"header": "X-User", "hops": ["127.0.0.1"]}, "network_group": False}
PATH = "/%66eedback?a=%20&a='\"&b=%ff"


class Seen:
    """What endpoints write down, to be waited for from another thread."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.changed = threading.Condition()

    def note(self, **facts: Any) -> None:
        with self.changed:
            self.requests.append(facts)
            self.changed.notify_all()


class Host:
    """An application behind a real guard."""

    def __init__(self, app: Any, guard: Guard) -> None:
        self.guard = guard
        self.serving = Serving(app, http="httptools")
        self.loop: asyncio.AbstractEventLoop | None = None

    def hold(self, path: str = PATH, headers: tuple[tuple[str, str], ...] = ()) -> tuple[str, bytes]:
        """Send wrong labels until one is held; returns its identifier and the body that was sent."""
        for item in labelled(60, seed=3, flip=True):
            body = json.dumps({"text": item.input, "topic": item.label, "\u00e9": "\ud83d\ude00"}, indent=3).encode()
            answer: Answer = self.serving.post(path, body, [("X-User", f"liar-{item.id}"), *headers])
            if answer.status == 202:
                return str(answer.json["id"]), body
        raise AssertionError("nothing was held")

    def act(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop()).result(PATIENCE_SECONDS)

    def _loop(self) -> asyncio.AbstractEventLoop:
        return self.guard._tasks[0].get_loop()

    def approve(self, ident: str) -> None:
        self.act(self.guard.decide(ident, approve=True, moderator="mo"))

    def ended(self, ident: str) -> Any:
        return wait_for(self, ident, lambda stored: stored.delivery in OUTCOMES)


Start = Callable[..., Host]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[Callable[[Guard], Any]], Host]]:
    with contextlib.ExitStack() as ending:

        def begin(build: Callable[[Guard], Any], **policy: Any) -> Host:
            parts: dict[str, Any] = {"routes": [ROUTE], "identity": IDENTITY} | policy
            guard = make_guard(tmp_path, **parts)
            host = Host(build(guard), guard)
            ending.enter_context(host.serving)
            return host

        yield begin


def options() -> dict[str, Any]:
    return {"poll_seconds": 0.05}


@contextlib.asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[dict[str, Any]]:
    """What an endpoint cannot do without: a queue that only the lifespan makes, as Phoenix has one."""
    app.state.own = "the application's own"
    yield {"queue": [], "pool": object()}


def fastapi_inside(seen: Seen) -> Callable[[Guard], Any]:
    def build(guard: Guard) -> Any:
        app = FastAPI(lifespan=lifespan)

        @app.post("/feedback")
        async def feedback(request: Request) -> dict[str, Any]:
            request.state.queue.append(1)
            seen.note(
                scope=dict(request.scope),
                body=await request.body(),
                app=request.app is app,
                own=request.app.state.own,
                url=str(request.url),
                route=request.scope["route"].path,
            )
            return {"queued": len(request.state.queue)}

        app.add_middleware(FeedbackGuardMiddleware, guard=guard, **options())
        return app

    return build


def starlette_outside(seen: Seen) -> Callable[[Guard], Any]:
    async def feedback(request: StarletteRequest) -> JSONResponse:
        request.state.queue.append(1)
        seen.note(
            scope=dict(request.scope),
            body=await request.body(),
            app=isinstance(request.app, Starlette),
            own=request.app.state.own,
            url=str(request.url),
            route="/feedback",
        )
        return JSONResponse({})

    return lambda guard: FeedbackGuardMiddleware(
        Starlette(routes=[Route("/feedback", feedback, methods=["POST"])], lifespan=lifespan),
        guard=guard,
        **options(),
    )


@pytest.mark.parametrize("build", [fastapi_inside, starlette_outside])
def test_a_handler_that_needs_the_lifespan_and_the_app_gets_it_all_and_every_byte(start: Start, build: Any) -> None:
    seen = Seen()
    host = start(build(seen))
    odd = (("x-a", "1"), ("x-a", "2"), ("x-latin", "\xe9\xff"), ("x-empty", ""))
    ident, body = host.hold(headers=odd)
    assert seen.requests == [one for one in seen.requests if one["scope"]["state"]["feedback_guard"]]
    before = len(seen.requests)
    host.approve(ident)
    stored = host.ended(ident)
    assert stored.delivery is Delivery.DELIVERED, stored.detail
    assert len(seen.requests) == before + 1
    got = seen.requests[-1]
    assert got["body"] == body
    assert (got["app"], got["own"], got["route"]) == (True, "the application's own", "/feedback")
    scope = got["scope"]
    assert (scope["path"], scope["raw_path"]) == ("/feedback", b"/%66eedback")
    assert scope["query_string"] == b"a=%20&a='\"&b=%ff"
    sent = [(name, value) for name, value in scope["headers"] if name.startswith(b"x-")]
    latin = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in odd]
    assert sent[1:] == latin
    assert scope["client"][0] == "127.0.0.1"
    replay = scope["feedback_guard.replay"]
    assert replay.contributor == dict(sent)[b"x-user"].decode()
    assert verify(host.guard.store).clean


class Backend(AuthenticationBackend):
    """The application's own: a bearer token, or the guard's word for whose request it was."""

    def __init__(self, *, takes_the_guards_word: bool) -> None:
        self._takes = takes_the_guards_word

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
        token = conn.headers.get("authorization", "").removeprefix("Bearer ")
        if token in {"of-ada", "of-the-service"}:
            return AuthCredentials(["authenticated"]), SimpleUser(token.removeprefix("of-"))
        replay = conn.scope.get("feedback_guard.replay")
        if self._takes and replay is not None and replay.contributor is not None:
            return AuthCredentials(["authenticated"]), SimpleUser(replay.contributor)
        return None


def signed_in(seen: Seen, *, takes: bool = False, **more: Any) -> Callable[[Guard], Any]:
    @requires("authenticated", status_code=401)
    async def feedback(request: StarletteRequest) -> JSONResponse:
        seen.note(user=request.user.display_name)
        return JSONResponse({})

    return lambda guard: Starlette(
        routes=[Route("/feedback", feedback, methods=["POST"])],
        middleware=[
            Middleware(AuthenticationMiddleware, backend=Backend(takes_the_guards_word=takes)),
            Middleware(FeedbackGuardMiddleware, guard=guard, **options(), **more),
        ],
    )


BEARER = (("Authorization", "Bearer of-ada"),)
USERS = {"identity": {"user": True, "network_group": False}, "limits": []}


def test_without_credentials_the_application_may_take_the_guards_word(start: Start) -> None:
    seen = Seen()
    host = start(signed_in(seen, takes=True), **USERS)
    ident, _ = host.hold("/feedback", BEARER)
    host.approve(ident)
    assert host.ended(ident).delivery is Delivery.DELIVERED
    assert seen.requests[-1] == {"user": "ada"}


def test_without_credentials_an_application_that_wants_some_gets_another_chance(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Seen()
    minted: list[str] = []

    def mint(replay: Any) -> dict[str, str] | None:
        minted.append(replay.contributor)
        return {"Authorization": "Bearer of-the-service"} if len(minted) > 1 else {"Authorization": "Bearer stale"}

    host = start(signed_in(seen, credentials={"feedback": mint}), **USERS)
    ident, _ = host.hold("/feedback", BEARER)
    host.approve(ident)
    stored = host.ended(ident)
    assert (stored.delivery, stored.detail["status"]) == (Delivery.NEEDS_CREDENTIALS, 401)
    before = len(seen.requests)
    host.act(host.guard.resolve(ident, Resolution.RETRY, moderator="mo", note="the token is renewed"))
    assert host.ended(ident).delivery is Delivery.DELIVERED
    assert seen.requests[before:] == [{"user": "the-service"}]
    assert minted == ["ada", "ada"]
    assert verify(host.guard.store).clean


def test_kept_credentials_are_in_the_database_only_encrypted(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from feedback_guard.keyring import new_key

    monkeypatch.setenv("FG_TEST_KEYS", new_key())
    seen = Seen()
    route = {**ROUTE, "credentials": "keep"}
    host = start(signed_in(seen), routes=[route], credentials={"keys": {"env": "FG_TEST_KEYS"}}, **USERS)
    ident, _ = host.hold("/feedback", BEARER)
    for file in tmp_path.glob("guard.db*"):
        data = file.read_bytes()
        assert b"of-ada" not in data
        assert b"QmVhcmVyIG9mLWFkYQ" not in data, "nor in base64"
    host.approve(ident)
    assert host.ended(ident).delivery is Delivery.DELIVERED
    assert seen.requests[-1] == {"user": "ada"}
    stored = host.guard.store.submission(ident)
    assert stored is not None
    assert not stored.has_credentials, "erased when nothing needs them"


def test_a_key_that_is_missing_refuses_the_start(start: Start, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.delenv("FG_TEST_KEYS", raising=False)
    route = {**ROUTE, "credentials": "keep"}
    with pytest.raises(RuntimeError, match="did not start"):
        start(starlette_outside(Seen()), routes=[route], credentials={"keys": {"env": "FG_TEST_KEYS"}})
    assert "credentials.keys: the environment variable FG_TEST_KEYS is not set" in caplog.text


def mounted_wrapped(seen: Seen) -> Callable[[Guard], Any]:
    """The guard wraps what is mounted."""

    async def feedback(request: StarletteRequest) -> JSONResponse:
        seen.note(path=request.scope["path"], root=request.scope["root_path"], query=request.scope["query_string"])
        return JSONResponse({})

    inner = Starlette(routes=[Route("/feedback", feedback, methods=["POST"])])
    return lambda guard: Starlette(routes=[Mount("/sub", app=FeedbackGuardMiddleware(inner, guard=guard, **options()))])


def mounted_added(seen: Seen) -> Callable[[Guard], Any]:
    """The guard is a middleware of what is mounted: the outer application is out of its sight."""

    async def feedback(request: StarletteRequest) -> JSONResponse:
        seen.note(path=request.scope["path"], root=request.scope["root_path"], query=request.scope["query_string"])
        return JSONResponse({})

    def build(guard: Guard) -> Any:
        sub = Starlette(routes=[Route("/feedback", feedback, methods=["POST"])])
        sub.add_middleware(FeedbackGuardMiddleware, guard=guard, **options())
        return Starlette(routes=[Mount("/sub", app=sub)])

    return build


@pytest.mark.parametrize("build", [mounted_wrapped, mounted_added])
def test_below_a_mount_a_replay_finds_the_same_endpoint(start: Start, build: Any) -> None:
    seen = Seen()
    host = start(build(seen))
    ident, _ = host.hold("/sub/feedback?a=1")
    host.approve(ident)
    stored = host.ended(ident)
    assert stored.delivery is Delivery.DELIVERED, stored.detail
    assert seen.requests[-1] == {"path": "/sub/feedback", "root": "/sub", "query": b"a=1"}
    host.act(host.guard.stop())


def test_no_client_can_open_the_door(start: Start) -> None:
    """Whatever a client sends under the names of the guard's keys is text, and is judged."""
    seen = Seen()
    host = start(starlette_outside(seen))
    names = ("feedback_guard.passage", "feedback_guard.replay", "feedback-guard-replay", "x-feedback-guard-passage")
    ident, _ = host.hold("/feedback?feedback_guard.passage=1", tuple((name, "1") for name in names))
    assert host.guard.store.submission(ident) is not None
    assert "feedback_guard.replay" not in [key for one in seen.requests for key in one["scope"]]


def flaky(seen: Seen, statuses: list[int]) -> Callable[[Guard], Any]:
    """An application that is not able at first."""

    async def feedback(request: StarletteRequest) -> JSONResponse:
        replay = request.scope.get("feedback_guard.replay")
        if replay is None:
            return JSONResponse({})
        seen.note(key=request.headers["idempotency-key"], attempt=replay.attempt)
        return JSONResponse({}, status_code=statuses.pop(0))

    return lambda guard: FeedbackGuardMiddleware(
        Starlette(routes=[Route("/feedback", feedback, methods=["POST"])]), guard=guard, **options()
    )


def wait_for(host: Host, ident: str, condition: Callable[[Any], bool]) -> Any:
    wait_until(lambda: condition(host.guard.store.submission(ident)), "it does not come to that")
    return host.guard.store.submission(ident)


@pytest.mark.parametrize(("statuses", "end"), [([503, 429, 200], Delivery.DELIVERED), ([503] * 3, Delivery.FAILED)])
def test_an_idempotent_application_is_tried_again_with_growing_waits(
    start: Start, statuses: list[int], end: Delivery
) -> None:
    seen, left = Seen(), list(statuses)
    route = {**ROUTE, "idempotent": True}
    host = start(flaky(seen, left), routes=[route], replay={"attempts": 3, "first_wait": "2s"})
    ident, _ = host.hold("/feedback")
    host.approve(ident)
    clock = host.guard.clock
    assert isinstance(clock, ManualClock)
    waits = []
    for attempt in (1, 2):

        def waits_again(found: Any, n: int = attempt) -> bool:
            return bool(found.attempts == n and found.due_us > 0)

        stored = wait_for(host, ident, waits_again)
        assert stored.delivery is Delivery.APPROVED
        assert len(seen.requests) == attempt
        waits.append((stored.due_us - clock.now_us()) / 1_000_000)
        clock.us = stored.due_us
    assert 1.0 <= waits[0] <= 2.0 <= waits[1] <= 4.0
    stored = wait_for(host, ident, lambda found: found.delivery in OUTCOMES)
    assert stored.delivery is end
    assert [one["attempt"] for one in seen.requests] == [1, 2, 3]
    assert len({one["key"] for one in seen.requests}) == 1
    assert verify(host.guard.store).clean
