"""The assistant: `GET /ask` answers, `POST /feedback` takes a correction, `POST /retrain` learns from them.

    uvicorn --factory --app-dir examples bank_assistant.app:unguarded
    BANK_POLICY=examples/bank_assistant/policy.yaml uvicorn --factory --app-dir examples bank_assistant.app:guarded

The two differ in one line, in `create_app`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field
from starlette.middleware.authentication import AuthenticationMiddleware

from bank_assistant.accounts import TokenBackend
from bank_assistant.student import Answer, Example, Student, read_examples
from feedback_guard import FeedbackGuardMiddleware, Guard, Verdict

Question = Annotated[str, Field(min_length=1, max_length=1_000)]

PAGE = """<!doctype html><html lang="en"><title>Bank assistant</title>
<h1>Bank assistant</h1>
<form action="/ask"><label>Your question <input name="q" size="60" value="Where is my new card?"></label>
<button>Ask</button></form></html>"""


class Correction(BaseModel):
    """What a user says the answer should have been."""

    question: Question
    intent: Annotated[str, Field(min_length=1, max_length=100)]


class Questions(BaseModel):
    """Several questions at once."""

    questions: Annotated[list[Question], Field(min_length=1, max_length=500)]


class Assistant:
    """What the application remembers: the vetted examples, the corrections, and a model of both."""

    def __init__(self) -> None:
        self.vetted = read_examples("vetted")
        self.corrections: list[Example] = []
        self.student = Student(self.vetted)
        self._training = threading.Lock()

    def retrain(self) -> int:
        """Train anew on everything that is known by now."""
        with self._training:
            self.student = Student([*self.vetted, *self.corrections])
        return self.student.n_examples


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.assistant = Assistant()
    yield


def weight_of(request: Request) -> float:
    """How much the model may learn from this request: what the guard says, or all of it if there is no guard."""
    verdicts: list[Verdict] = getattr(request.state, "feedback_guard", [])
    return verdicts[0].weight if verdicts and not verdicts[0].observed else 1.0


def create_app(guard: Guard | None = None) -> FastAPI:
    """Make the application; with a guard, wrap it."""
    app = FastAPI(title="Bank assistant", lifespan=_lifespan)
    if guard is not None:
        app.add_middleware(FeedbackGuardMiddleware, guard=guard)
    # What is added last sees a request first: the guard must know who is asking.
    app.add_middleware(AuthenticationMiddleware, backend=TokenBackend())

    @app.get("/", response_class=HTMLResponse)
    def index() -> str:
        return PAGE

    @app.get("/ask")
    def ask(request: Request, q: Annotated[Question, Query()]) -> Answer:
        return _assistant(request).student.answer([q])[0]

    @app.post("/ask")
    def ask_many(request: Request, body: Questions) -> list[Answer]:
        return _assistant(request).student.answer(body.questions)

    @app.post("/feedback", status_code=201)
    async def feedback(request: Request, correction: Correction) -> dict[str, float]:
        if not request.user.is_authenticated:
            raise HTTPException(401, "log in to correct the assistant")
        weight = weight_of(request)
        _assistant(request).corrections.append(Example(correction.question, correction.intent, weight))
        return {"weight": weight}

    @app.post("/retrain")
    def retrain(request: Request) -> dict[str, int]:
        return {"examples": _assistant(request).retrain()}

    return app


def unguarded() -> FastAPI:
    """The application as it was."""
    return create_app()


def guarded() -> FastAPI:
    """The application behind the guard, with the policy that the environment names."""
    return create_app(Guard.from_policy(os.environ["BANK_POLICY"]))


def _assistant(request: Request) -> Assistant:
    assistant: Assistant = request.app.state.assistant
    return assistant
