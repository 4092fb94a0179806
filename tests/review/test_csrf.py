"""No other site can make a moderator's browser decide, log in, or log out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from feedback_guard.review.app import review_app
from feedback_guard.review.csrf import cross_site, matches, token
from tests.review.desks import TOKENS, Browser, Desk, a_desk, hold, serving, stored

FOREIGN: list[Mapping[str, str]] = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": ""},
    {"Sec-Fetch-Site": "Same-Origin"},
    {"Sec-Fetch-Site": "same-origin, cross-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "OWN"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "https://evil.example"},
    {"Origin": "https://OWN.evil.example"},
    {"Origin": "https://evil.example/OWN"},
    {"Origin": "https://user@OWN"},
    {"Origin": "https://OWN/"},
    {"Origin": "https://OWN:1"},
    {"Origin": "ftp://OWN"},
    {"Origin": "https://["},
    {"Origin": "OWN"},
    {"Referer": "https://OWN/"},
    {},
]


def _filled(headers: Mapping[str, str], origin: str) -> dict[str, str]:
    return {name: value.replace("OWN", origin.removeprefix("http://")) for name, value in headers.items()}


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_from_elsewhere_nothing_is_done_even_with_every_token(
    desk: Desk, ada: Browser, headers: Mapping[str, str]
) -> None:
    hold(desk, "item-1")
    fields = ada.form("/items/item-1")
    given = _filled(headers, ada.origin)
    for path, form in (
        ("/items/item-1/approve", fields),
        ("/items/item-1/deny", fields),
        ("/logout", fields),
        ("/login", {"secret": TOKENS["bob"]}),
    ):
        answer = ada.post(path, form, given)
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers
    assert stored(desk, "item-1").held
    assert ada.get("/").status_code == 200, "still logged in"


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "null"},
        {"Origin": "http://OWN"},
        {"Origin": "https://OWN"},
    ],
    ids=str,
)
def test_from_our_own_pages_it_is(desk: Desk, ada: Browser, headers: Mapping[str, str]) -> None:
    hold(desk, "item-1")
    fields = ada.form("/items/item-1")
    assert ada.post("/items/item-1/approve", fields, _filled(headers, ada.origin)).status_code == 303


def test_a_header_that_stands_twice_counts_by_its_worst_value() -> None:
    def why(*pairs: tuple[str, str]) -> str | None:
        return cross_site(Headers(raw=[(k.encode(), v.encode()) for k, v in pairs]), https_only=False)

    assert why(("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site"))
    assert why(("host", "a"), ("origin", "http://a"), ("origin", "http://b"))
    assert why(("host", "a"), ("host", "b"), ("origin", "http://a"))
    assert why(("origin", "http://a"))
    assert why(("host", "a:80"), ("origin", "http://a")) is None


def test_plain_http_is_refused_where_https_is_expected() -> None:
    headers = Headers({"host": "review.example", "origin": "http://review.example"})
    assert cross_site(headers, https_only=True)
    assert cross_site(headers, https_only=False) is None


@pytest.mark.parametrize("secure", [True, False])
def test_a_token_serves_one_session_and_one_purpose(tmp_path: Path, secure: bool) -> None:
    with a_desk(tmp_path, secure_cookies=secure) as desk, serving(review_app(desk)) as origin:
        hold(desk, "item-1")
        hold(desk, "item-2")
        with Browser(origin) as ada, Browser(origin) as bob:
            ada.log_in("ada")
            bob.log_in("bob")
            mine, his, other = ada.form("/items/item-1"), bob.form("/items/item-1"), ada.form("/items/item-2")
            wrong = [
                mine | {"approve_token": his["approve_token"]},
                mine | {"approve_token": other["approve_token"]},
                mine | {"approve_token": mine["deny_token"]},
                mine | {"approve_token": mine["token"]},
                mine | {"approve_token": ""},
                mine | {"approve_token": "é"},
                mine | {"version": "2"},
                mine | {"content": other["content"]},
                {name: value for name, value in mine.items() if name != "approve_token"},
            ]
            for fields in wrong:
                assert ada.post("/items/item-1/approve", fields).status_code == 403
            assert ada.post("/logout", {"token": his["token"]}).status_code == 403
            assert stored(desk, "item-1").held
            assert ada.post("/items/item-1/approve", mine).status_code == 303


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/items/item-1/approve", "/items/item-1/deny", "/logout"])
def test_only_post_changes_anything(desk: Desk, ada: Browser, method: str, path: str) -> None:
    hold(desk, "item-1")
    assert ada.http.request(method, path, params=ada.form("/items/item-1")).status_code == 405
    assert stored(desk, "item-1").held
    assert ada.get("/").status_code == 200


def test_a_bearer_token_is_exempt_only_without_a_cookie(desk: Desk, browser: Browser) -> None:
    hold(desk, "item-1")
    hold(desk, "item-2")
    bearer = {"Authorization": "Bearer fg_token-of-ada"}

    def approve(ident: str, **headers: str) -> int:
        return browser.http.post(
            f"/api/v1/items/{ident}/approve", json={"version": 1}, headers=bearer | headers
        ).status_code

    assert approve("item-1", Cookie="anything=1") == 403
    assert approve("item-1", Cookie="anything=1", **{"Sec-Fetch-Site": "cross-site"}) == 403
    assert approve("item-1", Cookie="anything=1", Origin="https://evil.example") == 403
    assert stored(desk, "item-1").held
    assert approve("item-1", Cookie="anything=1", **{"Sec-Fetch-Site": "same-origin"}) == 200
    assert approve("item-2") == 200


def test_a_session_cookie_does_not_open_the_api(desk: Desk, ada: Browser) -> None:
    hold(desk, "item-1")
    assert ada.get("/api/v1/held").status_code == 401
    answer = ada.http.post(
        "/api/v1/items/item-1/approve", json={"version": 1}, headers={"Sec-Fetch-Site": "same-origin"}
    )
    assert answer.status_code == 401


def test_tokens_are_compared_as_bytes() -> None:
    assert matches(b"key", "x", token(b"key", "x"))
    assert not matches(b"key", "x", token(b"kez", "x"))
    assert not matches(b"key", "x", "ÿ" * 64)
    assert not matches(b"key", "x", "\ud800")
