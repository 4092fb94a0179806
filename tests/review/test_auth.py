"""Only moderators get in, and guessing is bounded per network."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from feedback_guard.review import bounds
from feedback_guard.review.app import review_app
from feedback_guard.review.auth import MAX_TOKEN_CHARS, Doorkeeper, network_of, new_token
from feedback_guard.review.bounds import MAX_BODY_BYTES
from tests.review.desks import TOKENS, Browser, Desk, a_desk, a_policy, hold, serving, stored
from tests.serving import Client, head

ATTEMPTS = 10


def _guess(browser: Browser, secret: str = "fg_wrong") -> int:
    return browser.post("/login", {"secret": secret}).status_code


@pytest.mark.parametrize(
    "secret", ["", "fg_wrong", "fg_token-of-ad", "fg_token-of-ada ", "FG_TOKEN-OF-ADA", "\x00", "é"]
)
def test_a_wrong_token_is_no_login(browser: Browser, secret: str) -> None:
    answer = browser.post("/login", {"secret": secret})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "not the token of a moderator" in answer.text
    assert secret not in answer.text or not secret.strip()


def test_the_digest_in_the_policy_is_not_the_token(desk: Desk, browser: Browser) -> None:
    assert _guess(browser, desk.policy.review.moderators[0].token_sha256) == 401


def test_no_more_guesses_than_the_policy_allows(desk: Desk, browser: Browser) -> None:
    assert [_guess(browser) for _ in range(ATTEMPTS + 3)] == [401] * ATTEMPTS + [429] * 3
    answer = browser.log_in("ada")
    assert answer.status_code == 429, "a right guess is refused too, or the bound would bound nothing"
    assert answer.headers["retry-after"] == "60"
    bearer = browser.http.get("/api/v1/held", headers={"Authorization": f"Bearer {TOKENS['ada']}"})
    assert (bearer.status_code, bearer.headers["retry-after"]) == (429, "60")
    desk.clock.advance(59.999)
    assert browser.log_in("ada").status_code == 429
    desk.clock.advance(0.001)
    assert browser.log_in("ada").status_code == 303


def test_guesses_at_the_api_count_too(desk: Desk, browser: Browser) -> None:
    def guess() -> int:
        return browser.http.get("/api/v1/held", headers={"Authorization": "Bearer fg_wrong"}).status_code

    assert [guess() for _ in range(ATTEMPTS + 1)] == [401] * ATTEMPTS + [429]
    assert browser.log_in("ada").status_code == 429


@pytest.mark.parametrize("path", ["login", "api"])
def test_parallel_guesses_do_not_get_past_the_bound(origin: str, path: str) -> None:
    def guess(number: int) -> int:
        with Browser(origin) as browser:
            # The right token comes after as many wrong ones as are allowed.
            secret = "fg_wrong" if number < 30 else TOKENS["ada"]
            if path == "login":
                return _guess(browser, secret)
            return browser.http.get("/api/v1/held", headers={"Authorization": f"Bearer {secret}"}).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(guess, range(30)))
        assert statuses.count(401) == ATTEMPTS
        assert statuses.count(429) == 30 - ATTEMPTS
        assert list(pool.map(guess, range(30, 32))) == [429, 429]


def test_failures_elsewhere_lock_nobody_out(tmp_path: Path) -> None:
    with a_desk(tmp_path) as desk:
        inner = review_app(desk)

        def coming_from(host: str) -> ASGIApp:
            async def app(scope: Scope, receive: Receive, send: Send) -> None:
                await inner({**scope, "client": (host, 1)} if scope["type"] == "http" else scope, receive, send)

            return app

        with (
            serving(coming_from("198.51.100.7")) as bad,
            serving(coming_from("192.0.2.7")) as good,
            Browser(bad) as attacker,
            Browser(good) as ada,
        ):
            for _ in range(ATTEMPTS + 5):
                _guess(attacker)
            # A header does not make it another network.
            answer = attacker.post(
                "/login",
                {"secret": TOKENS["ada"]},
                {"Sec-Fetch-Site": "same-origin", "X-Forwarded-For": "192.0.2.7", "Forwarded": "for=192.0.2.7"},
            )
            assert answer.status_code == 429
            assert ada.log_in("ada").status_code == 303


def test_a_login_clears_no_failures_of_others(desk: Desk, browser: Browser) -> None:
    for _ in range(ATTEMPTS - 1):
        _guess(browser)
    assert browser.log_in("ada").status_code == 303
    assert _guess(browser) == 401
    assert _guess(browser) == 429, "a moderator's login in between does not refill the guesses of her network"


def test_networks() -> None:
    assert network_of("192.0.2.1") == network_of("192.0.2.254") != network_of("192.0.3.1")
    assert network_of("::ffff:192.0.2.1") == "192.0.2.0/24"
    assert network_of("2001:db8:1:2::1") == network_of("2001:db8:1:ffff::1") != network_of("2001:db8:2::1")
    assert network_of("fe80::1%eth0") == "fe80::/48"
    assert network_of("not an address") == "other"


def test_every_entry_is_compared() -> None:
    keeper = Doorkeeper(a_policy("sqlite:///:memory:").review)
    assert [keeper.recognise(token) for token in TOKENS.values()] == ["ada", "bob"]
    assert keeper.recognise("") is None
    assert keeper.recognise(TOKENS["ada"] + "x" * MAX_TOKEN_CHARS) is None
    assert keeper.recognise("\ud800") is None
    one, other = new_token(), new_token()
    assert one[0] != other[0]
    assert len(one[0]) >= 43


ANYBODY = {"/login": 200, "/static/review.css": 200, "/healthz": 200, "/metrics": 200}
PAGES = [
    "/",
    "/decided",
    "/items/item-1",
    "/items/item-1/full",
    "/items/item-1/raw",
    "/items/nothing",
    "/?after=item-1",
]
API = ["/api/v1/held", "/api/v1/items/item-1", "/api/v1/items/nothing", "/api/v1/held?limit=0"]


@pytest.mark.parametrize("path", [*PAGES, *API])
def test_without_a_login_there_is_nothing_to_see(desk: Desk, browser: Browser, path: str) -> None:
    hold(desk, "item-1")
    for headers in (
        {},
        {"Cookie": "__Host-feedback-guard=ada." + "A" * 43},
        {"Cookie": "feedback-guard=ada." + "A" * 43},
        {"Authorization": "Bearer " + "0" * 64},
        {"Authorization": "Basic YWRhOmZnX3Rva2VuLW9mLWFkYQ=="},
        {"Authorization": "Bearer"},
    ):
        for method in ("GET", "HEAD"):
            answer = browser.http.request(method, path, headers=headers)
            assert answer.status_code == 401
            assert not any(text in answer.text for text in ("where is", "user-17", "card_arrival"))
    # Every answer is the same for an item that exists and for one that does not.
    assert browser.get("/api/v1/items/item-1").text == browser.get("/api/v1/items/nothing").text


@pytest.mark.parametrize("verb", ["approve", "deny"])
def test_without_a_login_nothing_is_done(desk: Desk, browser: Browser, verb: str) -> None:
    hold(desk, "item-1")
    assert browser.post(f"/items/item-1/{verb}", {"version": "1"}).status_code == 401
    assert browser.http.post(f"/api/v1/items/item-1/{verb}", json={"version": 1}).status_code == 401
    assert browser.post("/logout", {}).status_code == 401
    assert stored(desk, "item-1").held


def test_what_anybody_may_see_holds_nothing_contributed(desk: Desk, browser: Browser) -> None:
    hold(desk, "item-1")
    for path, status in ANYBODY.items():
        answer = browser.get(path)
        assert answer.status_code == status
        assert not any(text in answer.text for text in ("where is", "user-17", "item-1", "card_arrival"))


def test_two_authorization_headers_are_refused(desk: Desk, browser: Browser) -> None:
    right = ("Authorization", f"Bearer {TOKENS['ada']}")
    assert browser.http.get("/api/v1/held", headers=[right]).status_code == 200
    assert browser.http.get("/api/v1/held", headers=[right, right]).status_code == 401


def test_a_large_login_is_refused_before_it_is_read(browser: Browser) -> None:
    assert browser.post("/login", {"secret": "x" * MAX_BODY_BYTES}).status_code == 413
    assert browser.post("/login", {"secret": "x" * 40_000}).status_code == 401


def test_a_slow_body_is_given_up(origin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "BODY_SECONDS", 0.05)
    with Client(int(origin.rsplit(":", 1)[1])) as client:
        fields = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("content-length", "100"),
            ("sec-fetch-site", "same-origin"),
        ]
        client.send(head("POST", "/login", fields) + b"secret=fg")
        assert client.answer().status == 408
