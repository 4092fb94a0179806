from __future__ import annotations

import asyncio
import re
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.exceptions import FastAPIDeprecationWarning
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from feedback_guard.errors import PolicyError
from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from feedback_guard.middleware.routes import RouteTable, own_root_path
from feedback_guard.policy.routes import RoutePolicy
from tests.middleware.direct import Recorder, call, make_scope
from tests.middleware.fakes import FEEDBACK, FakeGuard, make_policy

PATHS = [
    "/feedback",
    "/feedback\n",
    "/feedback\n\n",
    "/feedback\r",
    "/feedback/",
    "//feedback",
    "/feedback//",
    "/./feedback",
    "/x/../feedback",
    "/Feedback",
    "/FEEDBACK",
    "/feedback;v=1",
    "/feedback%0A",
    "/%66eedback",
    "/feedback ",
    " /feedback",
    "/feedback\x00",
    "/ｆeedback",
    "/fe\u200bedback",
    "/feedback?x",
    "/feedback#x",
    "feedback",
    "",
    "/",
    "*",
    "/items/7/rating",
    "/items//rating",
    "/items/7/8/rating",
    "/items/7/rating\n",
    "/items/\n/rating",
    "/items/7%2F8/rating",
    "/items/" + "7" * 5_000 + "/rating",
    "/items/7/rating/",
    "/api/feedback",
    "/api/feedback\n",
    "/api/api/feedback",
    "/apifeedback",
    "/api//feedback",
    "/api",
    "/feedback/extra",
]
METHODS = ["POST", "post", "Post", "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "QUERY", ""]
ROUTES: list[dict[str, Any]] = [
    {"name": "feedback", "path": "/feedback", "extract": "{kind: 'label', input: input, label: label}"},
    {
        "name": "rating",
        "path": "/items/{item}/rating",
        "methods": ["POST", "PUT"],
        "extract": "{kind: 'label', input: input, label: path('item')}",
    },
]


def application(reached: list[str], framework: str) -> Any:
    def handler(name: str) -> Any:
        async def endpoint(request: Request) -> PlainTextResponse:
            reached.append(name)
            return PlainTextResponse("ok")

        return endpoint

    routes = [
        Route("/feedback", handler("feedback"), methods=["POST"]),
        Route("/items/{item}/rating", handler("rating"), methods=["POST", "PUT"]),
        Route("/other", handler("other"), methods=["POST"]),
    ]
    if framework == "starlette":
        return Starlette(routes=routes)
    if framework == "mounted":
        return Starlette(routes=[Mount("/api", app=Starlette(routes=routes))])
    app = FastAPI()
    for route in routes:
        app.router.routes.append(route)
    return app


@pytest.mark.parametrize("root_path", ["", "/api"])
@pytest.mark.parametrize("place", ["outside", "inside"])
@pytest.mark.parametrize("framework", ["starlette", "fastapi"])
def test_no_path_or_method_reaches_the_handler_unjudged(framework: str, place: str, root_path: str) -> None:
    reached: list[str] = []
    guard = FakeGuard(make_policy(ROUTES))
    app = application(reached, framework)
    if place == "inside":
        app.add_middleware(FeedbackGuardMiddleware, guard=guard)
    else:
        app = FeedbackGuardMiddleware(app, guard=guard)
    hits = 0

    async def matrix() -> None:
        nonlocal hits
        for path in PATHS:
            for method in METHODS:
                before = len(guard.kept)
                reached.clear()
                await call(app, make_scope(path, method=method, root_path=root_path), FEEDBACK)
                if reached:
                    hits += 1
                    assert len(guard.kept) == before + 1, f"{method} {path!r} reached {reached} unjudged"

    asyncio.run(matrix())
    assert hits >= 6, "the matrix no longer reaches the handlers at all"


@pytest.mark.parametrize("path", PATHS)
def test_a_mounted_application_is_guarded_from_outside_and_from_within(path: str) -> None:
    reached: list[str] = []
    inner = FakeGuard(make_policy(ROUTES))
    outer_routes = [route | {"path": "/api" + route["path"]} for route in ROUTES]
    outer = FakeGuard(make_policy(outer_routes))
    parts = application(reached, "starlette")
    within = Starlette(routes=[Mount("/api", app=FeedbackGuardMiddleware(parts, guard=inner))])
    outside = FeedbackGuardMiddleware(application(reached, "mounted"), guard=outer)

    async def both() -> None:
        for app, guard in ((within, inner), (outside, outer)):
            reached.clear()
            await call(app, make_scope(path), FEEDBACK)
            # A line feed at the end is judged although Starlette's mounts do not route it: other routers do.
            assert len(guard.kept) == len(reached) or (path.endswith("\n") and not reached), f"{path!r}"

    asyncio.run(both())


def test_an_application_that_strips_a_prefix_of_its_own_is_guarded_behind_it() -> None:
    """FastAPI(root_path=...) sets the prefix further in than a guard around it can see in the scope."""
    reached: list[str] = []

    class Stripping:
        root_path = "/api"

        def __init__(self) -> None:
            self.app = application(reached, "starlette")

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.app({**scope, "root_path": self.root_path}, receive, send)

    guard = FakeGuard(make_policy(ROUTES))

    async def both() -> None:
        app = FeedbackGuardMiddleware(Stripping(), guard=guard)
        for path in ("/api/feedback", "/feedback"):
            await call(app, make_scope(path), FEEDBACK)

    asyncio.run(both())
    assert (len(reached), len(guard.kept)) == (2, 2)


def test_a_folder_that_is_called_root_path_is_none() -> None:
    """Quart's and Flask's: in a container the files often lie in `/app`, and an endpoint may be below `/app`."""
    app = SimpleNamespace(import_name="app", root_path="/app")
    assert own_root_path(SimpleNamespace(app=app)) == ""


@pytest.mark.parametrize("method", ["post", "Post", "POST"])
def test_an_application_that_takes_methods_in_any_case_is_guarded(method: str) -> None:
    """Django writes `request.method` in capitals whatever came."""
    guard = FakeGuard(make_policy(ROUTES))
    app = FeedbackGuardMiddleware(Recorder(), guard=guard)
    asyncio.run(call(app, make_scope("/feedback", method=method), FEEDBACK))
    assert len(guard.kept) == 1


def test_fastapi_with_its_own_root_path_is_guarded_from_outside() -> None:
    reached: list[str] = []
    with pytest.warns(FastAPIDeprecationWarning):
        app = FastAPI(root_path="/api")
    app.router.routes.append(application(reached, "starlette").routes[0])
    guard = FakeGuard(make_policy(ROUTES))
    wrapped = FeedbackGuardMiddleware(app, guard=guard)

    async def both() -> None:
        for path in ("/api/feedback", "/feedback"):
            await call(wrapped, make_scope(path), FEEDBACK)

    asyncio.run(both())
    assert len(reached) == len(guard.kept) > 0


def test_parameters_are_given_as_decoded() -> None:
    table = RouteTable([RoutePolicy(name="r", path="/a/{one}/b-{two}:rate", extract="@")])
    match = table.match(make_scope("/a/x y/b-é:rate"))
    assert match is not None
    assert dict(match.params) == {"one": "x y", "two": "é"}
    exactly = RouteTable([RoutePolicy(name="r", path="/a/{one}/b-{two}:rate", extract="@")], exactly=lambda: True)
    assert exactly.match(make_scope("/a/x/b-:rate")) is None


def test_the_exact_path_goes_before_one_with_parameters_and_the_first_pattern_wins() -> None:
    table = RouteTable(
        [
            RoutePolicy(name="first", path="/a/{x}", extract="@"),
            RoutePolicy(name="second", path="/{y}/b", extract="@"),
            RoutePolicy(name="exact", path="/a/b", extract="@"),
        ]
    )
    for path, name in (("/a/b", "exact"), ("/a/c", "first"), ("/c/b", "second")):
        found = table.match(make_scope(path))
        assert found is not None
        assert found.route.name == name


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/a/{x:int}", "convertors"),
        ("/a/{x", "written {name}"),
        ("/a/x}", "written {name}"),
        ("/a/{}", "written {name}"),
        ("/a/{x}/{x}", "stands twice"),
        ("/a/{x}-{y}", "only one parameter"),
    ],
)
def test_a_path_that_is_not_understood_is_refused(path: str, sentence: str) -> None:
    with pytest.raises(PolicyError, match=re.escape(sentence)):
        RouteTable([RoutePolicy(name="r", path=path, extract="@")])


