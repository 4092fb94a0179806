"""The pages in a real browser: nothing that a user sends runs, loads or passes for ours, and they are usable."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Dialog, Page, sync_playwright
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from feedback_guard.contribution import Contribution, Kind
from feedback_guard.review.app import review_app
from feedback_guard.store.campaigns import Told
from feedback_guard.store.states import Delivery
from feedback_guard.verdict import Reason
from tests.patience import PATIENCE_SECONDS
from tests.review.desks import REASON, TOKENS, Desk, a_contribution, a_desk, decide, deliver, hold, serving, stored
from tests.review.payloads import PAYLOADS
from tests.review.probes import ATTACK, CONTRAST, FOREIGN, HANDLERS, WATCH

pytestmark = pytest.mark.browser

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    *"--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking".split(),
    *"--disable-component-update --disable-sync --disable-dev-shm-usage".split(),
    # The tests' servers listen there, and nowhere else: at the same port of ::1 may be whoever else runs here.
    "--host-resolver-rules=MAP *.test 127.0.0.1, MAP localhost 127.0.0.1",
]


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


class Watched:
    """A page with everything noted that must not happen."""

    def __init__(self, chromium: Chromium, origin: str, **context: Any) -> None:
        self.origin = origin
        self.context = chromium.new_context(**context)
        self.context.set_default_timeout(PATIENCE_SECONDS * 1_000)
        self.page: Page = self.context.new_page()
        self.page.add_init_script(WATCH)
        self.dialogs: list[str] = []
        self.requests: list[str] = []
        self.console: list[str] = []
        self.page.on("dialog", self._dismiss)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.console.append(message.text))

    def _dismiss(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def go(self, path: str) -> None:
        self.page.goto(self.origin + path)

    def log_in(self, name: str = "ada") -> None:
        self.go("/login")
        self.page.get_by_label("Moderator token").fill(TOKENS[name])
        self.page.get_by_role("button", name="Log in").click()
        self.page.get_by_role("heading", name="Held for review").wait_for()

    def assert_inert(self) -> None:
        assert self.page.evaluate("window.pwned") is None
        assert self.page.evaluate("window.violations") == []
        assert self.page.evaluate(HANDLERS) == []
        assert self.page.locator(FOREIGN).count() == 0
        assert self.page.locator("h1").count() == 1
        assert self.page.locator("form:not([action^='/'])").count() == 0
        assert self.dialogs == []
        assert not [url for url in self.requests if not url.startswith(self.origin)]
        assert not [text for text in self.console if "Content Security Policy" in text or "Refused" in text]


@pytest.fixture
def watched(chromium: Chromium, origin: str) -> Iterator[Watched]:
    made = Watched(chromium, origin)
    yield made
    made.context.close()


def _everywhere(number: int, text: str) -> list[Contribution]:
    """A contribution of each kind with a text in every field that a user or an application fills."""
    common: dict[str, Any] = {
        "contributor": text[:256],
        "input": text,
        "interaction": text[:256],
        "model": text[:256],
        "groups": {text[:256]: text[:256]},
        "metadata": {text: {text: [text]}},
        "label": None,
    }
    by_kind: dict[Kind, dict[str, Any]] = {
        Kind.LABEL: {"label": text[:256]},
        Kind.RATING: {"output": text, "rating": 1.0},
        Kind.CORRECTION: {"output": text, "rejected": text},
        Kind.PREFERENCE: {"chosen": text, "rejected": text},
        Kind.DEMONSTRATION: {"output": text},
    }
    return [
        a_contribution(f"{number}-{kind.value}-{text[:100]}", kind=kind, **(common | own))
        for kind, own in by_kind.items()
    ]


def test_nothing_that_a_user_sends_runs_or_loads(desk: Desk, watched: Watched) -> None:
    assert len(set(PAYLOADS)) >= 60
    idents = []
    for start in range(0, len(PAYLOADS), 10):
        chunk = PAYLOADS[start : start + 10]
        reasons = tuple(Reason(text, text, 0.001, f"phrase:{text}") for text in chunk)
        items = [item for number, text in enumerate(chunk, start) for item in _everywhere(number, text)]
        idents.append(hold(desk, f"item-{start}", *items, reasons=reasons))
    # A row of its own in the list for each of them, and a decision with a note and a name.
    for number, text in enumerate(PAYLOADS):
        ident = hold(
            desk, f"single-{number}", a_contribution(f"single-{number}", input=text, contributor=text, label=text)
        )
        if number % 4 == 0:
            decide(desk, ident, approve=True, moderator=text, note=text)
            desk.store.submit(
                lambda tx: tx.claim_approved("w", now_us=1, limit=1, application="a", routes=["feedback"])
            ).result()
            deliver(desk, ident, Delivery.UNKNOWN, {text: text, "list": [text]})
    watched.log_in()
    for path in ("/", "/?after=single-50", "/decided", *[f"/items/{ident}" for ident in idents], "/items/single-0"):
        watched.go(path)
        watched.assert_inert()
    watched.go(f"/items/{idents[0]}")
    shown = watched.page.locator("main").inner_text()
    for text in PAYLOADS[:10]:
        assert shown.count(text.replace("\x0b", "VT")) >= 10, "shown as it is, in each field"
    watched.go(f"/items/{idents[0]}/full")
    sheets = 1
    watched.assert_inert()
    while watched.page.get_by_role("link", name="Next sheet").count():
        watched.page.get_by_role("link", name="Next sheet").click()
        watched.assert_inert()
        sheets += 1
    assert sheets > 1
    watched.go(f"/items/{idents[-1]}/raw")
    assert watched.page.evaluate("document.contentType") == "text/plain"
    assert watched.page.locator("script, img, svg").count() == 0
    assert watched.page.evaluate("window.pwned") is None


def test_login_list_open_approve_with_the_keyboard(desk: Desk, watched: Watched) -> None:
    hold(desk, "item-1")
    watched.go("/items/item-1")
    page = watched.page
    page.locator("#secret:focus").wait_for()  # nobody has to click into the field
    page.keyboard.type(TOKENS["ada"])
    assert page.get_by_label("Moderator token").input_value() == TOKENS["ada"]
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Held item").wait_for()
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to the content"
    page.keyboard.press("Enter")
    page.locator("#main:focus").wait_for()  # the browser follows a link in its own time
    page.get_by_label("Note").focus()
    page.keyboard.type("two\nlines")
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Deny"
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Approve"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.get_by_text("The item is approved.").wait_for()
    assert stored(desk, "item-1").delivery is Delivery.APPROVED
    assert '"note":"two\\nlines"' in desk.store.history("item-1-c0")[-1].body
    page.go_back()
    page.get_by_role("link", name="Decided").click()
    page.get_by_text("approved, waiting").wait_for()
    page.get_by_role("button", name="Log out").click()
    page.get_by_label("Moderator token").wait_for()
    watched.go("/")
    assert page.get_by_label("Moderator token").count() == 1
    watched.assert_inert()


def test_a_decision_on_a_stale_page(desk: Desk, watched: Watched) -> None:
    hold(desk, "item-1")
    watched.log_in()
    watched.go("/items/item-1")
    decide(desk, "item-1", approve=False)
    watched.page.get_by_role("button", name="Approve").click()
    watched.page.get_by_role("heading", name="Somebody was faster").wait_for()
    watched.page.get_by_role("link", name="See how it stands now").click()
    watched.page.get_by_role("heading", name="Item").wait_for()
    assert stored(desk, "item-1").delivery is Delivery.DENIED


class Recorder:
    """Notes how each decision was answered, which a browser does not always tell another site's page."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.statuses: list[int] = []
        self.answered = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.statuses.append(message["status"])
            await send(message)
            if message["type"] == "http.response.body":
                self.answered.set()

        decides = scope["type"] == "http" and scope["path"].endswith("/approve")
        await self.app(scope, receive, noting if decides else send)


