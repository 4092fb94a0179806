from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from feedback_guard.review.app import review_app
from tests.review.desks import Browser, Desk, a_desk, serving


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with a_desk(tmp_path) as made:
        yield made


@pytest.fixture
def origin(desk: Desk) -> Iterator[str]:
    with serving(review_app(desk)) as made:
        yield made


@pytest.fixture
def browser(origin: str) -> Iterator[Browser]:
    with Browser(origin) as made:
        yield made


@pytest.fixture
def ada(browser: Browser) -> Browser:
    """A browser in which Ada is logged in."""
    assert browser.log_in("ada").status_code == 303
    return browser