@pytest.mark.parametrize("path", ["/a", "/a/{x}"])
def test_two_routes_for_the_same_requests_are_refused(path: str) -> None:
    with pytest.raises(PolicyError, match=r"POST .* is taken already"):
        RouteTable([RoutePolicy(name=name, path=path, extract="@") for name in ("one", "two")])


def test_patterns_that_differ_in_the_names_of_parameters_alone_are_the_same() -> None:
    routes = [RoutePolicy(name=name, path=f"/a/{{{name}}}", extract="@") for name in ("one", "two")]
    with pytest.raises(PolicyError, match=r"POST '/a/\{two\}' is taken already"):
        RouteTable(routes)


TWINS = ["/api/traces/{trace}/assessments", "/ajax-api/traces/{trace}/assessments", "/feedback", "/feedback/"]


def test_several_paths_lead_to_one_route() -> None:
    table = RouteTable([RoutePolicy(name="r", paths=TWINS, methods=["POST", "PUT"], extract="@")])
    for path in TWINS:
        for method in ("POST", "PUT"):
            match = table.match(make_scope(path.replace("{trace}", "7"), method=method))
            assert match is not None, path
            assert dict(match.params) == ({"trace": "7"} if "{" in path else {})
    assert table.match(make_scope("/ajax-api/feedback")) is None