@pytest.mark.parametrize("host", ["localhost", "evil.test"])
@pytest.mark.parametrize(
    ("extra", "act"),
    [
        ("", "f.submit()"),
        ("enctype='text/plain'", "f.submit()"),
        # Once the frame is there: a form that was sent to it before would be dropped with the empty document that the
        # frame's own first one takes the place of.
        ("target='framed'", "addEventListener('load', () => f.submit())"),
        (
            "",
            "fetch(f.action, {method: 'POST', credentials: 'include', mode: 'no-cors', "
            "body: new URLSearchParams(new FormData(f))})",
        ),
    ],
    ids=["form", "text", "frame", "fetch"],
)
def test_another_site_decides_nothing_even_with_a_stolen_token(
    desk: Desk, chromium: Chromium, host: str, extra: str, act: str
) -> None:
    hold(desk, "item-1")
    recorder = Recorder(review_app(desk))
    with serving(recorder) as origin:
        watched = Watched(chromium, origin)
        try:
            watched.log_in()
            watched.go("/items/item-1")
            token = watched.page.locator("[name=approve_token]").get_attribute("value")
            content = watched.page.locator("[name=content]").get_attribute("value")

            async def kittens(_: Request) -> Response:
                return HTMLResponse(ATTACK.format(target=origin, extra=extra, act=act, token=token, content=content))

            with serving(Starlette(routes=[Route("/", kittens)])) as evil:
                watched.page.goto(evil.replace("127.0.0.1", host), wait_until="commit")
                assert recorder.answered.wait(PATIENCE_SECONDS)
            assert recorder.statuses == [403]
            assert stored(desk, "item-1").held
            again = watched.context.new_page()
            again.goto(origin)
            assert again.get_by_role("heading", name="Held for review").count() == 1, "still logged in"
        finally:
            watched.context.close()


