"""Falcon."""

from __future__ import annotations

import json
from typing import Any

from falcon.asgi import App, Request, Response, WebSocket

from feedback_guard import Guard
from tests.frameworks.desk import Desk
from tests.frameworks.interface import PREFIX, Framework


class Life:
    """Falcon's middleware: a component, told of the lifespan's events."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def process_startup(self, scope: Any, event: Any) -> None:
        self._desk.started += 1

    async def process_shutdown(self, scope: Any, event: Any) -> None:
        self._desk.stopped += 1


class Endpoint:
    """One resource, told apart by its name."""

    def __init__(self, name: str, desk: Desk) -> None:
        self._name, self._desk = name, desk

    async def on_get(self, request: Request, response: Response) -> None:
        response.media = {"method": "GET"}

    async def on_post(self, request: Request, response: Response) -> None:
        body = await request.stream.read()
        if self._name == "upload":
            response.media = self._desk.seen(body)
            return
        answer = self._desk.saw(self._name, request.scope, body)
        response.media = answer | {"label": json.loads(body)["label"]}
        if self._name == "wait":
            await self._desk.wait_async(body)
        elif self._name == "stream":
            response.media = None
            response.stream = self._desk.stream(body)


class Rating:
    """One resource of many."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def on_post(self, request: Request, response: Response, item: str) -> None:
        response.media = self._desk.saw("rating", request.scope, await request.stream.read()) | {"item": item}


class Upload:
    """A form with a file."""

    async def on_post(self, request: Request, response: Response) -> None:
        answer: dict[str, Any] = {}
        async for part in await request.get_media():
            if part.filename:
                answer |= Desk.seen(await part.stream.read())
            elif part.name == "label":
                answer[part.name] = await part.text
        response.media = answer


class Echo:
    """A websocket."""

    async def on_websocket(self, request: Request, socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("echo: " + await socket.receive_text())
        await socket.close()


def make(desk: Desk, guard: Guard | None) -> Any:
    app = App(middleware=[Life(desk)])
    for prefix in ("", PREFIX):  # Falcon routes by the whole path, whatever `root_path` says
        for name in ("feedback", "wait", "stream", "upload"):
            app.add_route(f"{prefix}/{name}", Endpoint(name, desk))
        app.add_route(f"{prefix}/items/{{item}}/rating", Rating(desk))
        app.add_route(f"{prefix}/form", Upload())
        app.add_route(f"{prefix}/judged-form", Upload())
        app.add_route(f"{prefix}/echo", Echo())
    return app


FRAMEWORK = Framework(
    "falcon", make, exempt={"inside": "Falcon's own middleware are components, not ASGI: wrap falcon.asgi.App"}
)