def test_every_path_of_a_route_is_judged_under_a_router_of_its_own() -> None:
    reached: list[str] = []

    async def endpoint(request: Request) -> PlainTextResponse:
        reached.append(request.url.path)
        return PlainTextResponse("ok")

    guard = FakeGuard(make_policy([{"name": "r", "paths": TWINS, "extract": ROUTES[0]["extract"]}]))
    app = Starlette(routes=[Route(path, endpoint, methods=["POST"]) for path in TWINS])
    wrapped = FeedbackGuardMiddleware(app, guard=guard)

    async def each() -> None:
        for path in TWINS:
            await call(wrapped, make_scope(path.replace("{trace}", "7")), FEEDBACK)

    asyncio.run(each())
    assert len(reached) == len(guard.kept) == len(TWINS)
    assert {kept.submission.route for kept in guard.kept.values()} == {"r"}


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({}, "either `path`, or several"),
        ({"path": "/a", "paths": ["/b"]}, "either `path`, or several"),
        ({"paths": []}, "either `path`, or several"),
        ({"paths": ["/a", "/a"]}, "stands twice"),
    ],
)
def test_a_route_has_either_one_path_or_several(parts: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        RoutePolicy.model_validate({"name": "r", "extract": "@"} | parts)


def test_a_long_path_is_matched_in_linear_time() -> None:
    table = RouteTable([RoutePolicy(name="r", path="/a/{x}-end/{y}.json", extract="@")])
    assert table.match(make_scope("/a/" + "-end" * 50_000 + "/" + ".json" * 50_000 + "x")) is None


def test_an_unmatched_request_is_passed_on_as_the_same_objects() -> None:
    seen: list[tuple[Any, Any, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    wrapped = FeedbackGuardMiddleware(app, guard=FakeGuard())
    scopes = [make_scope("/other"), make_scope(method="GET"), make_scope(method="HEAD"), make_scope(type="websocket")]

    async def receive() -> Any:
        raise AssertionError("the guard must not read this")

    async def send(_: Any) -> None:
        raise AssertionError("the guard must not answer this")

    async def each() -> None:
        for scope in scopes:
            kept = dict(scope)
            await wrapped(scope, receive, send)
            assert scope == kept

    asyncio.run(each())
    assert all(got[0] is sent and got[1] is receive and got[2] is send for got, sent in zip(seen, scopes, strict=True))


def test_own_root_path_of_nothing_is_empty() -> None:
    class Loop:
        app: Any = None

    loop = Loop()
    loop.app = loop
    assert own_root_path(loop) == ""
    assert own_root_path(None) == ""
