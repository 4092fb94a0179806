"""A login lasts as long as the policy says, and not a request longer than its owner wants."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import select

from feedback_guard.policy.review import ReviewPolicy
from feedback_guard.review.app import review_app
from feedback_guard.review.sessions import MAX_SESSIONS, Sessions
from feedback_guard.store.tables import review_session
from tests.review.desks import TOKENS, Browser, Desk, a_desk, a_policy, serving

HOUR = 3_600


def _rows(desk: Desk) -> list[tuple[str, str, int, int]]:
    with desk.store.reading() as connection:
        return [tuple(row) for row in connection.execute(select(review_session))]


def test_a_copy_of_the_cookie_is_worth_nothing_after_logout(ada: Browser) -> None:
    stolen = ada.http.headers["Cookie"]
    with Browser(ada.origin) as thief:
        thief.http.headers["Cookie"] = stolen
        assert thief.get("/").status_code == 200
        answer = ada.post("/logout", ada.form("/"))
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")
        assert re.search(r"__Host-feedback-guard=\"\"; .*Max-Age=0", answer.headers["set-cookie"])
        assert thief.get("/").status_code == 401
        assert ada.get("/").status_code == 401


def test_idle_and_absolute_end(desk: Desk, ada: Browser) -> None:
    desk.clock.advance(HOUR - 1)
    assert ada.get("/").status_code == 200
    desk.clock.advance(HOUR - 1)
    assert ada.get("/").status_code == 200, "a request keeps it from being idle"
    desk.clock.advance(HOUR)
    assert ada.get("/").status_code == 401
    ada.log_in()
    for _ in range(9):
        desk.clock.advance(HOUR - 600)
        answer = ada.get("/")
    assert answer.status_code == 200
    desk.clock.advance(HOUR / 2)
    assert ada.get("/").status_code == 401, "eight hours are over, however busy they were"


def test_a_clock_that_was_set_back_ends_nothing_and_lengthens_nothing(desk: Desk, ada: Browser) -> None:
    desk.clock.advance(-5 * HOUR)
    assert ada.get("/").status_code == 200
    desk.clock.advance(6 * HOUR)
    assert ada.get("/").status_code == 401


def test_last_use_is_written_at_most_once_a_minute(desk: Desk, ada: Browser) -> None:
    first = _rows(desk)[0][3]
    desk.clock.advance(59)
    ada.get("/")
    assert _rows(desk)[0][3] == first
    desk.clock.advance(1)
    ada.get("/")
    assert _rows(desk)[0][3] == desk.clock.us


def test_a_login_takes_the_place_of_the_one_before(desk: Desk, ada: Browser) -> None:
    before = ada.http.headers["Cookie"]
    ada.log_in("ada")
    assert ada.http.headers["Cookie"] != before
    assert len(_rows(desk)) == 1
    ada.http.headers["Cookie"] = before
    assert ada.get("/").status_code == 401


def test_an_identifier_that_was_planted_is_not_taken_over(desk: Desk, browser: Browser) -> None:
    planted = "ada." + "A" * 43
    browser.http.headers["Cookie"] = f"__Host-feedback-guard={planted}"
    browser.log_in("ada")
    assert planted not in browser.http.headers["Cookie"]
    browser.http.headers["Cookie"] = f"__Host-feedback-guard={planted}"
    assert browser.get("/").status_code == 401


def test_the_store_does_not_hold_the_cookie(desk: Desk, ada: Browser) -> None:
    value = ada.http.headers["Cookie"].partition("=")[2]
    name, _, secret = value.partition(".")
    row = _rows(desk)[0]
    assert row[1] == name == "ada"
    assert secret not in str(row)
    assert len(secret) == 43, "256 bits in base64url"


@pytest.mark.parametrize(("secure", "name"), [(True, "__Host-feedback-guard"), (False, "feedback-guard")])
def test_attributes_of_the_cookie(tmp_path: Path, secure: bool, name: str) -> None:
    with a_desk(tmp_path, secure_cookies=secure) as desk, serving(review_app(desk)) as origin, Browser(origin) as ada:
        cookie = ada.log_in("ada").headers["set-cookie"]
        attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert cookie.startswith(f"{name}=")
        assert {"httponly", "samesite=strict", "path=/"} <= attributes
        assert ("secure" in attributes) is secure
        assert not any(part.startswith(("domain", "expires", "max-age")) for part in attributes)


@pytest.mark.parametrize(
    "change",
    [
        lambda cookie: cookie[:-1] + ("A" if cookie[-1] != "A" else "B"),
        lambda cookie: cookie.replace("ada.", "bob."),
        lambda cookie: cookie.replace("ada.", "eve."),
        lambda cookie: cookie + "A",
        lambda cookie: cookie.replace("ada.", "Ada."),
        lambda cookie: "",
    ],
)
def test_a_cookie_that_was_changed_opens_nothing(ada: Browser, change: object) -> None:
    assert callable(change)
    name, _, value = ada.http.headers["Cookie"].partition("=")
    ada.http.headers["Cookie"] = f"{name}={change(value)}"
    assert ada.get("/").status_code == 401


def test_a_new_token_or_none_at_all_ends_every_login(desk: Desk) -> None:
    sessions = Sessions(desk.policy.review)
    cookie = desk.store.submit(lambda tx: sessions.open(tx.connection, "ada", desk.clock.us)).result()

    def alive(review: ReviewPolicy) -> bool:
        other = Sessions(review)
        claimed = other.parse(cookie)
        with desk.store.reading() as connection:
            return claimed is not None and other.alive(connection, claimed, desk.clock.us)[0]

    ada, bob = desk.policy.review.moderators
    assert alive(desk.policy.review)
    assert not alive(desk.policy.review.model_copy(update={"moderators": (bob,)}))
    changed = ada.model_copy(update={"token_sha256": "0" * 64})
    assert not alive(desk.policy.review.model_copy(update={"moderators": (changed, bob)}))


def test_logins_survive_a_restart_of_the_application(desk: Desk, ada: Browser) -> None:
    with serving(review_app(desk)) as second, Browser(second) as again:
        again.http.headers["Cookie"] = ada.http.headers["Cookie"]
        assert again.get("/").status_code == 200


def test_how_many_logins_a_moderator_has_is_bounded(tmp_path: Path) -> None:
    with a_desk(tmp_path) as desk:
        sessions = Sessions(a_policy("sqlite:///:memory:").review)
        cookies = []
        for _ in range(MAX_SESSIONS + 3):
            desk.clock.advance(1)
            cookies.append(desk.store.submit(lambda tx: sessions.open(tx.connection, "ada", desk.clock.us)).result())
        desk.store.submit(lambda tx: sessions.open(tx.connection, "bob", desk.clock.us)).result()
        assert len(_rows(desk)) == MAX_SESSIONS + 1
        with desk.store.reading() as connection:
            alive = [
                sessions.alive(connection, session, desk.clock.us)[0]
                for session in map(sessions.parse, cookies)
                if session is not None
            ]
        assert alive == [False] * 3 + [True] * MAX_SESSIONS
        desk.clock.advance(HOUR)
        desk.store.submit(lambda tx: sessions.open(tx.connection, "bob", desk.clock.us)).result()
        assert len(_rows(desk)) == 1, "what ran out is forgotten"


def test_tokens_are_never_in_an_answer(ada: Browser) -> None:
    for path in ("/", "/decided", "/login"):
        page = ada.get(path).text
        assert not any(token in page for token in TOKENS.values())
