"""Flask, a WSGI framework, through a2wsgi."""

from __future__ import annotations

from typing import Any

from a2wsgi import WSGIMiddleware
from flask import Flask, Response, request

from feedback_guard import Guard
from tests.frameworks.desk import Desk
from tests.frameworks.interface import Framework


def make(desk: Desk, guard: Guard | None) -> Any:
    app = Flask("flask_app")

    @app.get("/feedback")
    def read() -> dict[str, str]:
        return {"method": "GET"}

    @app.post("/feedback")
    def feedback() -> dict[str, Any]:
        answer = desk.saw("feedback", request.environ["asgi.scope"], request.get_data())
        return answer | {"label": request.get_json()["label"]}

    @app.post("/items/<item>/rating")
    def rating(item: str) -> dict[str, Any]:
        return desk.saw("rating", request.environ["asgi.scope"], request.get_data()) | {"item": item}

    @app.post("/wait")
    def wait() -> dict[str, Any]:
        body = request.get_data()
        answer = desk.saw("wait", request.environ["asgi.scope"], body)
        desk.wait(body)
        return answer

    @app.post("/stream")
    def stream() -> Response:
        body = request.get_data()
        desk.saw("stream", request.environ["asgi.scope"], body)
        return Response(desk.stream_now(body))

    @app.post("/upload")
    def upload() -> dict[str, Any]:
        return desk.seen(request.get_data())

    @app.post("/form")
    @app.post("/judged-form")
    def form() -> dict[str, Any]:
        return desk.seen(request.files["file"].read()) | {"label": request.form["label"]}

    wsgi: Any = app.wsgi_app
    return WSGIMiddleware(wsgi)


A2WSGI_READS_NOTHING = (
    "a2wsgi takes only coroutines for `receive`, and granian's are none: it fails without a guard too"
)
FRAMEWORK = Framework(
    "flask",
    make,
    exempt={
        "inside": "Flask's own middleware is WSGI: wrap what a2wsgi makes of the application",
        "websocket": "WSGI knows no websockets",
        "two_megabytes_that_are_none_of_the_guards_business[chunked]": "WSGI reads no body without its length",
        "two_megabytes_that_are_none_of_the_guards_business[granian]": A2WSGI_READS_NOTHING,
        "a_form_that_is_none_of_the_guards_business[granian]": A2WSGI_READS_NOTHING,
        "lifespan": "WSGI knows no lifespan",
    },
)