def test_it_cannot_be_framed(desk: Desk, watched: Watched) -> None:
    async def frame(_: Request) -> Response:
        return HTMLResponse(f"<!doctype html><iframe src='{watched.origin}/login'></iframe>")

    with serving(Starlette(routes=[Route("/", frame)])) as evil:
        watched.page.goto(evil)
        watched.page.wait_for_load_state("networkidle")
        inner = watched.page.frames[1]
        assert "Moderator token" not in inner.content()


def test_over_plain_http_beyond_localhost(tmp_path: Path, chromium: Chromium) -> None:
    # Browsers send no Sec-Fetch-Site there, so the defence rests on Origin.
    with a_desk(tmp_path, secure_cookies=False) as desk, serving(review_app(desk)) as origin:
        hold(desk, "item-1")
        watched = Watched(chromium, origin.replace("127.0.0.1", "review.test"))
        try:
            watched.log_in()
            watched.go("/items/item-1")
            watched.page.get_by_role("button", name="Deny").click()
            watched.page.get_by_text("The item is denied.").wait_for()
            assert watched.page.evaluate("isSecureContext") is False
        finally:
            watched.context.close()


def test_a_bidirectional_override_reorders_nothing(desk: Desk, watched: Watched) -> None:
    hold(desk, "item-1", a_contribution("c", input="abc\u202edef\u202cghi", label="x\u2066y"))
    watched.log_in()
    watched.go("/items/item-1")
    box = watched.page.locator(".text").first
    assert box.inner_text() == "abcRLOdefPDFghi"
    lefts = box.evaluate(
        """box => [...box.childNodes].map(node => {
            const range = document.createRange(); range.selectNodeContents(node);
            return range.getBoundingClientRect().left; })"""
    )
    assert lefts == sorted(lefts), "drawn in the order in which it was sent"
    assert not watched.page.evaluate("/[\\u200b-\\u200f\\u202a-\\u202e\\u2066-\\u2069]/.test(document.body.innerHTML)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_legible_at_every_width_in_both_modes(
    desk: Desk, origin: str, chromium: Chromium, scheme: str, width: int
) -> None:
    reasons = (REASON, Reason("near_duplicate", "Many sent it.", 1e-9, "family:" + "f" * 64))
    text = "pаypal \u202e" + "x" * 300 + "\n" * 5 + "W" * 400
    hold(
        desk,
        "item-1",
        a_contribution("c" * 64, input=text, contributor="u" * 256, metadata={"k": "v"}),
        reasons=reasons,
    )
    for number, approve in enumerate((True, False)):
        ident = hold(desk, f"done-{number}", a_contribution(f"done-{number}"))
        decide(desk, ident, approve=approve, note="n" * 300)
    desk.store.submit(
        lambda tx: tx.claim_approved("w", now_us=1, limit=9, application="a", routes=["feedback"])
    ).result()
    deliver(desk, "done-0", Delivery.UNKNOWN, {"reason": "gone"})
    _campaign(desk, "campaign-" + "c" * 64, [text, "W" * 400, "short"])
    watched = Watched(chromium, origin, color_scheme=scheme, viewport={"width": width, "height": 800})
    try:
        watched.go("/")
        assert watched.page.evaluate(CONTRAST) == []
        watched.log_in()
        for path in (
            "/",
            "/decided",
            "/undelivered",
            "/campaigns",
            "/campaigns/campaign-" + "c" * 64,
            "/campaigns/campaign-" + "c" * 64 + "/confirm?do=approve&which=all&version=1&fence=9",
            "/items/item-1",
            "/items/item-1/full",
            "/items/done-0",
            "/items/nothing",
        ):
            watched.go(path)
            assert watched.page.evaluate(CONTRAST) == [], path
            assert watched.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
            assert watched.page.evaluate("document.documentElement.lang") == "en"
            unlabelled = "input:not([type=hidden]):not([hidden]), textarea, select"
            for field in watched.page.locator(unlabelled).all():
                assert field.evaluate("field => field.labels.length") == 1
            levels = watched.page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(h => +h.tagName[1])")
            assert levels[0] == 1
            assert all(after - before <= 1 for before, after in pairwise(levels)), path
    finally:
        watched.context.close()


