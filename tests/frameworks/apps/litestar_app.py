"""Litestar."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from litestar import Litestar, Request, WebSocket, asgi, get, post, websocket
from litestar.datastructures import UploadFile
from litestar.middleware import DefineMiddleware
from litestar.params import FromPath, JSONBody, MultipartBody
from litestar.response import Stream
from litestar.types import Receive, Scope, Send

from feedback_guard import FeedbackGuardMiddleware, Guard
from tests.frameworks.desk import Desk
from tests.frameworks.interface import PREFIX, Framework, options


def make(desk: Desk, guard: Guard | None) -> Any:
    @contextlib.asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        desk.started += 1
        yield
        desk.stopped += 1

    @get("/feedback")
    async def read() -> dict[str, str]:
        return {"method": "GET"}

    @post("/feedback", status_code=200)
    async def feedback(data: JSONBody[dict[str, Any]], request: Request[Any, Any, Any]) -> dict[str, Any]:
        return desk.saw("feedback", request.scope, await request.body()) | {"label": data["label"]}

    @post("/items/{item:str}/rating", status_code=200)
    async def rating(item: FromPath[str], request: Request[Any, Any, Any]) -> dict[str, Any]:
        return desk.saw("rating", request.scope, await request.body()) | {"item": item}

    @post("/wait", status_code=200)
    async def wait(data: JSONBody[dict[str, Any]], request: Request[Any, Any, Any]) -> dict[str, Any]:
        body = await request.body()
        answer = desk.saw("wait", request.scope, body)
        await desk.wait_async(body)
        return answer

    @post("/stream", status_code=200)
    async def stream(data: JSONBody[dict[str, Any]], request: Request[Any, Any, Any]) -> Stream:
        body = await request.body()
        desk.saw("stream", request.scope, body)
        return Stream(desk.stream(body))

    @post("/upload", status_code=200, request_max_body_size=4_000_000)
    async def upload(request: Request[Any, Any, Any]) -> dict[str, Any]:
        return desk.seen(await request.body())

    @post(["/form", "/judged-form"], status_code=200)
    async def form(
        data: MultipartBody[dict[str, Any]],
    ) -> dict[str, Any]:
        file = data["file"]
        assert isinstance(file, UploadFile)
        return desk.seen(await file.read()) | {"label": data["label"]}

    @websocket("/echo")
    async def echo(socket: WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        await socket.send_text("echo: " + await socket.receive_text())
        await socket.close()

    middleware: Any = FeedbackGuardMiddleware
    inside = [] if guard is None else [DefineMiddleware(middleware, guard=guard, **options())]
    return Litestar(
        [read, feedback, rating, wait, stream, upload, form, echo],
        lifespan=[lifespan],
        middleware=inside,
        openapi_config=None,
        logging_config=None,
    )


def mount(app: Any) -> Any:
    @asgi(PREFIX, is_mount=True, copy_scope=True)
    async def sub(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    return Litestar([sub], openapi_config=None, logging_config=None)


FRAMEWORK = Framework(
    "litestar",
    make,
    mount,
    exempt={
        "lifespan[inside]": "Litestar builds its middleware once for each route handler and gives it no lifespan",
    },
)
