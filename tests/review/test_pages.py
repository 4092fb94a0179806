"""What a moderator sees and does, over a real socket."""

from __future__ import annotations

import json

from feedback_guard.store.states import Delivery, Learning
from tests.review.desks import Browser, Desk, a_contribution, decide, deliver, hold, stored


def test_login_list_open_approve(desk: Desk, ada: Browser) -> None:
    hold(desk, "item-1")
    page = ada.get("/").text
    assert "where is my card?" in page
    assert "1 item waits" in page
    assert 'href="/items/item-1"' in page
    page = ada.get("/items/item-1").text
    for part in ("card_arrival", "about 1 in 480 honest contributions", "p" * 64, "b" * 64, "user-17"):
        assert part in page
    answer = ada.decide("item-1", approve=True, note="fine")
    assert (answer.status_code, answer.headers["location"]) == (303, "/?done=item-1")
    assert "The item is approved." in ada.get("/?done=item-1").text
    after = stored(desk, "item-1")
    assert after.delivery is Delivery.APPROVED
    assert [item.learning for item in after.contributions] == [Learning.APPROVED]
    assert desk.decided == ["item-1"]
    entry = desk.store.history("item-1-c0")[-1]
    assert (entry.kind, json.loads(entry.body)["moderator"], json.loads(entry.body)["note"]) == (
        "approved",
        "ada",
        "fine",
    )
