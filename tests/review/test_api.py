"""The JSON API: the same rules, for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from feedback_guard.review import bounds
from feedback_guard.store.states import Delivery
from tests.review.desks import TOKENS, Browser, Desk, a_contribution, decide, hold, stored


@pytest.fixture
def program(origin: str) -> Iterator[Browser]:
    with Browser(origin) as made:
        made.http.headers["Authorization"] = f"Bearer {TOKENS['ada']}"
        yield made


def _post(program: Browser, path: str, body: Any) -> Any:
    return program.http.post(f"/api/v1/items/{path}", json=body)


def test_held_then_item_then_approve(desk: Desk, program: Browser) -> None:
    hold(desk, "item-1")
    listed = program.get("/api/v1/held").json()
    assert listed["count"] == 1
    assert listed["next"] is None
    row = listed["items"][0]
    assert (row["id"], row["contributor"], row["kind"], row["route"]) == ("item-1", "user-17", "label", "feedback")
    assert row["reason"]["signal"] == "disagreement"
    item = program.get("/api/v1/items/item-1").json()
    assert item["contributions"][0]["contribution"]["input"] == "where is my card?"
    assert item["contributions"][0]["verdict"]["decision"] == "quarantine"
    answer = _post(
        program,
        "item-1/approve",
        {"version": item["version"], "note": "ok", "content_sha256": item["content_sha256"]},
    )
    assert answer.status_code == 200
    assert (answer.json()["delivery"], answer.json()["held"]) == ("approved", False)
    assert answer.json()["content_sha256"] == item["content_sha256"], "a decision does not change the content"
    assert stored(desk, "item-1").delivery is Delivery.APPROVED
    assert desk.decided == ["item-1"]


def test_deny(desk: Desk, program: Browser) -> None:
    hold(desk, "item-1")
    assert _post(program, "item-1/deny", {"version": 1}).json()["delivery"] == "denied"


def test_pages_of_the_list(desk: Desk, program: Browser) -> None:
    for number in range(5):
        hold(desk, f"item-{number}", at_us=number)
    seen: list[str] = []
    query = "limit=2"
    while True:
        page = program.get(f"/api/v1/held?{query}").json()
        seen += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        query = f"limit=2&after={page['next']}"
    assert seen == [f"item-{number}" for number in range(5)]
    assert len(program.get("/api/v1/held?limit=200").json()["items"]) == 5


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=0", 422),
        ("limit=201", 422),
        ("limit=x", 422),
        ("limit=-1", 422),
        ("limit=%D9%A3", 422),
        ("after=%27", 422),
        ("after=nothing", 404),
    ],
)
def test_parameters_are_checked(program: Browser, query: str, status: int) -> None:
    answer = program.get(f"/api/v1/held?{query}")
    assert answer.status_code == status
    _is_problem(answer, status)


def test_a_stale_version_and_other_content_are_conflicts(desk: Desk, program: Browser) -> None:
    hold(desk, "item-1")
    _is_problem(_post(program, "item-1/approve", {"version": 0}), 409)
    _is_problem(_post(program, "item-1/approve", {"version": 1, "content_sha256": "0" * 64}), 409)
    decide(desk, "item-1", approve=False)
    _is_problem(_post(program, "item-1/approve", {"version": 1}), 409)
    _is_problem(_post(program, "item-1/deny", {"version": stored(desk, "item-1").version}), 409)
    assert stored(desk, "item-1").delivery is Delivery.DENIED


def test_own_contributions_are_somebody_elses(desk: Desk, program: Browser) -> None:
    hold(desk, "item-1", a_contribution("a"), a_contribution("b", contributor="Ada"))
    _is_problem(_post(program, "item-1/approve", {"version": 1}), 403)
    _is_problem(_post(program, "item-1/deny", {"version": 1}), 403)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b'{"version": 1, "version": 2}', 400),
        (b'{"version": NaN}', 400),
        (b'{"version": 1} x', 400),
        (b"\xff", 400),
        (b"[" * 60_000, 400),
        (b"[]", 422),
        (b"null", 422),
        (b"{}", 422),
        (b'{"version": "1"}', 422),
        (b'{"version": true}', 422),
        (b'{"version": 1.0}', 422),
        (b'{"version": -1}', 422),
        (b'{"version": 99999999999999999999}', 422),
        (b'{"version": ' + b"9" * 5_000 + b"}", 400),
        (b'{"version": 1, "<b>": 1}', 422),
        (b'{"version": 1, "note": 5}', 422),
        (b'{"version": 1, "note": "\\ud800"}', 422),
        (b'{"version": 1, "note": "' + b"x" * (bounds.MAX_NOTE_CHARS + 1) + b'"}', 422),
        (b'{"version": 1, "content_sha256": "x"}', 422),
        (b'{"version": 1, "moderator": "bob"}', 422),
        (b'{"version": 1, "note": "' + b"x" * bounds.MAX_BODY_BYTES + b'"}', 413),
    ],
)
def test_bodies_are_read_strictly(desk: Desk, program: Browser, body: bytes, status: int) -> None:
    hold(desk, "item-1")
    answer = program.http.post(
        "/api/v1/items/item-1/approve", content=body, headers={"Content-Type": "application/json"}
    )
    _is_problem(answer, status)
    assert "<b>" not in answer.text
    assert stored(desk, "item-1").held


def test_other_media_types_are_refused(desk: Desk, program: Browser) -> None:
    hold(desk, "item-1")
    for headers in (
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ):
        _is_problem(program.http.post("/api/v1/items/item-1/approve", content=b'{"version":1}', headers=headers), 415)


@pytest.mark.parametrize("path", ["items/nothing", "items/a%2fb", "items/" + "a" * 65, "nothing"])
def test_what_is_not_there(program: Browser, path: str) -> None:
    _is_problem(program.get(f"/api/v1/{path}"), 404)


def test_only_the_methods_that_exist(program: Browser) -> None:
    answer = program.http.delete("/api/v1/held")
    _is_problem(answer, 405)
    assert "GET" in answer.headers["allow"]


def _is_problem(answer: Any, status: int) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["detail"]
    assert body["title"]
