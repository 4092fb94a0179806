"""However many decide at once, one decision is made; and what the store refuses is not claimed to be done."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from feedback_guard.errors import StoreError
from tests.review.desks import TOKENS, Browser, Desk, hold, stored


def test_many_moderators_one_decision(desk: Desk, origin: str) -> None:
    idents = [hold(desk, f"item-{number}") for number in range(6)]

    def act(task: tuple[str, int]) -> tuple[str, str, int]:
        ident, number = task
        verb = "approve" if number % 2 else "deny"
        headers = {"Authorization": f"Bearer {TOKENS['ada' if number % 3 else 'bob']}"}
        with Browser(origin) as program:
            answer = program.http.post(f"/api/v1/items/{ident}/{verb}", json={"version": 1}, headers=headers)
        return ident, verb, answer.status_code

    with ThreadPoolExecutor(10) as pool:
        done = list(pool.map(act, [(ident, number) for ident in idents for number in range(10)]))
    for ident in idents:
        statuses = Counter(status for which, _, status in done if which == ident)
        assert statuses == {200: 1, 409: 9}
        winner = next(verb for which, verb, status in done if (which, status) == (ident, 200))
        kinds = [entry.kind for entry in desk.store.history(f"{ident}-c0")]
        assert kinds == ["judged", {"approve": "approved", "deny": "denied"}[winner]]
        assert stored(desk, ident).delivery.value == kinds[-1]
    assert sorted(desk.decided) == idents


def test_a_double_click_decides_once(desk: Desk, ada: Browser) -> None:
    hold(desk, "item-1")
    fields = ada.form("/items/item-1")
    assert ada.post("/items/item-1/approve", fields).status_code == 303
    assert ada.post("/items/item-1/approve", fields).status_code == 409
    assert ada.post("/items/item-1/deny", fields).status_code == 409
    assert [entry.kind for entry in desk.store.history("item-1-c0")] == ["judged", "approved"]


def test_a_store_that_fails_is_a_503_and_nothing_happened(
    desk: Desk, ada: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(desk, "item-1")
    fields = ada.form("/items/item-1")

    async def full(*_: object, **__: object) -> None:
        raise StoreError("the disk is full; something that a user sent")

    with monkeypatch.context() as patch:
        patch.setattr(desk.store, "run", full)
        for answer in (
            ada.post("/items/item-1/approve", fields),
            ada.http.post(
                "/api/v1/items/item-1/deny",
                json={"version": 1},
                headers={"Authorization": f"Bearer {TOKENS['ada']}", "Sec-Fetch-Site": "same-origin"},
            ),
            ada.post("/login", {"secret": TOKENS["ada"]}),
        ):
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert "something that a user sent" not in answer.text

    def unreadable(*_: object, **__: object) -> None:
        raise StoreError("the store could not be read")

    with monkeypatch.context() as patch:
        patch.setattr(desk.store, "held_summary", unreadable)
        for path in ("/", "/healthz", "/metrics"):
            assert ada.get(path).status_code == 503
    assert stored(desk, "item-1").held
    assert ada.post("/items/item-1/approve", fields).status_code == 303
