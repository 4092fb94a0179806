"""BlackSheep."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from blacksheep import Application, Request, Response, StreamedContent, WebSocket
from blacksheep.server.responses import json
from blacksheep.server.routing import Router

from feedback_guard import Guard
from feedback_guard.middleware.interface import ASGIApp
from tests.frameworks.desk import Desk
from tests.frameworks.interface import PREFIX, Framework


def stream_of(desk: Desk, body: bytes) -> Callable[[], AsyncIterator[bytes]]:
    async def parts() -> AsyncIterator[bytes]:
        async for part in desk.stream(body):
            yield part

    return parts


def make(desk: Desk, guard: Guard | None) -> Any:
    router = Router()
    app = Application(router=router)

    @app.on_start
    async def start(_: Application) -> None:
        desk.started += 1

    @app.on_stop
    async def stop(_: Application) -> None:
        desk.stopped += 1

    @router.get("/feedback")
    async def read() -> Response:
        return json({"method": "GET"})

    @router.post("/feedback")
    async def feedback(request: Request) -> Response:
        body = await request.read() or b""
        value = await request.json()
        return json(desk.saw("feedback", request.scope, body) | {"label": value["label"]})

    @router.post("/items/{item}/rating")
    async def rating(request: Request, item: str) -> Response:
        return json(desk.saw("rating", request.scope, await request.read() or b"") | {"item": item})

    @router.post("/wait")
    async def wait(request: Request) -> Response:
        body = await request.read() or b""
        answer = desk.saw("wait", request.scope, body)
        await desk.wait_async(body)
        return json(answer)

    @router.post("/stream")
    async def stream(request: Request) -> Response:
        body = await request.read() or b""
        desk.saw("stream", request.scope, body)
        return Response(200, content=StreamedContent(b"text/plain", stream_of(desk, body)))

    @router.post("/upload")
    async def upload(request: Request) -> Response:
        return json(desk.seen(await request.read() or b""))

    @router.post("/form")
    @router.post("/judged-form")
    async def form(request: Request) -> Response:
        fields = await request.form() or {}
        files = await request.files("file")
        return json(desk.seen(files[0].data) | {"label": fields["label"]})

    @router.ws("/echo")
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("echo: " + await socket.receive_text())
        await socket.close()

    return app


def mount(app: ASGIApp) -> Any:
    outer = Application(router=Router())
    outer.mount(PREFIX, app)
    return outer


FRAMEWORK = Framework(
    "blacksheep",
    make,
    mount,
    exempt={
        "inside": "BlackSheep's own middleware are request handlers, not ASGI: wrap blacksheep.Application",
        "held_approved_and_replayed[escaped]": "BlackSheep routes by the raw path: an escaped letter is another path",
    },
)
