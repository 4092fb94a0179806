"""Forms as a real browser sends them, by its own button and by script."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page, sync_playwright
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route

from feedback_guard.middleware.asgi import FeedbackGuardMiddleware
from tests.middleware.fakes import FakeGuard, make_policy
from tests.patience import PATIENCE_SECONDS
from tests.serving import Serving

pytestmark = pytest.mark.browser
CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--no-proxy-server"]
TEXT = 'two lines\nä 😀 & = + % ; "quoted" \\ --'
PAGE = """
<meta charset="utf-8">
<form id="f" method="post" action="/feedback" enctype="{media}">
<textarea name="input"></textarea><input name="label"><input name="comment"><input type="hidden" name="_charset_">
<input type="checkbox" name="tags[]" value="a" checked><input type="checkbox" name="tags[]" value="b" checked>
<input type="file" name="shot"><button>Send</button>
</form>
"""
ROUTE = {
    "name": "f",
    "path": "/feedback",
    "accepts": ["urlencoded", "multipart"],
    "form": {"files": 1, "lists": ["tags[]"]},
    "extract": "{kind: 'label', input: input, label: label, metadata: {tags: \"tags[]\", comment: comment}}",
}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    if not CHROMIUM.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{CHROMIUM} is missing; CI installs the Debian package chromium")
        pytest.skip(f"{CHROMIUM} is missing; install the Debian package chromium to run this")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=ARGUMENTS, timeout=PATIENCE_SECONDS * 1_000
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def serving() -> Iterator[tuple[Serving, FakeGuard, list[Any]]]:
    read: list[Any] = []

    async def page(request: Request) -> HTMLResponse:
        return HTMLResponse(PAGE.format(media=request.query_params.get("media", "")))

    async def feedback(request: Request) -> PlainTextResponse:
        async with request.form() as form:
            read.append([(name, value) for name, value in form.multi_items() if isinstance(value, str)])
        return PlainTextResponse("thanks")

    guard = FakeGuard(make_policy([ROUTE]))
    app = Starlette(routes=[Route("/", page), Route("/feedback", feedback, methods=["POST"])])
    with Serving(FeedbackGuardMiddleware(app, guard=guard), lifespan="off") as server:
        yield server, guard, read


SCRIPTS = {
    "button": None,
    "FormData": "fetch('/feedback', {method: 'post', body: new FormData(f)}).then(r => document.title = r.status)",
    "URLSearchParams": (
        "(() => { const d = new FormData(f); d.delete('shot');"
        " fetch('/feedback', {method: 'post', body: new URLSearchParams(d)}).then(r => document.title = r.status) })()"
    ),
}


@pytest.mark.parametrize("with_file", [False, True])
@pytest.mark.parametrize("media", ["application/x-www-form-urlencoded", "multipart/form-data"])
@pytest.mark.parametrize("way", SCRIPTS)
def test_a_form_of_a_browser_is_taken_and_read_as_the_application_reads_it(
    chromium: Chromium, serving: tuple[Serving, FakeGuard, list[Any]], media: str, way: str, with_file: bool
) -> None:
    server, guard, read = serving
    before = len(guard.kept)
    read.clear()
    page: Page = chromium.new_page()
    page.set_default_timeout(PATIENCE_SECONDS * 1_000)
    page.goto(f"{server.url}/?media={media}")
    page.fill("[name=input]", TEXT)
    page.fill("[name=label]", "card_arrival")
    if with_file:
        page.set_input_files("[name=shot]", {"name": "ä b.png", "mimeType": "image/png", "buffer": b"\x89PNG\x00--"})
    script = SCRIPTS[way]
    if script is None:
        page.click("button")
        page.wait_for_url("**/feedback")
        assert page.inner_text("body") == "thanks"
    else:
        page.evaluate(script)
        page.wait_for_function("document.title == '200'")
    page.close()
    assert len(guard.kept) == before + 1
    (contribution,) = guard.kept[f"s-{before + 1}"].submission.contributions
    (fields,) = read
    assert contribution.input == dict(fields)["input"]
    assert contribution.input.replace("\r\n", "\n") == TEXT
    assert contribution.metadata == {"tags": ["a", "b"], "comment": ""}
    assert [value for name, value in fields if name == "tags[]"] == ["a", "b"]
