"""The headers stand on every answer, whatever it is."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from feedback_guard.review.app import review_app
from feedback_guard.review.headers import CSP, CSP_RAW, SecurityHeaders
from tests.review.desks import TOKENS, Browser, Desk, a_desk, hold, serving

EVERYWHERE = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
}


def test_the_policy_allows_no_script_no_style_from_elsewhere_and_no_frame() -> None:
    directives = dict(part.strip().partition(" ")[::2] for part in CSP.split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["script-src"] == "'none'"
    assert directives["style-src"] == "'self'"
    for name in ("img-src", "connect-src", "frame-ancestors", "base-uri"):
        assert directives[name] == "'none'"
    assert directives["form-action"] == "'self'"
    assert "unsafe" not in CSP
    assert CSP_RAW.endswith("sandbox"), "a sandbox without a single allowance"


def test_on_every_answer(desk: Desk, ada: Browser) -> None:
    hold(desk, "item-1")
    fields = ada.form("/items/item-1")
    bearer = {"Authorization": f"Bearer {TOKENS['ada']}"}
    with Browser(ada.origin) as stranger:
        answers = {
            200: [
                ada.get("/"),
                ada.get("/items/item-1"),
                ada.get("/items/item-1/full"),
                ada.get("/items/item-1/raw"),
                ada.get("/decided"),
                stranger.get("/login"),
                stranger.get("/static/review.css"),
                stranger.get("/metrics"),
                stranger.get("/healthz"),
                stranger.http.get("/api/v1/held", headers=bearer),
                stranger.http.get("/api/v1/items/item-1", headers=bearer),
                ada.http.head("/"),
            ],
            303: [ada.post("/items/item-1/approve", fields)],
            400: [ada.get("/?after=%27")],
            401: [
                stranger.get("/"),
                stranger.get("/api/v1/held"),
                stranger.post("/login", {"secret": "x"}),
                stranger.http.post("/api/v1/items/item-1/deny", json={}),
            ],
            403: [ada.post("/logout", {}, {}), ada.post("/logout", {"token": "x"})],
            404: [ada.get("/nothing"), ada.get("/items/nothing"), stranger.http.get("/api/v1/x", headers=bearer)],
            405: [ada.http.delete("/"), ada.http.put("/metrics"), ada.http.get("/logout")],
            409: [ada.post("/items/item-1/approve", fields)],
            413: [ada.post("/items/item-1/approve", {"note": "x" * 70_000})],
            415: [ada.http.post("/logout", json={}, headers={"Sec-Fetch-Site": "same-origin"})],
            422: [stranger.http.post("/api/v1/items/item-1/deny", json={}, headers=bearer)],
        }
    for status, found in answers.items():
        for answer in found:
            assert answer.status_code == status, answer.url
            _complete(answer)


def _complete(answer: object) -> None:
    headers = answer.headers  # type: ignore[attr-defined]
    for name, value in EVERYWHERE.items():
        assert headers.get_list(name) == [value], name
    policies = headers.get_list("content-security-policy")
    assert policies in ([CSP], [CSP_RAW])


def test_on_failures_too_and_the_log_quotes_nobody(
    desk: Desk, ada: Browser, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hold(desk, "item-1")
    secret_text = "a text that a user sent"

    def broken(*_: object, **__: object) -> None:
        raise ValueError(secret_text)

    for name, path in (
        ("held", "/"),
        ("held_summary", "/healthz"),
        ("held_summary", "/metrics"),
        ("submission", "/items/x"),
    ):
        with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
            patch.setattr(desk.store, name, broken)
            answer = ada.get(path)
        assert answer.status_code == 500
        assert secret_text not in answer.text
        assert "Traceback" not in answer.text
        _complete(answer)
    assert "ValueError" in caplog.text
    assert "review" in caplog.text
    mine = [record for record in caplog.records if record.name.startswith("feedback_guard")]
    assert mine
    assert not any(secret_text in record.getMessage() for record in mine)


def test_over_plain_http_the_origin_is_kept_for_our_own_site(tmp_path: Path) -> None:
    with (
        a_desk(tmp_path, secure_cookies=False) as desk,
        serving(review_app(desk)) as origin,
        Browser(origin) as browser,
    ):
        assert browser.get("/login").headers["referrer-policy"] == "same-origin"


def test_a_failure_after_the_answer_began_is_not_answered_twice(caplog: pytest.LogCaptureFixture) -> None:
    told = ["too late"]

    async def half(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})
        raise ValueError(told[0])

    with serving(SecurityHeaders(half, secure=True)) as origin, Browser(origin) as browser:
        answer = browser.get("/")
        assert answer.status_code == 200
        _complete(answer)
    assert "too late" not in caplog.text
    assert "ValueError" in caplog.text


async def _live(receive: Receive, send: Send) -> None:
    for _ in range(2):
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
