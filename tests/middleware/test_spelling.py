"""Which spellings of a path the guard takes for the same, and for which applications it need not."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from a2wsgi import WSGIMiddleware
from fastapi import APIRouter, FastAPI
from flask import Flask
from litestar import Litestar
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Host, Mount, Router
from starlette.staticfiles import StaticFiles

from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from feedback_guard.middleware.routes import RouteTable
from feedback_guard.middleware.spelling import routes_exactly
from feedback_guard.policy.routes import RoutePolicy
from tests.costs import cheaper_than
from tests.middleware.direct import make_scope
from tests.middleware.fakes import FakeGuard

ROUTES = [
    RoutePolicy(name="feedback", path="/feedback", extract="@"),
    RoutePolicy(name="rating", path="/items/{item}/rating", extract="@"),
    RoutePolicy(name="slash", path="/with/slash/", extract="@"),
]
OTHERS = {
    "/feedback/": "feedback",
    "//feedback": "feedback",
    "/FEEDBACK": "feedback",
    "/feedback/\n": "feedback",
    "/Items/A//rating/": "rating",
    "/items//rating": "rating",
    "/with/slash": "slash",
    "/with//Slash": "slash",
    "/feedbacks": None,
    "/feedback/x": None,
    "/feed/back": None,
    "/x/feedback": None,
    "/items/7/8/rating": None,
    "/": None,
    "": None,
}


@pytest.mark.parametrize("path", OTHERS)
def test_other_spellings(path: str) -> None:
    for exactly, expected in ((False, OTHERS[path]), (True, None)):
        match = RouteTable(ROUTES, exactly=partial(bool, exactly)).match(make_scope(path))
        assert (match.route.name if match else None) == expected


def test_the_spelling_of_the_policy_goes_first() -> None:
    routes = [RoutePolicy(name=name, path=path, extract="@") for name, path in (("low", "/a"), ("high", "/A"))]
    table = RouteTable(routes)
    found = [table.match(make_scope(path)) for path in ("/a", "/A", "/a/")]
    assert [match.route.name for match in found if match] == ["low", "high", "low"]


def test_an_escaped_slash_in_a_parameter_of_a_router_that_looks_at_the_raw_path() -> None:
    scope = make_scope("/items/a/b/rating") | {"raw_path": b"/items/a%2Fb/rating"}
    match = RouteTable(ROUTES).match(scope)
    assert match is not None
    assert match.params == {"item": "a%2Fb"}


@pytest.mark.parametrize("root_path", ["/api", "/API/", "//api"])
def test_a_prefix_is_taken_off_in_any_spelling(root_path: str) -> None:
    table = RouteTable(ROUTES)
    for path in ("/api/Feedback", "//api//feedback/", "/API/items/7/rating/"):
        assert table.match(make_scope(path) | {"root_path": root_path}) is not None
    assert table.match(make_scope("/apifeedback") | {"root_path": root_path}) is None


def test_a_path_of_slashes_costs_linear_time() -> None:
    table = RouteTable(ROUTES)
    with cheaper_than(1.0):
        for path in ("/" * 60_000, "/items" + "/" * 60_000 + "rating", "/items/" * 10_000):
            table.match(make_scope(path))


async def unknown(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError


def flask() -> Any:
    wsgi: Any = Flask("f").wsgi_app
    return WSGIMiddleware(wsgi)


def litestar() -> Any:
    return Litestar(openapi_config=None, logging_config=None)


def including() -> FastAPI:
    app, router = FastAPI(), APIRouter()
    router.add_api_route("/feedback", lambda: None, methods=["POST"])
    app.include_router(router, prefix="/api")
    return app


def including_a_mount(app: Any) -> FastAPI:
    outer, router = FastAPI(), APIRouter()
    router.mount("/inner", app)
    outer.include_router(router, prefix="/api")
    return outer


def with_mount(app: Any) -> Any:
    return FastAPI(routes=[Mount("/a", app=Starlette(routes=[Mount("/b", app=app)]))])


def looped() -> Any:
    app = Starlette()
    app.mount("/again", app)
    return app


EXACTLY = {
    "starlette": (Starlette(), True),
    "fastapi with a router": (including(), True),
    "middleware around it": (GZipMiddleware(FastAPI()), True),
    "files": (with_mount(StaticFiles(directory=".")), True),
    "mounted": (with_mount(Router()), True),
    "a mount of itself": (looped(), True),
    "unknown": (unknown, False),
    "unknown behind middleware": (GZipMiddleware(unknown), False),
    "litestar": (litestar(), False),
    "flask below fastapi": (with_mount(flask()), False),
    "flask below a router": (including_a_mount(flask()), False),
    "litestar by host": (Starlette(routes=[Host("a.example", app=litestar())]), False),
}


@pytest.mark.parametrize("name", EXACTLY)
def test_which_applications_route_exactly(name: str) -> None:
    app, exactly = EXACTLY[name]
    assert routes_exactly(app) is exactly


def test_what_is_mounted_after_the_middleware_was_made_counts() -> None:
    app = FastAPI()
    guard = FakeGuard()
    middleware = FeedbackGuardMiddleware(app, guard=guard)
    app.mount("/flask", flask())
    assert middleware._routes.match(make_scope("/feedback/")) is not None
