"""What a moderator sees and does, over a real socket."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from feedback_guard.contribution import Kind
from feedback_guard.review import bounds
from feedback_guard.review.app import review_app
from feedback_guard.store.records import PullBack
from feedback_guard.store.states import Delivery, Learning
from feedback_guard.verdict import Reason
from tests.review.desks import Browser, Desk, a_contribution, a_desk, decide, deliver, hold, serving, stored


def test_login_list_open_approve(desk: Desk, ada: Browser) -> None:
    hold(desk, "item-1")
    page = ada.get("/").text
    assert "where is my card?" in page
    assert "1 item waits" in page
    assert 'href="/items/item-1"' in page
    page = ada.get("/items/item-1").text
    for part in ("card_arrival", "about 1 in 480 honest contributions", "p" * 64, "b" * 64, "user-17"):
        assert part in page
    answer = ada.decide("item-1", approve=True, note="fine\r\nby me ")
    assert (answer.status_code, answer.headers["location"]) == (303, "/?done=item-1")
    assert "The item is approved." in ada.get("/?done=item-1").text
    after = stored(desk, "item-1")
    assert after.delivery is Delivery.APPROVED
    assert [item.learning for item in after.contributions] == [Learning.APPROVED]
    assert desk.decided == ["item-1"], "the decision went through the guard, which wakes the dispatcher"
    entry = desk.store.history("item-1-c0")[-1]
    body = json.loads(entry.body)
    assert (entry.kind, body["moderator"], body["note"]) == ("approved", "ada", "fine\nby me")


def test_deny(desk: Desk, ada: Browser) -> None:
    hold(desk, "item-1")
    assert ada.decide("item-1", approve=False).status_code == 303
    assert stored(desk, "item-1").delivery is Delivery.DENIED
    assert "Nothing waits for a decision." in ada.get("/").text


def test_whoever_is_late_is_told_so(desk: Desk, ada: Browser) -> None:
    hold(desk, "item-1")
    fields = ada.form("/items/item-1")
    decide(desk, "item-1", approve=False)
    answer = ada.post("/items/item-1/approve", fields)
    assert answer.status_code == 409
    assert "Somebody was faster" in answer.text
    assert 'href="/items/item-1"' in answer.text
    assert stored(desk, "item-1").delivery is Delivery.DENIED


def test_a_decision_can_be_changed_until_the_application_has_the_request(desk: Desk, ada: Browser) -> None:
    hold(desk, "item-1")
    ada.decide("item-1", approve=False)
    fields = ada.form("/items/item-1")
    assert "approve_token" in fields
    assert "deny_token" not in fields
    assert ada.post("/items/item-1/approve", fields).status_code == 303
    assert "changed later" in ada.get("/decided").text
    page = ada.get("/items/item-1").text
    assert page.index('chip denied">denied</span> by') < page.index('chip approved">approved</span> by')
    desk.store.submit(
        lambda tx: tx.claim_approved("w", now_us=1, limit=1, application="a", routes=["feedback"])
    ).result()
    page = ada.get("/items/item-1").text
    assert "being passed on" in page
    assert "what the application did with the request stays as it is" in page


def test_a_contribution_that_the_application_already_has_can_still_be_kept_from_learning(
    desk: Desk, ada: Browser
) -> None:
    hold(desk, "item-1", delivery=Delivery.DISPATCHING)
    deliver(desk, "item-1", Delivery.DELIVERED, {"status": 201})
    page = ada.get("/items/item-1").text
    assert "The application took the request." in page
    assert "<bdi>201</bdi>" in page
    assert ada.decide("item-1", approve=False).status_code == 303
    assert stored(desk, "item-1").contributions[0].learning is Learning.DENIED
    assert stored(desk, "item-1").delivery is Delivery.DELIVERED


def test_oldest_first_page_by_page(desk: Desk, ada: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "PAGE", 2)
    for number in (3, 1, 2, 4, 5):
        hold(desk, f"item-{number}", at_us=desk.clock.us + number)
    page = ada.get("/").text
    assert page.index("item-1") < page.index("item-2")
    assert "item-3" not in page
    page = ada.get("/?after=item-2").text
    assert 'href="/?after=item-4"' in page
    page = ada.get("/?after=item-4").text
    assert "item-5" in page
    assert "Next page" not in page
    decide(desk, "item-2", approve=True)
    assert "item-3" in ada.get("/?after=item-2").text, "the page goes on although its anchor was decided meanwhile"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/items/nothing", 404),
        ("/items/..%2f..%2fetc", 404),
        ("/items/" + "a" * 65, 404),
        ("/items/%00", 404),
        ("/items/item-1'--", 404),
        ("/items/nothing/full", 404),
        ("/items/nothing/raw", 404),
        ("/items/item-1/full?sheet=2", 404),
        ("/items/item-1/full?sheet=x", 404),
        ("/?after=nothing", 404),
        ("/?after=a'b", 400),
        ("/?done=%3Cb%3E", 400),
        ("/decided?before=x", 400),
        ("/decided?before=99999999999999999999", 400),
        ("/nothing", 404),
        ("/login/", 404),
        ("//evil.example/", 404),
    ],
)
def test_addresses_are_validated(desk: Desk, ada: Browser, path: str, status: int) -> None:
    hold(desk, "item-1")
    answer = ada.http.get(f"{ada.origin}{path}")
    assert answer.status_code == status
    assert "<b>" not in answer.text


def test_nobody_decides_on_her_own_contribution(desk: Desk, ada: Browser) -> None:
    hold(desk, "other")
    for ident, name in (("own", "ada"), ("case", "ADA"), ("wide", "ａｄａ"), ("space", " ada ")):
        hold(desk, ident, a_contribution(f"{ident}-c", contributor=name))
        page = ada.get(f"/items/{ident}").text
        assert "This came from your own name" in page
        assert "approve_token" not in page
        assert "deny_token" not in page
    # Neither do the tokens of another item help, nor the API.
    fields = ada.form("/items/other")
    assert ada.post("/items/own/approve", fields).status_code == 403
    with Browser(ada.origin) as program:
        for verb in ("approve", "deny"):
            answer = program.http.post(
                f"/api/v1/items/own/{verb}",
                json={"version": 1},
                headers={"Authorization": "Bearer fg_token-of-ada"},
            )
            assert answer.status_code == 403
    assert stored(desk, "own").held
    with Browser(ada.origin) as colleague:
        colleague.log_in("bob")
        assert colleague.decide("own", approve=True).status_code == 303


def test_decisions_with_what_became_of_each_request(desk: Desk, ada: Browser) -> None:
    ends = {
        "took": (Delivery.DELIVERED, "delivered"),
        "refused": (Delivery.FAILED, "failed"),
        "lost": (Delivery.UNKNOWN, "unknown"),
    }
    for ident, (end, _) in ends.items():
        hold(desk, ident, a_contribution(f"{ident}-a"), a_contribution(f"{ident}-b"))
        desk.clock.advance(10)
        decide(desk, ident, approve=True, note=f"note on {ident}")
        desk.store.submit(
            lambda tx: tx.claim_approved("w", now_us=1, limit=1, application="a", routes=["feedback"])
        ).result()
        deliver(desk, ident, end)
    hold(desk, "later")
    decide(desk, "later", approve=True)
    hold(desk, "never")
    decide(desk, "never", approve=False)
    page = ada.get("/decided").text
    rows = page.split("<tr>")[2:]
    assert len(rows) == 5, "one row a decision, however many contributions it moved"
    for row, (ident, words) in zip(
        rows,
        [
            ("never", "denied"),
            ("later", "approved, waiting"),
            ("lost", "unknown"),
            ("refused", "failed"),
            ("took", "delivered"),
        ],
        strict=True,
    ):
        assert f"/items/{ident}" in row
        assert f">{words}</span>" in row
    assert "note on lost" in rows[2]
    assert "2 requests did not plainly arrive" in page
    assert "nobody can tell what it did" in ada.get("/items/lost").text


def test_decisions_page_by_page(desk: Desk, ada: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "PAGE", 2)
    for number in range(5):
        hold(desk, f"item-{number}", *[a_contribution(f"c{number}-{k}") for k in range(3)])
        desk.clock.advance(1)
        decide(desk, f"item-{number}", approve=True)
    seen: list[str] = []
    path = "/decided"
    for _ in range(3):
        page = ada.get(path).text
        seen += [part.split('"')[0] for part in page.split('href="/items/')[1:]]
        path = "/decided?before=" + page.rsplit("/decided?before=", 1)[-1].split('"')[0]
    assert seen == ["item-4", "item-3", "item-2", "item-1", "item-0"]


def test_what_else_the_contributor_sent_cannot_be_forged_by_others(desk: Desk, ada: Browser) -> None:
    hold(desk, "item-1", a_contribution("c1", contributor="mallory"))
    hold(desk, "item-2", a_contribution("c2", contributor="mallory"))
    hold(desk, "item-3", a_contribution("c3", contributor="mallory", input='"contributor":"eve"'))
    decide(desk, "item-3", approve=False)
    hold(desk, "item-4", a_contribution("c4", contributor="eve", metadata={"contributor": "mallory"}))
    hold(desk, "item-5", a_contribution("c5", contributor='mal"lory'))
    hold(desk, "item-6", a_contribution("c6", contributor="mallory2"))
    assert "2 others are by this contributor: 1 held, 1 denied." in ada.get("/items/item-1").text
    assert "No other contribution by this contributor" in ada.get("/items/item-4").text
    assert "No other contribution by this contributor" in ada.get("/items/item-5").text


@pytest.mark.parametrize(
    ("kind", "values", "shown"),
    [
        (Kind.RATING, {"output": "An answer.", "rating": 0.0}, ["An answer.", ">0<"]),
        (Kind.CORRECTION, {"output": "Better.", "rejected": "Worse."}, ["Better.", "Worse."]),
        (Kind.PREFERENCE, {"chosen": "This.", "rejected": "That."}, ["This.", "That."]),
        (Kind.DEMONSTRATION, {"output": "So."}, ["So."]),
    ],
)
def test_every_kind_field_by_field(
    desk: Desk, ada: Browser, kind: Kind, values: dict[str, object], shown: list[str]
) -> None:
    extra = {"interaction": "served-9", "model": "m-3", "metadata": {"k": ["v", 1.5]}, "groups": {"tenant": "acme"}}
    hold(desk, "item-1", a_contribution("c", kind=kind, label=None, **(values | extra)))
    page = ada.get("/items/item-1").text
    assert f"{kind.value.capitalize()} <span" in page
    for text in [*shown, "served-9", "m-3", "acme", "1.5"]:
        assert text in page
    assert kind.value in ada.get("/").text


def test_reasons_in_words(desk: Desk, ada: Browser) -> None:
    reasons = (
        Reason("near_duplicate", "41 accounts sent almost this.", 2e-9, "family:7c1e"),
        Reason("per_day", "The budget is spent.", None),
    )
    hold(desk, "item-1", reasons=reasons, suspicion=1.0)
    hold(desk, "item-2", reasons=())
    page = ada.get("/items/item-1").text
    for text in (
        "Many accounts, one text",
        "fewer than 1 in a million",
        "family:7c1e",
        "Per day",
        "Suspicion 1.0 of 1",
    ):
        assert text in page
    assert "No reason is recorded." in ada.get("/items/item-2").text
    assert "none recorded" in ada.get("/").text


def test_what_is_held_again_names_the_campaign_as_its_reason(desk: Desk, ada: Browser) -> None:
    """Not what its verdict said of it, for which it was accepted."""
    hold(desk, "item-1", learning=Learning.ACCEPTED, delivery=Delivery.DISPATCHING)
    deliver(desk, "item-1", Delivery.DELIVERED)
    assert "Nothing waits for a decision." in ada.get("/").text
    pulled = [PullBack("item-1-c0", "campaign-1")]
    desk.store.submit(lambda tx: tx.pull_back(pulled, now_us=tx.now_us(), mature_after_us=86_400_000_000)).result(30)
    page = ada.get("/").text
    assert "Part of a campaign" in page
    assert "accepted at first, found later" in page
    assert "Contradicts its content" not in page


def test_a_note_is_bounded_and_changes_nothing_when_refused(desk: Desk, ada: Browser) -> None:
    hold(desk, "item-1")
    assert ada.decide("item-1", approve=True, note="ä" * bounds.MAX_NOTE_CHARS).status_code == 303
    hold(desk, "item-2")
    assert ada.decide("item-2", approve=True, note="x" * (bounds.MAX_NOTE_CHARS + 1)).status_code == 422
    assert ada.decide("item-2", approve=True, note="x" * bounds.MAX_BODY_BYTES).status_code == 413
    assert stored(desk, "item-2").held


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"version=1&version=1", "application/x-www-form-urlencoded", 400),
        (b"version", "application/x-www-form-urlencoded", 400),
        (b"version=%ff", "application/x-www-form-urlencoded", 400),
        (b"\xff", "application/x-www-form-urlencoded", 400),
        (b"&".join(b"f%d=1" % n for n in range(40)), "application/x-www-form-urlencoded", 400),
        (b"", "application/x-www-form-urlencoded", 400),
        (b"version=-1", "application/x-www-form-urlencoded", 400),
        (b"{}", "application/json", 415),
        (b"version=1", "text/plain", 415),
        (b"version=1", "", 415),
    ],
)
def test_forms_are_read_strictly(desk: Desk, ada: Browser, body: bytes, content_type: str, status: int) -> None:
    hold(desk, "item-1")
    headers = {"Sec-Fetch-Site": "same-origin", "Content-Type": content_type}
    assert ada.http.post("/items/item-1/approve", content=body, headers=headers).status_code == status
    assert stored(desk, "item-1").held


def test_login_leads_to_the_page_that_was_asked_for_and_nowhere_else(desk: Desk, browser: Browser) -> None:
    hold(desk, "item-1")
    page = browser.get("/items/item-1")
    assert page.status_code == 401
    assert 'name="next" value="/items/item-1"' in page.text
    assert browser.log_in("ada", next="/items/item-1").headers["location"] == "/items/item-1"
    del browser.http.headers["Cookie"]
    for place in ("/campaigns", "/campaigns/campaign-1", "/undelivered", "/drift", "/decided", "/items/item-1/full"):
        assert f'name="next" value="{place}"' in browser.get(place).text
        assert browser.log_in("ada", next=place).headers["location"] == place
        del browser.http.headers["Cookie"]
    for target in ("https://evil.example/", "//evil.example", "/\\evil.example", "/logout", "javascript:alert(1)", ""):
        assert browser.log_in("ada", next=target).headers["location"] == "/"


def test_a_decision_that_came_after_the_login_had_ended_says_that_nothing_was_done(desk: Desk, ada: Browser) -> None:
    """And leads back to what she looked at, whatever it was."""
    hold(desk, "item-1")
    form = ada.form("/items/item-1")
    del ada.http.headers["Cookie"]
    for path, back in (
        ("/items/item-1/deny", "/items/item-1"),
        ("/campaigns/campaign-1/decide", "/campaigns/campaign-1"),
        ("/drift/acknowledge", "/drift"),
    ):
        answer = ada.post(path, form)
        assert answer.status_code == 401
        assert "Your login had ended, so nothing was done." in answer.text
        assert f'name="next" value="{back}"' in answer.text
    assert 'name="next" value="/campaigns/campaign-1"' in ada.get("/campaigns/campaign-1/confirm?which=all").text
    assert "nothing was done" not in ada.get("/items/item-1").text
    assert stored(desk, "item-1").held


def test_after_a_decision_the_next_item_is_one_key_away(desk: Desk, ada: Browser) -> None:
    """Next is what came after it, not the oldest: that she may have left for later."""
    for n in range(3):
        hold(desk, f"item-{n}", at_us=desk.clock.us + n)
    answer = ada.post("/items/item-1/deny", ada.form("/items/item-1"))
    page = ada.get(answer.headers["location"]).text
    assert '<a href="/items/item-2" autofocus>Open the next one</a>' in page
    answer = ada.post("/items/item-2/deny", ada.form("/items/item-2"))
    assert "Open the next one" not in ada.get(answer.headers["location"]).text


def test_below_a_path(tmp_path: Path) -> None:
    with a_desk(tmp_path) as desk, serving(Starlette(routes=[Mount("/review", review_app(desk))])) as origin:
        hold(desk, "item-1")
        with Browser(origin, base="/review") as browser:
            answer = browser.log_in("ada")
            assert answer.headers["location"] == "/review/"
            page = browser.get("/").text
            assert 'href="/review/items/item-1"' in page
            assert browser.get("/static/review.css").status_code == 200
            assert browser.get("/items/nothing").status_code == 404
            answer = browser.decide("item-1", approve=True)
            assert answer.headers["location"] == "/review/?done=item-1"
        with Browser(origin, base="/review") as stranger:
            assert 'value="/decided"' in stranger.get("/decided").text


def test_health_and_metrics(desk: Desk, browser: Browser) -> None:
    hold(desk, "item-1")
    desk.clock.advance(90)
    assert browser.get("/healthz").text == "ok\n"
    page = browser.get("/metrics").text
    assert "feedback_guard_held_items 1.0" in page
    assert "feedback_guard_held_oldest_age_seconds 90.0" in page
    assert "where is my card" not in page
