from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from feedback_guard.review.app import review_app
from tests.patience import wait_until
from tests.review.desks import Browser, Desk, a_desk
from tests.serving import Serving


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with a_desk(tmp_path) as made:
        yield made


class Switch:
    """One server for all tests: starting and stopping one costs more than most of them."""

    def __init__(self) -> None:
        self.app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self.app is not None:
            await self.app(scope, receive, send)


@pytest.fixture(scope="session")
def switch() -> Iterator[tuple[Switch, str]]:
    made = Switch()
    with Serving(made, lifespan="off") as server:
        yield made, server.url


@pytest.fixture
def origin(desk: Desk, switch: tuple[Switch, str]) -> Iterator[str]:
    switch[0].app = review_app(desk)
    yield switch[1]
    switch[0].app = None


@pytest.fixture
def browser(origin: str) -> Iterator[Browser]:
    with Browser(origin) as made:
        yield made


@pytest.fixture
def ada(browser: Browser) -> Browser:
    """A browser in which Ada is logged in."""
    assert browser.log_in("ada").status_code == 303
    return browser


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Wait for what another task does in its own time."""
    return wait_until
