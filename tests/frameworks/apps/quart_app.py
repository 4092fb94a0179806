"""Quart."""

from __future__ import annotations

from typing import Any

from quart import Quart, request, websocket

from feedback_guard import FeedbackGuardMiddleware, Guard
from tests.frameworks.desk import Desk
from tests.frameworks.interface import Framework, options


async def body_of() -> bytes:
    body = await request.get_data()
    assert isinstance(body, bytes)
    return body


def make(desk: Desk, guard: Guard | None) -> Any:
    app = Quart("quart_app")

    @app.before_serving
    async def start() -> None:
        desk.started += 1

    @app.after_serving
    async def stop() -> None:
        desk.stopped += 1

    @app.get("/feedback")
    async def read() -> dict[str, str]:
        return {"method": "GET"}

    @app.post("/feedback")
    async def feedback() -> dict[str, Any]:
        value = await request.get_json()
        return desk.saw("feedback", request.scope, await body_of()) | {"label": value["label"]}

    @app.post("/items/<item>/rating")
    async def rating(item: str) -> dict[str, Any]:
        return desk.saw("rating", request.scope, await body_of()) | {"item": item}

    @app.post("/wait")
    async def wait() -> dict[str, Any]:
        body = await body_of()
        answer = desk.saw("wait", request.scope, body)
        await desk.wait_async(body)
        return answer

    @app.post("/stream")
    async def stream() -> Any:
        body = await body_of()
        desk.saw("stream", request.scope, body)
        return desk.stream(body), 200

    @app.post("/upload")
    async def upload() -> dict[str, Any]:
        return desk.seen(await body_of())

    @app.post("/form")
    @app.post("/judged-form")
    async def form() -> dict[str, Any]:
        label = (await request.form)["label"]
        file = (await request.files)["file"]
        return desk.seen(file.read()) | {"label": label}

    @app.websocket("/echo")
    async def echo() -> None:
        await websocket.send(f"echo: {await websocket.receive()!s}")

    if guard is not None:
        inner: Any = app.asgi_app
        vars(app)["asgi_app"] = FeedbackGuardMiddleware(inner, guard=guard, **options())
    return app


FRAMEWORK = Framework("quart", make)
