"""A framework's application, guarded, on a real server: what every check of the suite is run against."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from feedback_guard.middleware.interface import ASGIApp, Receive, Scope, Send
from feedback_guard.store.records import StoredSubmission
from feedback_guard.store.states import Delivery
from tests.frameworks.apps import (
    blacksheep_app,
    django_app,
    falcon_app,
    fastapi_app,
    flask_app,
    litestar_app,
    quart_app,
    starlette_app,
)
from tests.frameworks.desk import Desk
from tests.frameworks.interface import PREFIX, ROUTES, Framework, guarded
from tests.frameworks.servers import SERVERS
from tests.guards import make_guard, sentence
from tests.patience import PATIENCE_SECONDS, wait_until

FRAMEWORKS: tuple[Framework, ...] = (
    starlette_app.FRAMEWORK,
    fastapi_app.FRAMEWORK,
    litestar_app.FRAMEWORK,
    quart_app.FRAMEWORK,
    django_app.FRAMEWORK,
    falcon_app.FRAMEWORK,
    blacksheep_app.FRAMEWORK,
    flask_app.FRAMEWORK,
)
PLACEMENTS = ("outside", "inside", "mounted")
FINAL = frozenset({Delivery.DELIVERED, Delivery.FAILED, Delivery.UNKNOWN})
SPEC = b"x-spec"
"""Names the version of the ASGI specification that a request's scope is to announce."""


@dataclass(frozen=True)
class Place:
    """Where the middleware stands, and what serves it."""

    framework: Framework
    placement: str
    server: str
    lifespan: bool

    def __str__(self) -> str:
        return f"{self.framework.name}-{self.placement}-{self.server}" + ("" if self.lifespan else "-no_lifespan")

    def exemption(self, check: str, variant: str = "") -> str | None:
        """Why a check does not apply here: to the framework, or to one of the things in the check's brackets."""
        exempt = self.framework.exempt
        here = {*str(self).split("-"), *variant.split("-")}
        names = [check, *(f"{check}[{part}]" for part in here)]
        return next((exempt[name] for name in names if name in exempt), None)

    @property
    def lifespan_arrives(self) -> bool:
        """Whether the application is told of start and end."""
        return self.lifespan and self.placement != "mounted" and "lifespan" not in self.framework.exempt

    @property
    def guard_hears_of_the_end(self) -> bool:
        """Whether the guard is; what an application does not speak, the guard around it does."""
        inside = f"lifespan[{self.placement}]" in self.framework.exempt
        return self.lifespan and self.placement != "mounted" and not inside


def places() -> list[Place]:
    """Every place: without lifespan where it would come otherwise."""
    return [
        Place(framework, placement, server, lifespan)
        for framework in FRAMEWORKS
        for placement in PLACEMENTS
        if placement not in framework.exempt
        for server in SERVERS
        for lifespan in ((True, False) if placement == "outside" else (True,))
    ]


class Site:
    """One guarded application that is being served.

    Parameters
    ----------
    place
        Where the middleware stands.
    folder
        For the guard's database and baseline.
    """

    def __init__(self, place: Place, folder: Path) -> None:
        self.place = place
        self.desk = Desk()
        self.guard = make_guard(
            folder,
            routes=ROUTES,
            identity={"header": {"header": "X-User", "hops": ["127.0.0.1"]}, "network_group": False},
            signals={"false_hold_rate": 1e-6, "unknown_label": "quarantine"},
        )
        self.prefix = PREFIX if place.placement == "mounted" else ""
        inside = place.placement == "inside"
        app = place.framework.make(self.desk, self.guard if inside else None)
        if not inside:
            app = guarded(app, self.guard)
        if place.placement == "mounted":
            app = place.framework.mount(app)
        self.loop: asyncio.AbstractEventLoop | None = None
        self.serving = SERVERS[place.server](self._outermost(app), place.lifespan)
        self._random = random.Random(1)

    def _outermost(self, app: ASGIApp) -> ASGIApp:
        async def outermost(scope: Scope, receive: Receive, send: Send) -> None:
            self.loop = asyncio.get_running_loop()
            for name, value in scope.get("headers", ()):
                if name == SPEC:
                    scope = {**scope, "asgi": {**scope["asgi"], "spec_version": value.decode()}}
            await app(scope, receive, send)

        return outermost

    def __enter__(self) -> Self:
        self.serving.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.desk.release()
        if self.loop is not None and not self.place.guard_hears_of_the_end:
            asyncio.run_coroutine_threadsafe(self.guard.stop(), self.loop).result(PATIENCE_SECONDS)
        self.serving.__exit__(kind, error, trace)

    def body(self, *, hold: bool = False, **more: Any) -> bytes:
        """Feedback that nobody has sent yet, which is accepted, or held."""
        topic = "card"
        value = {"input": sentence(self._random, topic), "label": "never seen" if hold else topic, **more}
        return json.dumps(value).encode()

    def decide(self, ident: str, *, approve: bool) -> None:
        """Decide as a moderator."""
        assert self.loop is not None
        deciding = self.guard.decide(ident, approve=approve, moderator="mo", note="read it")
        asyncio.run_coroutine_threadsafe(deciding, self.loop).result(PATIENCE_SECONDS)

    def poll(self, ready: Callable[[], bool], what: str) -> None:
        """Ask again until it is so: what is recorded in a database has no event."""
        wait_until(ready, f"{self.place}: never came true: {what}")

    def submissions(self, body: bytes) -> list[StoredSubmission]:
        """What is recorded about a body."""
        text = json.loads(body)["input"]
        idents = {
            event.stored.submission: None
            for event in self.guard.store.events_after(0, 100_000)
            if event.stored is not None and event.stored.contribution.input == text
        }
        found = [self.guard.store.submission(ident) for ident in idents]
        return [stored for stored in found if stored is not None]

    def settled(self, body: bytes) -> StoredSubmission:
        """The one record about a body, once the application's outcome stands in it."""

        def ready() -> bool:
            return [stored.delivery in FINAL for stored in self.submissions(body)] == [True]

        self.poll(ready, "an outcome")
        return self.submissions(body)[0]

    def counted(self, outcome: str, route: str = "feedback") -> float:
        """How many requests to a route had this outcome."""
        wanted = f'feedback_guard_requests_total{{outcome="{outcome}",route="{route}"}} '
        lines = self.guard.metrics.render()[0].decode().splitlines()
        return sum(float(line.removeprefix(wanted)) for line in lines if line.startswith(wanted))
