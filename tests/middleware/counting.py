"""An application that counts its effects, behind the real guard, on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from feedback_guard.contribution import Contribution
from feedback_guard.guard import Guard
from feedback_guard.ledger.verify import verify
from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from tests.guards import labelled, make_guard
from tests.serving import Answer, Serving

ROUTE = {"name": "feedback", "path": "/feedback", "extract": "{kind: 'label', input: text, label: topic}"}
OTHER = {**ROUTE, "name": "other", "path": "/other"}
IDENTITY = {"header": {"header": "X-User", "hops": ["127.0.0.1"]}, "network_group": False, "missing": "anonymous"}
SIGNALS = {"false_hold_rate": 0.05, "near_duplicate": {"share": 0.0}}
GOOD, SECOND = list(labelled(2, seed=1))
KEY = '"8e03978e-40d5-43e8-bc93-6894a57f9324"'


class App:
    """Counts its effects; its answer is what the test wants, and can be made to wait."""

    def __init__(self) -> None:
        self.effects: list[bytes] = []
        self.status = 201
        self.headers = [(b"content-type", b"text/plain"), (b"location", b"/f/1"), (b"set-cookie", b"session=secret")]
        self.pieces = [b"made ", b"1"]
        self.called = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.error: Exception | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError("HTTP only")
        self.effects.append((await receive())["body"])
        self.called.set()
        await asyncio.to_thread(self.go_on.wait, 20)
        if self.error is not None:
            raise self.error
        number = len(self.effects)
        headers = [*self.headers, (b"x-effect", str(number).encode())]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        for place, piece in enumerate(self.pieces):
            await send({"type": "http.response.body", "body": piece, "more_body": place < len(self.pieces) - 1})


class Host:
    """The application behind a guard, on a real socket."""

    def __init__(self, folder: Path, database: Path, route: Mapping[str, Any], **policy: Any) -> None:
        self.app = App()
        routes = [{**ROUTE, **route}, {**OTHER, **route}]
        parts: dict[str, Any] = {"routes": routes, "identity": IDENTITY, "signals": SIGNALS}
        parts |= {"store": {"url": f"sqlite:///{database}"}} | policy
        self.guard: Guard = make_guard(folder, **parts)
        self.serving = Serving(FeedbackGuardMiddleware(self.app, guard=self.guard))

    def send(
        self, item: Contribution = GOOD, key: str | None = KEY, *, user: str = "ada", path: str = "/feedback"
    ) -> Answer:
        headers = {"X-User": user} if user else {}
        if key is not None:
            headers["Idempotency-Key"] = key
        return self.serving.post(path, {"text": item.input, "topic": item.label}, headers)

    @property
    def counted(self) -> int:
        return sum(self.guard.store.count_by_delivery().values())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the baseline is, built once."""
    return tmp_path_factory.mktemp("guard")


@pytest.fixture
def start(folder: Path, tmp_path: Path) -> Iterator[Callable[..., Host]]:
    with contextlib.ExitStack() as stack:
        database = tmp_path / "guard.db"

        def start(route: Mapping[str, Any] | None = None, **policy: Any) -> Host:
            host = Host(folder, database, route or {}, **policy)
            stack.enter_context(host.serving)
            return host

        yield start
        stack.close()
        assert verify(f"sqlite:///{database}").clean


def liars(host: Host, wanted: int, **options: Any) -> tuple[Contribution, Answer]:
    """Send contributions with the wrong label until one gets the status that is wanted."""
    for number, item in enumerate(labelled(60, seed=3, flip=True)):
        answer = host.send(item, key=f'"liar-{number}"', user=f"liar-{number}", **options)
        if answer.status == wanted:
            return item, answer
    raise AssertionError(f"no answer {wanted}")
