"""What moderators see of the drift alarm, and that they acknowledge the one they saw."""

from __future__ import annotations

import asyncio
import json

from feedback_guard.store.drift_alarms import SUBJECT, DriftAlarm
from tests.review.desks import Browser, Desk

GREW = "label, one that the trusted set has never seen: 24% now, 0% in the trusted set"


def raise_alarm(desk: Desk, at_seq: int = 7) -> None:
    alarm = DriftAlarm("sha256:" + "a" * 64, at_seq, 1_500, (GREW, "input, <b>region</b> 3 of 8: 40% now, 12% then"))
    assert asyncio.run(desk.store.run(lambda tx: tx.raise_drift(alarm, now_us=desk.clock.now_us())))


def test_a_standing_alarm_is_on_the_first_page_with_what_grew_and_what_to_do(desk: Desk, ada: Browser) -> None:
    assert "drift alarm" not in ada.get("/").text
    assert "resembles the trusted set" in ada.get("/drift").text
    raise_alarm(desk)
    assert "the drift alarm stands" in ada.get("/").text
    page = ada.get("/drift").text
    assert GREW in page
    assert "&lt;b&gt;region" in page
    assert "baseline propose --changed" in page


def test_an_alarm_is_acknowledged_with_a_note_in_the_ledger(desk: Desk, ada: Browser) -> None:
    raise_alarm(desk)
    fields = ada.form("/drift")
    answer = ada.post("/drift/acknowledge", {**fields, "note": "the summer\r\nsale <i>"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/drift")
    entry = desk.store.history(SUBJECT)[-1]
    body = json.loads(entry.body)
    assert (entry.kind, body["moderator"], body["note"]) == ("drift_acknowledged", "ada", "the summer\nsale <i>")
    assert desk.decided, "the guard is woken"
    assert "drift alarm" not in ada.get("/").text
    assert "&lt;i&gt;" in ada.get("/drift").text


def test_whoever_saw_an_earlier_alarm_does_not_acknowledge_the_present_one(desk: Desk, ada: Browser) -> None:
    raise_alarm(desk)
    fields = ada.form("/drift")
    ada.post("/drift/acknowledge", fields)
    raise_alarm(desk, at_seq=90)
    answer = ada.post("/drift/acknowledge", fields)
    assert answer.status_code == 409
    present = ada.form("/drift")["entry"]
    assert present != fields["entry"]
    assert ada.post("/drift/acknowledge", {**fields, "entry": present}).status_code == 403
    assert "the drift alarm stands" in ada.get("/").text


def test_a_form_that_this_login_was_not_given_acknowledges_nothing(desk: Desk, ada: Browser) -> None:
    raise_alarm(desk)
    fields = ada.form("/drift")
    assert ada.post("/drift/acknowledge", {**fields, "token": "0" * 64}).status_code == 403
    assert ada.post("/drift/acknowledge", fields, {"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert ada.post("/drift/acknowledge", {**fields, "entry": "x"}).status_code == 400
    assert ada.post("/drift/acknowledge", {**fields, "note": "x" * 5_000}).status_code == 422
    assert "the drift alarm stands" in ada.get("/").text
