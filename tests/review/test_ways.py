"""Ways on from a request that did not plainly arrive: on the pages, over the API, on the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from feedback_guard.cli.main import ExitCode, run
from feedback_guard.ledger.verify import verify
from feedback_guard.review import bounds
from feedback_guard.review.auth import token_sha256
from feedback_guard.store.states import RESOLUTIONS, Delivery, Learning, Resolution
from tests.review.desks import TOKENS, Browser, Desk, a_contribution, decide, deliver, hold, resolve, stored

BAD = (Delivery.FAILED, Delivery.UNKNOWN, Delivery.NEEDS_CREDENTIALS, Delivery.GIVEN_UP)
LABELS = {
    Resolution.ARRIVED: "It arrived",
    Resolution.NOT_ARRIVED: "It did not, send it again",
    Resolution.RETRY: "Send it again",
    Resolution.GIVE_UP: "Give it up",
}


def ended(desk: Desk, ident: str, to: Delivery, **contribution: Any) -> str:
    """A request that was approved, claimed, and ended so."""
    hold(desk, ident, a_contribution(f"{ident}-c", **contribution))
    decide(desk, ident, approve=True)
    desk.store.submit(
        lambda tx: tx.claim_approved("w", now_us=1, limit=1, application="a", routes=["feedback"])
    ).result()
    deliver(desk, ident, Delivery.FAILED if to is Delivery.GIVEN_UP else to, {"status": 503, "cause": "the reason"})
    if to is Delivery.GIVEN_UP:
        resolve(desk, ident, Resolution.GIVE_UP)
    assert stored(desk, ident).delivery is to
    return ident


def buttons(page: str) -> set[str]:
    return set(re.findall(r'<button[^>]*formaction="[^"]*/(retry|arrived|not-arrived|give-up)"', page))


@pytest.mark.parametrize("state", BAD)
def test_a_page_offers_what_the_store_would_take_and_no_more(desk: Desk, ada: Browser, state: Delivery) -> None:
    ended(desk, "item-1", state)
    page = ada.get("/items/item-1").text
    assert buttons(page) == {resolution.value for resolution in RESOLUTIONS[state]}
    for resolution in RESOLUTIONS[state]:
        assert f">{LABELS[resolution]}</button>" in page
    fields = ada.form("/items/item-1")
    for resolution in Resolution:
        if resolution in RESOLUTIONS[state]:
            continue
        forged = fields | {f"{resolution.value}_token": "0" * 64}
        assert ada.post(f"/items/item-1/{resolution.value}", forged).status_code == 403
    assert stored(desk, "item-1").delivery is state


@pytest.mark.parametrize(("state", "way"), [(state, way) for state in BAD for way in RESOLUTIONS[state]])
def test_a_button_goes_its_way_with_a_note_and_a_name(
    desk: Desk, ada: Browser, state: Delivery, way: Resolution
) -> None:
    ended(desk, "item-1", state)
    answer = ada.post(f"/items/item-1/{way.value}", ada.form("/items/item-1") | {"note": "looked\r\nat it"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/undelivered?done=item-1")
    assert stored(desk, "item-1").delivery is RESOLUTIONS[state][way]
    told = json.loads(desk.store.history("item-1")[-1].body)
    assert (told["resolution"], told["moderator"], told["note"]) == (way.value, "ada", "looked\nat it")
    assert desk.decided[-1] == "item-1", "whoever dispatches is woken"
    page = ada.get("/items/item-1").text
    assert "looked" in page
    assert 'class="name">ada</bdi>' in page
    assert ada.get("/undelivered?done=item-1").status_code == 200
    assert verify(desk.store).clean


def test_a_second_tab_is_too_late(desk: Desk, ada: Browser) -> None:
    ended(desk, "item-1", Delivery.UNKNOWN)
    fields = ada.form("/items/item-1")
    assert ada.post("/items/item-1/arrived", fields).status_code == 303
    late = ada.post("/items/item-1/not-arrived", fields)
    assert late.status_code == 409
    assert "Somebody was faster" in late.text
    assert stored(desk, "item-1").delivery is Delivery.DELIVERED


def test_a_token_serves_for_its_own_way_alone(desk: Desk, ada: Browser) -> None:
    ended(desk, "item-1", Delivery.UNKNOWN)
    ended(desk, "item-2", Delivery.UNKNOWN)
    fields = ada.form("/items/item-1")
    swapped = fields | {"not-arrived_token": fields["arrived_token"]}
    assert ada.post("/items/item-1/not-arrived", swapped).status_code == 403
    assert ada.post("/items/item-2/arrived", fields).status_code == 403
    assert ada.post("/items/item-1/arrived", fields, {"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert ada.post("/items/item-1/arrived", fields | {"version": "3"}).status_code == 403
    assert {stored(desk, ident).delivery for ident in ("item-1", "item-2")} == {Delivery.UNKNOWN}


def test_nobody_says_what_became_of_her_own(desk: Desk, ada: Browser) -> None:
    ended(desk, "item-1", Delivery.UNKNOWN, contributor="Ada")
    page = ada.get("/items/item-1").text
    assert buttons(page) == set()
    assert "Somebody else has to say what becomes of it" in page
    with Browser(ada.origin) as program:
        program.http.headers["Authorization"] = f"Bearer {TOKENS['ada']}"
        answer = program.http.post("/api/v1/items/item-1/arrived", json={"version": 4})
    assert "own name" in answer.json()["detail"]
    assert answer.status_code == 403


def test_what_is_not_kept_or_is_denied_cannot_be_sent(desk: Desk, ada: Browser) -> None:
    hold(desk, "direct", delivery=Delivery.DISPATCHING, learning=Learning.ACCEPTED, request=None)
    deliver(desk, "direct", Delivery.UNKNOWN)
    page = ada.get("/items/direct").text
    assert buttons(page) == {"arrived", "give-up"}
    assert "not kept, so it cannot be sent again" in page
    ended(desk, "item-1", Delivery.FAILED)
    decide(desk, "item-1", approve=False)
    page = ada.get("/items/item-1").text
    assert buttons(page) == {"give-up"}
    assert "Approve it before it is sent again" in page


def test_the_list_of_what_did_not_arrive(desk: Desk, ada: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Everything that was given to the application arrived" in ada.get("/undelivered").text
    for number, state in enumerate(BAD):
        ended(desk, f"item-{number}", state)
        desk.clock.advance(1)
    page = ada.get("/undelivered").text
    assert re.findall(r"/items/(item-\d)", page) == ["item-0", "item-1", "item-2"]
    assert "the reason" in page
    assert "needs credentials" in page
    assert "3 requests did not plainly arrive" in ada.get("/decided").text
    monkeypatch.setattr(bounds, "PAGE", 2)
    first = ada.get("/undelivered").text
    assert "item-2" not in first
    following = re.search(r'href="(/undelivered\?after=[^"]+)"', first)
    assert following is not None
    assert re.findall(r"/items/(item-\d)", ada.get(following[1]).text) == ["item-2"]
    assert ada.get("/undelivered?after=nothing").status_code == 404
    assert ada.get("/undelivered?done=%00").status_code == 400


def test_without_a_login_a_way_leads_to_the_item(desk: Desk, browser: Browser) -> None:
    ended(desk, "item-1", Delivery.FAILED)
    assert browser.get("/undelivered").status_code == 401
    answer = browser.post("/items/item-1/give-up", {"version": "4"})
    assert answer.status_code == 401
    assert 'name="next" value="/items/item-1"' in answer.text


@pytest.mark.parametrize(("state", "way"), [(state, way) for state in BAD for way in Resolution])
def test_the_api_goes_the_same_ways(desk: Desk, origin: str, state: Delivery, way: Resolution) -> None:
    ended(desk, "item-1", state)
    with Browser(origin) as program:
        program.http.headers["Authorization"] = f"Bearer {TOKENS['ada']}"
        item = program.get("/api/v1/items/item-1").json()
        assert set(item["ways_on"]) == {resolution.value for resolution in RESOLUTIONS[state]}
        listed = program.get("/api/v1/undelivered").json()
        expected = [] if state is Delivery.GIVEN_UP else ["item-1"]
        assert [row["id"] for row in listed["items"]] == expected
        assert listed["count"] == len(expected)
        body = {"version": item["version"], "note": "n", "content_sha256": item["content_sha256"]}
        answer = program.http.post(f"/api/v1/items/item-1/{way.value}", json=body)
        if way in RESOLUTIONS[state]:
            assert answer.status_code == 200
            assert answer.json()["delivery"] == RESOLUTIONS[state][way].value
            again = program.http.post(f"/api/v1/items/item-1/{way.value}", json=body)
            assert again.status_code == 409
        else:
            assert answer.status_code == 409
            assert answer.headers["content-type"] == "application/problem+json"
            for open_way in item["ways_on"]:
                assert open_way in answer.json()["detail"]


Review = Callable[..., tuple[int, str, str]]


@pytest.fixture
def review(tmp_path: Path, desk: Desk, capsys: pytest.CaptureFixture[str]) -> Review:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        f"store: {{url: 'sqlite:///{tmp_path}/review.db'}}\n"
        f"review: {{moderators: [{{name: ada, token_sha256: {token_sha256(TOKENS['ada'])}}}]}}\n"
    )

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(["review", *arguments, "--policy", str(policy)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_on_the_command_line(desk: Desk, review: Review) -> None:
    ended(desk, "item-1", Delivery.UNKNOWN)
    ended(desk, "item-2", Delivery.NEEDS_CREDENTIALS)
    code, out, err = review("undelivered")
    assert code == ExitCode.CLEAN
    lines = [line.split() for line in out.splitlines()]
    assert [line[0] for line in lines] == ["item-1", "item-2"]
    assert "arrived, not-arrived, give-up" in out
    assert "retry, give-up" in out
    assert err == "2 undelivered\n"
    assert "ways on   arrived, not-arrived, give-up" in review("show", "item-1")[1]
    code, _, err = review("retry", "item-1")
    assert code == ExitCode.COULD_NOT_JUDGE
    assert "ways on from there: arrived, not-arrived, give-up" in err
    code, _, err = review("not-arrived", "item-1", "--version", "1")
    assert (code, stored(desk, "item-1").delivery) == (ExitCode.COULD_NOT_JUDGE, Delivery.UNKNOWN)
    code, out, _ = review("not-arrived", "item-1", "--moderator", "mo", "--note", "looked")
    assert (code, out) == (ExitCode.CLEAN, "item-1 by mo: The request is sent again.\n")
    assert stored(desk, "item-1").delivery is Delivery.APPROVED
    code, out, _ = review("give-up", "item-2", "--json")
    assert json.loads(out)["delivery"] == "given_up"
    assert review("retry", "item-2")[0] == ExitCode.CLEAN
    assert review("arrived", "nothing")[0] == ExitCode.USAGE
    code, out, _ = review("undelivered", "--json")
    assert json.loads(out) == {"count": 0, "items": [], "next": None}
    assert verify(desk.store).clean