def _campaign(desk: Desk, name: str, texts: list[str]) -> None:
    """A campaign whose members, phrases and lessons are all what somebody sent."""
    for number, text in enumerate(texts):
        item = a_contribution(
            f"{name}-c{number}", input=text, label=text[:256], contributor=text[:256], groups={text[:256]: text[:256]}
        )
        hold(desk, f"{name}-{number}", item, campaign=name)
    kinds = ("word", "pair", "shape", "sender")
    summary = {
        "teaches": [[text, 3] for text in texts],
        "shares": [
            {"kind": kinds[n % 4], "phrase": text, "n": 9, "trusted": 0, "contrary": 0.9}
            for n, text in enumerate(texts)
        ],
        "log_e": 43.2,
        "spared": 2,
        "honest": 1.4,
        "expected": 0.4,
        "seen": 800,
        "trusted": 400,
    }
    contrary = tuple((f"{name}-c{number}", 100 * number - 300) for number in range(len(texts) - 1))
    told = Told(name, 9, True, json.dumps(summary), contrary)
    desk.store.submit(lambda tx: tx.tell([told])).result()


def test_a_campaign_of_hostile_texts_is_inert(desk: Desk, watched: Watched) -> None:
    for start in range(0, len(PAYLOADS), 20):
        _campaign(desk, f"campaign-{start}", [text for text in PAYLOADS[start : start + 20] if text])
    watched.log_in()
    watched.assert_inert()
    watched.go("/campaigns")
    watched.assert_inert()
    for start in range(0, len(PAYLOADS), 20):
        for path in ("", "?show=held", "/confirm?do=deny&which=all&version=1&fence=999"):
            watched.go(f"/campaigns/campaign-{start}{path}")
            watched.assert_inert()
    note = PAYLOADS[0] + "\u202e<script>alert(1)</script>"
    watched.page.get_by_label("Note").fill(note)
    watched.page.get_by_role("button", name="Deny all").click()
    watched.page.get_by_role("status").wait_for()
    watched.assert_inert()
    assert "contributions denied." in watched.page.get_by_role("status").inner_text()


def test_a_campaign_is_decided_with_the_keyboard_and_without_any_script(
    desk: Desk, origin: str, chromium: Chromium
) -> None:
    _campaign(desk, "campaign-1", [f"my zq card {number}" for number in range(6)])
    context = chromium.new_context(java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(origin + "/login")
        page.get_by_label("Moderator token").fill(TOKENS["ada"])
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("link", name="Decide on them together").click()
        page.get_by_role("link", name="my zq card 0").click()
        page.get_by_label("Tick member 2").check()
        page.get_by_label("Tick member 5").check()
        page.get_by_label("Those that are ticked").focus()
        page.keyboard.press("Space")
        page.get_by_role("button", name="Approve…").focus()
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Approve 2 contributions?").wait_for()
        page.get_by_label("Note").fill("two customers")
        page.get_by_role("button", name="Approve all 2").click()
        assert "2 contributions approved." in page.get_by_role("status").inner_text()
        hold(desk, "late", a_contribution("late"), campaign="campaign-1")
        page.get_by_role("button", name="Deny…").click()
        page.get_by_role("button", name="Deny all 4").click()
        said = page.get_by_role("status").inner_text()
        assert "4 contributions denied. 1 held member joined after you had opened the page, and still waits." in said
        delivered = [stored(desk, f"campaign-1-{number}").delivery for number in range(6)]
        assert [number for number in range(6) if delivered[number] is Delivery.APPROVED] == [1, 4]
        assert stored(desk, "late").held
        page.get_by_role("link", name="Take it back…").first.click()
        page.get_by_role("button", name="Approve all 4").click()
        assert "4 contributions approved." in page.get_by_role("status").inner_text()
    finally:
        context.close()


def test_a_request_that_did_not_arrive_goes_on_without_any_script(desk: Desk, origin: str, chromium: Chromium) -> None:
    hold(desk, "item-1", a_contribution("c1"))
    decide(desk, "item-1", approve=True)
    desk.store.submit(
        lambda tx: tx.claim_approved("w", now_us=1, limit=1, application="a", routes=["feedback"])
    ).result()
    deliver(desk, "item-1", Delivery.UNKNOWN, {"reason": "its lease ran out"})
    context = chromium.new_context(java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(origin + "/login")
        page.get_by_label("Moderator token").fill(TOKENS["ada"])
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("link", name="Undelivered").click()
        page.get_by_role("link", name="where is my card?").click()
        page.locator("#way-note").fill("it is not in the queue")
        page.get_by_role("button", name="It did not, send it again").click()
        page.get_by_role("heading", name="Undelivered").wait_for()
        assert "waits for the application to take it" in page.get_by_role("status").inner_text()
        assert stored(desk, "item-1").delivery is Delivery.APPROVED
        page.get_by_role("link", name="Open it").click()
        assert "it is not in the queue" in page.locator(".log").last.inner_text()
    finally:
        context.close()
