"""Starlette."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from feedback_guard import FeedbackGuardMiddleware, Guard
from tests.frameworks.desk import Desk
from tests.frameworks.interface import Framework, options


def make(desk: Desk, guard: Guard | None) -> Any:
    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, str]]:
        desk.started += 1
        yield {"pool": "the pool"}
        desk.stopped += 1

    async def feedback(request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse({"method": "GET"})
        value = await request.json()
        return JSONResponse(desk.saw("feedback", request.scope, await request.body()) | {"label": value["label"]})

    async def rating(request: Request) -> Response:
        answer = desk.saw("rating", request.scope, await request.body())
        return JSONResponse(answer | {"item": request.path_params["item"]})

    async def wait(request: Request) -> Response:
        body = await request.body()
        answer = desk.saw("wait", request.scope, body)
        await desk.wait_async(body)
        return JSONResponse(answer)

    async def stream(request: Request) -> Response:
        body = await request.body()
        desk.saw("stream", request.scope, body)
        return StreamingResponse(desk.stream(body))

    async def upload(request: Request) -> Response:
        return JSONResponse(desk.seen(await request.body()))

    async def form(request: Request) -> Response:
        async with request.form() as fields:
            file = fields["file"]
            assert not isinstance(file, str)
            return JSONResponse(desk.seen(await file.read()) | {"label": fields["label"]})

    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("echo: " + await socket.receive_text())
        await socket.close()

    app = Starlette(
        routes=[
            Route("/feedback", feedback, methods=["POST", "GET"]),
            Route("/items/{item}/rating", rating, methods=["POST"]),
            Route("/wait", wait, methods=["POST"]),
            Route("/stream", stream, methods=["POST"]),
            Route("/upload", upload, methods=["POST"]),
            Route("/form", form, methods=["POST"]),
            Route("/judged-form", form, methods=["POST"]),
            WebSocketRoute("/echo", echo),
        ],
        lifespan=lifespan,
    )
    if guard is not None:
        app.add_middleware(FeedbackGuardMiddleware, guard=guard, **options())
    return app


FRAMEWORK = Framework("starlette", make)
