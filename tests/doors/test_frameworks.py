"""Every framework of the conformance suite tells its writing routes, mounted ones too."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from a2wsgi import WSGIMiddleware
from django.views import View
from fastapi import APIRouter, FastAPI
from flask import Flask
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Host, Mount, Route
from starlette.staticfiles import StaticFiles

from feedback_guard.doors.frameworks import _methods, _route, doors_of
from feedback_guard.doors.interface import template
from tests.frameworks.desk import Desk
from tests.frameworks.interface import PREFIX, Framework
from tests.frameworks.sites import FRAMEWORKS

EXPECTED = {"/feedback", "/items/{item}/rating", "/wait", "/stream", "/upload", "/form", "/judged-form"}
by_framework = pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda framework: framework.name)


def listed(app: Any) -> set[str]:
    found = doors_of(app)
    assert not found.dark
    return {str(door) for door in found.doors}


def made(framework: Framework) -> Any:
    app = framework.make(Desk(), None)
    if framework.name == "django":
        from django.core.asgi import get_asgi_application

        return get_asgi_application()  # the suite's wraps it in a function, which tells nothing
    return app


@by_framework
def test_each_framework_tells_its_routes(framework: Framework) -> None:
    below = {f"POST {PREFIX}{path}" for path in EXPECTED} if framework.name == "falcon" else set()
    assert listed(made(framework)) == {f"POST {path}" for path in EXPECTED} | below


@by_framework
def test_each_framework_tells_what_is_mounted_in_it(framework: Framework) -> None:
    inner = Starlette(routes=[Route("/deep/{x:path}", lambda _: None, methods=["PUT", "GET"])])
    app = framework.mount(GZipMiddleware(inner))
    if framework.name == "litestar":
        assert list(doors_of(app).dark) == ["/sub"]  # mounted by a function of the user's own, which tells nothing
    else:
        assert listed(app) == {"PUT /sub/deep/{x:path}"}


def test_what_cannot_be_looked_into_is_said() -> None:
    async def unknown(scope: Any, receive: Any, send: Any) -> None: ...

    found = doors_of(Starlette(routes=[Mount("/a", app=unknown), Mount("/files", app=StaticFiles(directory="."))]))
    assert not found.doors
    assert list(found.dark) == ["/a"]
    assert "does not tell its routes" in found.dark["/a"]


def test_routers_hosts_class_endpoints_and_loops() -> None:
    class Thing(HTTPEndpoint):
        async def patch(self, _: Any) -> None: ...

    router = APIRouter(prefix="/v1")
    router.delete("/things/{id}")(lambda: None)
    app = FastAPI()
    app.include_router(router, prefix="/api")
    app.router.routes += [Route("/thing", Thing), Host("a.example", app=Starlette(routes=[Route("/h", Thing)]))]
    app.mount("/again", app)
    assert listed(app) == {"DELETE /api/v1/things/{id}", "PATCH /thing", "PATCH /h"}


def test_flask_below_fastapi_as_mlflow_has_it() -> None:
    flask = Flask("f")
    flask.add_url_rule("/api/<int:trace>/assessments/<path:rest>", view_func=lambda **_: "", methods=["POST", "GET"])
    adapter: Any = WSGIMiddleware
    app = FastAPI()
    app.mount("/", adapter(flask))
    assert listed(app) == {"POST /api/{trace}/assessments/{rest:path}"}


def test_djangos_views_and_patterns() -> None:
    update: Any = type("Update", (View,), {"put": lambda self: None})
    viewset = SimpleNamespace(actions={"post": "create", "get": "list"})
    assert _methods(update.as_view()) == ["PUT"]
    assert _methods(viewset) == ["post", "get"]
    assert _methods(test_djangos_views_and_patterns) == ["POST"]
    assert template(_route(r"^items/(?P<pk>[^/.]+)/(?P<year>(19|20)\d\d)/$")) == "items/{pk}/{year}/"
