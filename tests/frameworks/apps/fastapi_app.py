"""FastAPI, with what its users write: models as bodies, and forms as parameters."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import FastAPI, Form, Request, UploadFile, WebSocket
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from feedback_guard import FeedbackGuardMiddleware, Guard
from feedback_guard.middleware.interface import ASGIApp
from tests.frameworks.desk import Desk
from tests.frameworks.interface import PREFIX, Framework, options


class Feedback(BaseModel):
    """What a user says."""

    input: str
    label: str


def make(desk: Desk, guard: Guard | None) -> Any:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, str]]:
        desk.started += 1
        yield {"pool": "the pool"}
        desk.stopped += 1

    app = FastAPI(lifespan=lifespan)

    @app.get("/feedback")
    async def read() -> dict[str, str]:
        return {"method": "GET"}

    @app.post("/feedback")
    async def feedback(item: Feedback, request: Request) -> dict[str, Any]:
        return desk.saw("feedback", request.scope, await request.body()) | {"label": item.label}

    @app.post("/items/{item}/rating")
    async def rating(item: str, request: Request) -> dict[str, Any]:
        return desk.saw("rating", request.scope, await request.body()) | {"item": item}

    @app.post("/wait")
    async def wait(item: Feedback, request: Request) -> dict[str, Any]:
        body = await request.body()
        answer = desk.saw("wait", request.scope, body)
        await desk.wait_async(body)
        return answer

    @app.post("/stream")
    async def stream(item: Feedback, request: Request) -> StreamingResponse:
        body = await request.body()
        desk.saw("stream", request.scope, body)
        return StreamingResponse(desk.stream(body))

    @app.post("/upload")
    async def upload(request: Request) -> dict[str, Any]:
        return desk.seen(await request.body())

    @app.post("/form")
    @app.post("/judged-form")
    async def form(label: Annotated[str, Form()], file: UploadFile) -> dict[str, Any]:
        return desk.seen(await file.read()) | {"label": label}

    @app.websocket("/echo")
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("echo: " + await socket.receive_text())
        await socket.close()

    if guard is not None:
        app.add_middleware(FeedbackGuardMiddleware, guard=guard, **options())
    return app


def mount(app: ASGIApp) -> Any:
    outer = FastAPI()
    outer.mount(PREFIX, app)
    return outer


FRAMEWORK = Framework("fastapi", make, mount)
