"""Contributors named by a Python function, or by what middleware further out put into the scope."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from feedback_guard.clock import ManualClock
from feedback_guard.contribution import ANONYMOUS
from feedback_guard.errors import IdentityError, PolicyError, UsageError
from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from feedback_guard.middleware.identity import Identifier
from feedback_guard.middleware.principal import Principal
from feedback_guard.middleware.replies import BadInputError
from feedback_guard.middleware.sources import make_identifier
from feedback_guard.policy.identity import IdentityPolicy
from tests.middleware.direct import Recorder, call, make_scope
from tests.middleware.fakes import EXTRACT, FEEDBACK, FakeGuard, make_policy
from tests.serving import Serving

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("WHO", default="nobody")


def identifier(function: Any = None, **parts: Any) -> Identifier:
    policy = {"missing": "anonymous", "network_group": False} | parts
    if function is not None:
        policy.setdefault("callable", {"deadline": "30s"})
    return make_identifier(IdentityPolicy.model_validate(policy), ManualClock(), function)


def ask(function: Any, scope: dict[str, Any] | None = None, **policy: Any) -> Principal:
    return asyncio.run(identifier(function, callable={"deadline": "30s"} | policy).identify(scope or make_scope()))


class Asynchronous:
    """An object that is called and awaited."""

    async def __call__(self, scope: Any) -> str:
        await asyncio.sleep(0)
        return "object"


async def asynchronous(scope: Any) -> str:
    return "later"


FUNCTIONS: dict[str, tuple[Any, str]] = {
    "text": (lambda scope: "ada", "ada"),
    "number": (lambda scope: 7, "7"),
    "dictionary": (lambda scope: {"contributor": "ada"}, "ada"),
    "nobody": (lambda scope: None, ANONYMOUS),
    "asynchronous": (asynchronous, "later"),
    "asynchronous object": (Asynchronous(), "object"),
    "returns what is awaited": (lambda scope: asynchronous(scope), "later"),
    "reads the scope": (lambda scope: scope["path"], "/feedback"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_names_the_contributor(name: str) -> None:
    function, expected = FUNCTIONS[name]
    assert ask(function).contributor == expected


def test_a_function_may_return_groups_that_the_policy_knows() -> None:
    found = ask(lambda scope: {"contributor": "ada", "groups": {"tenant": 7}}, groups=["tenant"])
    assert found == Principal("ada", {"tenant": "7"})


def raises(scope: Any) -> str:
    raise KeyError("what the client sent")


async def raises_later(scope: Any) -> str:
    raise KeyError("what the client sent")


async def cancels(scope: Any) -> str:
    raise asyncio.CancelledError


WRONG: dict[str, Any] = {
    "raises": raises,
    "raises later": raises_later,
    "cancels itself": cancels,
    "empty text": lambda scope: "",
    "flag": lambda scope: True,
    "bytes": lambda scope: b"ada",
    "list": lambda scope: ["ada"],
    "dictionary without a name": lambda scope: {"groups": {}},
    "groups are a list": lambda scope: {"contributor": "ada", "groups": ["a"]},
    "unknown group": lambda scope: {"contributor": "ada", "groups": {"other": "x"}},
    "group is nothing": lambda scope: {"contributor": "ada", "groups": {"tenant": None}},
}


@pytest.mark.parametrize("name", WRONG)
def test_a_function_that_fails_makes_nobody_anonymous(name: str) -> None:
    with pytest.raises(IdentityError) as caught:
        ask(WRONG[name], groups=["tenant"])
    assert "what the client sent" not in str(caught.value)


@pytest.mark.parametrize("name", ["x" * 257, "a\x00b", ANONYMOUS])
def test_a_name_that_cannot_be_kept_is_refused(name: str) -> None:
    with pytest.raises(BadInputError):
        ask(lambda scope: name)


def test_a_function_is_bounded_in_time_and_takes_nothing_from_others() -> None:
    go_on = threading.Event()
    who = identifier(lambda scope: go_on.wait(30) and "late", callable={"deadline": "20ms"})

    async def stubborn(scope: Any) -> str:
        while not go_on.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue
        return "late"

    endless = identifier(stubborn, callable={"deadline": "20ms"})

    async def run() -> None:
        for each in (who, endless):
            answers = await asyncio.gather(*(each.identify(make_scope()) for _ in range(20)), return_exceptions=True)
            assert {type(answer) for answer in answers} == {IdentityError}
        assert await asyncio.to_thread(lambda: 7) == 7
        go_on.set()

    asyncio.run(run())


def test_a_request_that_is_cancelled_cancels_the_function() -> None:
    begun, ended = asyncio.Event(), []

    async def slow(scope: Any) -> str:
        begun.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return "late"

    async def run() -> None:
        task = asyncio.create_task(identifier(slow).identify(make_scope()))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)

    asyncio.run(run())
    assert ended == ["cancelled"]


@pytest.mark.parametrize("function", [lambda scope: WHO.get(), lambda scope: asyncio.sleep(0, WHO.get())])
def test_a_function_sees_the_context_of_its_request(function: Any) -> None:
    async def run() -> str:
        WHO.set("ada")
        return (await identifier(function).identify(make_scope())).contributor

    assert asyncio.run(run()) == "ada"


def test_what_a_function_does_to_the_scope_stays_there() -> None:
    def function(scope: Any) -> str:
        scope["path"] = "/elsewhere"
        scope["user"] = "evil"
        return "ada"

    scope = make_scope()
    ask(function, scope)
    assert scope["path"] == "/feedback"
    assert "user" not in scope


def test_policy_and_function_go_together() -> None:
    with pytest.raises(UsageError, match="pass identify=function"):
        identifier(callable={})
    with pytest.raises(UsageError, match=r"set `identity\.callable"):
        make_identifier(IdentityPolicy(), ManualClock(), lambda scope: "ada")
    guard = FakeGuard(make_policy(identity={"callable": {}}))
    with pytest.raises(UsageError, match="pass identify=function"):
        FeedbackGuardMiddleware(Recorder(), guard=guard)


def test_the_middleware_asks_the_function() -> None:
    guard = FakeGuard(make_policy(identity={"callable": {"deadline": "30s"}, "missing": "refuse"}))
    app = Recorder()
    names = iter(["ada", None])
    wrapped = FeedbackGuardMiddleware(app, guard=guard, identify=lambda scope: next(names))

    async def run() -> list[int | None]:
        return [(await call(wrapped, make_scope(), FEEDBACK)).status for _ in range(3)]

    # The third time the function raises.
    assert asyncio.run(run()) == [200, 401, 503]
    assert guard.only.submission.contributions[0].contributor == "ada"


SCOPES: dict[str, tuple[tuple[str, ...], dict[str, Any], str]] = {
    "session": (("session", "user_id"), {"session": {"user_id": 7}}, "7"),
    "session of nobody": (("session", "user_id"), {"session": {}}, ANONYMOUS),
    "no session": (("session", "user_id"), {}, ANONYMOUS),
    "session that is a text": (("session", "user_id"), {"session": "ada"}, ANONYMOUS),
    "null": (("session", "user_id"), {"session": {"user_id": None}}, ANONYMOUS),
    "empty": (("session", "user_id"), {"session": {"user_id": ""}}, ANONYMOUS),
    "list": (("session", "user_id"), {"session": {"user_id": ["ada"]}}, ANONYMOUS),
    "deep": (("auth", "claims", "sub"), {"auth": {"claims": {"sub": "ada"}}}, "ada"),
    "attributes": (("user", "profile", "id"), {"user": SimpleNamespace(profile=SimpleNamespace(id="ada"))}, "ada"),
    "method": (("user", "name"), {"user": SimpleNamespace(name=lambda: "ada")}, ANONYMOUS),
    "state": (("state", "who"), {"state": {"who": "ada"}}, "ada"),
    "one key": (("remote_user",), {"remote_user": "ada"}, "ada"),
}


@pytest.mark.parametrize("name", SCOPES)
def test_a_path_of_keys_leads_to_what_middleware_put_into_the_scope(name: str) -> None:
    keys, parts, expected = SCOPES[name]
    assert asyncio.run(identifier(scope=keys).identify(make_scope(**parts))).contributor == expected


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"scope": ["headers"]}, "a client chooses"),
        ({"scope": ["path_params", "user"]}, "a client chooses"),
        ({"scope": ["user", "__class__", "__name__"]}, "underscore"),
        ({"order": ["header", "header"]}, "stands twice"),
        ({"order": ["header"]}, "leaves out user, which is set up; add it, or set `user: false`"),
        ({"order": ["user"], "scope": ["session", "id"]}, "leaves out scope, which is set up; add it, or remove"),
        ({"order": ["body"]}, "Input should be"),
    ],
)
def test_an_identity_that_is_unsafe_or_unclear_is_refused(parts: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        IdentityPolicy.model_validate(parts)


def test_the_first_source_in_the_policys_order_decides() -> None:
    sources: dict[str, Any] = {
        "header": {"header": "X-User", "hops": ["192.0.2.0/24"]},
        "scope": ["session", "id"],
    }
    scope = make_scope(
        headers=[(b"x-user", b"header")],
        session={"id": "session"},
        user=SimpleNamespace(is_authenticated=True, identity="user"),
    )
    expected = {"header": "header", "callable": "function", "scope": "session", "user": "user"}
    for first in expected:
        order = [first, *(name for name in (*expected, "jwt") if name != first)]
        who = identifier(lambda scope: "function", order=order, **sources)
        assert asyncio.run(who.identify(scope)).contributor == expected[first]


def test_a_group_that_two_sources_set_is_refused() -> None:
    hops = {"header": "X-Tenant", "hops": ["10.0.0.1"]}
    with pytest.raises(PolicyError, match="two sources set the group 'tenant'"):
        identifier(lambda scope: "ada", groups={"tenant": hops}, callable={"groups": ["tenant"]})


async def log_in(request: Request) -> PlainTextResponse:
    request.session["user_id"] = request.path_params["name"]
    return PlainTextResponse("welcome")


async def feedback(request: Request) -> PlainTextResponse:
    return PlainTextResponse("thanks")


@pytest.fixture
def signed_in() -> Iterator[tuple[Serving, FakeGuard]]:
    """A Starlette application with signed session cookies; the guard stands within the sessions."""
    guard = FakeGuard(
        make_policy(
            [{"name": "f", "path": "/feedback", "extract": EXTRACT}],
            identity={"scope": ["session", "user_id"], "missing": "refuse"},
        )
    )
    app = Starlette(
        routes=[Route("/login/{name}", log_in, methods=["POST"]), Route("/feedback", feedback, methods=["POST"])],
        middleware=[
            Middleware(SessionMiddleware, secret_key="a secret of the tests"),
            Middleware(FeedbackGuardMiddleware, guard=guard),
        ],
    )
    with Serving(app) as server:
        yield server, guard


def test_the_user_of_a_session_is_the_contributor(signed_in: tuple[Serving, FakeGuard]) -> None:
    server, guard = signed_in
    cookie = server.post("/login/ada", b"").headers["set-cookie"].split(";")[0]
    assert server.post("/feedback", FEEDBACK, {"cookie": cookie}).status == 200
    assert guard.only.submission.contributions[0].contributor == "ada"
    forged = cookie[:-4] + "AAAA"
    assert server.post("/feedback", FEEDBACK, {"cookie": forged}).status == 401
    assert server.post("/feedback", FEEDBACK).status == 401
