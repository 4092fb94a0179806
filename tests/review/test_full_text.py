"""What is approved has been shown, all of it, in order, as it was."""

from __future__ import annotations

import html
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback_guard.contribution import Kind
from feedback_guard.review import views
from feedback_guard.review.display import PREVIEW_CHARS, PREVIEW_LINES
from feedback_guard.store.records import StoredContribution, StoredSubmission
from feedback_guard.store.states import Delivery, Learning
from feedback_guard.verdict import Decision, Verdict
from tests.review.desks import Browser, Desk, a_contribution, decide, hold, stored

LONG = "".join(f"{number:05d} " for number in range(9_000))[:32_768]
LINES = "short\n" * (PREVIEW_LINES + 1)


def _sheets(browser: Browser, ident: str) -> list[str]:
    """Every sheet of an item, by following the links."""
    out = [browser.get(f"/items/{ident}/full").text]
    while match := re.search(r'href="(/items/[^"]+\?sheet=[^"]+)" rel="next"', out[-1]):
        out.append(browser.get(html.unescape(match[1])).text)
    return out


@pytest.mark.parametrize("text", [LONG, LINES, "x" * (PREVIEW_CHARS + 1)])
def test_a_cut_text_is_not_approved_from_the_page_that_cut_it(desk: Desk, ada: Browser, text: str) -> None:
    hold(desk, "item-1", a_contribution("c", input=text))
    page = ada.get("/items/item-1").text
    assert "more character" in page
    fields = ada.form("/items/item-1")
    assert "approve_token" not in fields
    assert "deny_token" in fields
    # The token to deny does not approve, and neither does anything else that this page gave out.
    for name in ("deny_token", "token", "content"):
        answer = ada.post("/items/item-1/approve", fields | {"approve_token": fields[name]})
        assert answer.status_code == 403
    assert stored(desk, "item-1").held
    last = _sheets(ada, "item-1")[-1]
    tokens = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', last))
    assert ada.post("/items/item-1/approve", tokens).status_code == 303
    assert not stored(desk, "item-1").held


def test_a_short_text_is_approved_from_its_page(desk: Desk, ada: Browser) -> None:
    hold(desk, "item-1", a_contribution("c", input="x" * PREVIEW_CHARS))
    assert "approve_token" in ada.form("/items/item-1")


@pytest.mark.parametrize("name", ["output", "rejected", "metadata"])
def test_every_field_counts(desk: Desk, ada: Browser, name: str) -> None:
    text = "y" * (PREVIEW_CHARS + 1)
    values: dict[str, object] = {"kind": Kind.CORRECTION, "label": None, "output": "fine"}
    values[name] = {"note": text} if name == "metadata" else text
    hold(desk, "item-1", a_contribution("c", **values))
    assert "approve_token" not in ada.form("/items/item-1")


def test_the_last_sheet_is_reached_only_through_the_others(desk: Desk, ada: Browser) -> None:
    ids = [f"c{number}" for number in range(4)]
    hold(desk, "item-1", *[a_contribution(ident, input=LONG, label=f"l-{ident}") for ident in ids])
    pages = _sheets(ada, "item-1")
    assert len(pages) == 7
    assert ["approve_token" in page for page in pages] == [False] * 6 + [True]
    links = [re.findall(r'href="(/items/[^"]+seen=[0-9a-f]+)"', page) for page in pages]
    third = html.unescape(links[1][0])
    assert "sheet=3" in third
    for forged in (
        "/items/item-1/full?sheet=7",
        third.replace("sheet=3", "sheet=7"),
        third.replace("sheet=3", "sheet=4"),
        re.sub("seen=.*", "seen=é", third),
    ):
        answer = ada.get(forged)
        assert (answer.status_code, answer.headers["location"]) == (303, "/items/item-1/full")
    # Another session's progress is nobody else's, and a change in between begins anew.
    with Browser(ada.origin) as bob:
        bob.log_in("bob")
        assert bob.get(third).status_code == 303
    decide(desk, "item-1", approve=False)
    assert ada.get(third).status_code == 303


def test_the_sheets_hold_every_character_once(desk: Desk, ada: Browser) -> None:
    words = [f"w{number}w" for number in range(5_000)]
    text = " ".join(words)
    hold(desk, "item-1", a_contribution("c", input=text[:32_768]))
    shown = "".join(
        html.unescape(part)
        for page in _sheets(ada, "item-1")
        for part in re.findall(r'<div class="text"[^>]*>(.*?)</div>', page, re.DOTALL)
    )
    assert shown == text[:32_768]


@given(
    st.lists(st.tuples(st.text(max_size=90), st.text(min_size=1, max_size=9)), min_size=1, max_size=5),
    st.integers(1, 60),
)
def test_sheets_lose_nothing_at_any_size(contents: list[tuple[str, str]], size: int) -> None:
    contributions = tuple(
        StoredContribution(
            a_contribution(f"c{number}", input=text, label=label),
            "s",
            Verdict(f"c{number}", Decision.QUARANTINE, 0.0, 1.0, (), "p", None),
            Learning.HELD,
            b"",
        )
        for number, (text, label) in enumerate(contents)
    )
    sheets = views.sheets(StoredSubmission("s", "r", 0, Delivery.HELD, 1, contributions), size)
    assert sheets
    for sheet in sheets:
        assert sum(len(passage.text) for passage in sheet) <= size
    for number, (text, label) in enumerate(contents, 1):
        for name, whole in (("input", text), ("label", label)):
            parts = [p for sheet in sheets for p in sheet if (p.number, p.field.name) == (number, name)]
            assert "".join(part.text for part in parts) == whole
            assert [part.begins_at for part in parts] == [
                sum(len(before.text) for before in parts[:place]) for place in range(len(parts))
            ]


def test_a_decision_is_bound_to_the_content(desk: Desk, ada: Browser) -> None:
    hold(desk, "item-1")
    fields = ada.form("/items/item-1")
    # Somebody with the database edits what was shown, without the version.
    desk.store.submit(
        lambda tx: tx.connection.exec_driver_sql("UPDATE contribution SET payload = replace(payload, 'card?', 'dog?')")
    ).result()
    answer = ada.post("/items/item-1/approve", fields)
    assert answer.status_code == 409
    assert "Its content is not what the decision was made on." in answer.text
    assert stored(desk, "item-1").held


def test_the_plain_view_is_ascii_in_a_sandbox(desk: Desk, ada: Browser) -> None:
    hold(desk, "item-1", a_contribution("c", input="<script>\u202e\x1b[2J\u2028é"), request=b"Cookie: secret")
    answer = ada.get("/items/item-1/raw")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "sandbox" in answer.headers["content-security-policy"]
    assert set(answer.text) <= set(string.printable)
    assert "\\u202e\\u001b[2J\\u2028\\u00e9" in answer.text
    assert "secret" not in answer.text, "the kept request may hold credentials"
