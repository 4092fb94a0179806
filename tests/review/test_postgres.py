"""The same on a PostgreSQL server: what is asked there is written a little differently."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from feedback_guard.review import bounds
from feedback_guard.review.app import review_app
from feedback_guard.review.sessions import MAX_SESSIONS, Sessions
from feedback_guard.store.campaigns import Told
from tests.postgres import postgres_store_url as postgres_store_url
from tests.postgres import postgres_url as postgres_url
from tests.review.desks import Browser, Desk, a_contribution, a_desk_at, decide, hold, serving, stored

pytestmark = pytest.mark.postgres


@pytest.fixture
def desk(postgres_store_url: str) -> Iterator[Desk]:
    with a_desk_at(postgres_store_url) as made:
        yield made


@pytest.fixture
def ada(desk: Desk) -> Iterator[Browser]:
    with serving(review_app(desk)) as origin, Browser(origin) as browser:
        assert browser.log_in("ada").status_code == 303
        yield browser


def test_login_list_open_decide_log_out(desk: Desk, ada: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "PAGE", 2)
    odd = 'mal"lory\u0000\\ é'
    for number in range(3):
        hold(desk, f"item-{number}", a_contribution(f"c{number}", contributor=odd), at_us=number)
    hold(desk, "other", a_contribution("o", metadata={"contributor": odd}), at_us=9)
    assert "item-0" in ada.get("/").text
    assert "item-2" in ada.get("/?after=item-1").text
    assert "2 others are by this contributor: 2 held." in ada.get("/items/item-0").text
    for number in range(3):
        desk.clock.advance(1)
        assert ada.decide(f"item-{number}", approve=number % 2 == 0).status_code == 303
    page = ada.get("/decided").text
    assert page.index("/items/item-2") < page.index("/items/item-1")
    older = page.rsplit("/decided?before=", 1)[-1].split('"')[0]
    assert "/items/item-0" in ada.get(f"/decided?before={older}").text
    decide(desk, "item-0", approve=False)
    assert "chip denied" in ada.get("/items/item-0").text
    assert not stored(desk, "item-0").held
    assert ada.post("/logout", ada.form("/")).status_code == 303
    assert ada.get("/").status_code == 401


def test_bounds_on_guesses_and_on_logins(desk: Desk, ada: Browser) -> None:
    statuses = [ada.post("/login", {"secret": "fg_wrong"}).status_code for _ in range(11)]
    assert statuses == [401] * 10 + [429]
    sessions = Sessions(desk.policy.review)
    for _ in range(MAX_SESSIONS + 1):
        desk.clock.advance(1)
        cookie = desk.store.submit(lambda tx: sessions.open(tx.connection, "ada", desk.clock.us)).result()
    newest = sessions.parse(cookie)
    assert newest is not None
    with desk.store.reading() as connection:
        assert sessions.alive(connection, newest, desk.clock.us) == (True, False)
    assert ada.get("/").status_code == 401, "the oldest of too many"


def test_a_campaign_is_shown_and_decided(desk: Desk, ada: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "PAGE", 2)
    for number in range(5):
        hold(desk, f"item-{number}", a_contribution(f"c{number}"), campaign="campaign-1", at_us=number)
    told = Told("campaign-1", 9, True, '{"teaches": []}', (("c0", 700), ("c1", -1_200), ("c2", 2_500)))
    desk.store.submit(lambda tx: tx.tell([told])).result()
    assert "5 held contributions in 1 campaign" in ada.get("/campaigns").text
    page = ada.get("/campaigns/campaign-1").text
    members = page[page.index('id="members"') :]
    assert members.index("/items/item-1") < members.index("/items/item-0")
    assert "/items/item-2" not in members
    following = members.split("after=")[1].split("#")[0]
    assert "/items/item-2" in ada.get(f"/campaigns/campaign-1?show=held&after={following}").text
    for do, which, moved in (("approve", "fitting", 1), ("deny", "all", 4)):
        shown = ada.form("/campaigns/campaign-1")
        query = f"do={do}&which={which}&version={shown['version']}&fence={shown['fence']}"
        form = ada.form(f"/campaigns/campaign-1/confirm?{query}")
        answer = ada.post("/campaigns/campaign-1/decide", form | {"note": "seen"})
        assert f"{moved} contribution" in ada.get(answer.headers["location"]).text
    assert [stored(desk, f"item-{n}").delivery.value for n in range(5)] == ["denied", "approved"] + ["denied"] * 3
    assert "feedback_guard_campaign_held 0.0" in ada.get("/metrics").text
