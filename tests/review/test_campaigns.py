"""One decision on all members of a campaign, by page and by program: on what was shown, once, and on the record."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from feedback_guard.errors import StoreError
from feedback_guard.ledger.verify import verify
from feedback_guard.review import bounds
from feedback_guard.review.campaigns import below_odds, from_odds
from feedback_guard.store import campaign_decisions
from feedback_guard.store.campaign_decisions import Selection
from feedback_guard.store.campaigns import Told
from feedback_guard.store.records import PullBack
from feedback_guard.store.states import Delivery, Learning
from tests.review.desks import TOKENS, Browser, Desk, a_contribution, decide, hold, stored

NAME = "campaign-1"
SUMMARY = {
    "teaches": [["label 'pin'", 3]],
    "shares": [{"kind": "word", "phrase": "zq", "n": 31, "trusted": 0, "contrary": 0.9}],
    "log_e": 43.2,
    "spared": 4,
    "honest": 1.4,
    "expected": 0.4,
    "seen": 800,
    "trusted": 400,
}


def fill(desk: Desk, n: int, *, first: int = 0, contributor: str = "user-17", **options: Any) -> list[str]:
    """Put members of a campaign into the store."""
    return [
        hold(
            desk,
            f"item-{k}",
            a_contribution(f"c{k}", contributor=contributor, input=f"my zq card {k}", groups={"network": f"n{k % 2}"}),
            campaign=NAME,
            **options,
        )
        for k in range(first, first + n)
    ]


def tell(desk: Desk, *contrary: tuple[str, int], **summary: object) -> None:
    told = Told(NAME, 9, True, json.dumps(SUMMARY | summary), contrary)
    desk.store.submit(lambda tx: tx.tell([told])).result()


def states(desk: Desk, idents: list[str]) -> Counter[str]:
    return Counter(stored(desk, ident).contributions[0].learning.value for ident in idents)


def confirm(browser: Browser, do: str, which: str = "all", **more: str) -> dict[str, str]:
    """Open the campaign, choose, and read the form of the confirmation."""
    shown = browser.form(f"/campaigns/{NAME}")
    query = {"do": do, "which": which, "version": shown["version"], "fence": shown["fence"], **more}
    return browser.form(f"/campaigns/{NAME}/confirm?" + "&".join(f"{name}={value}" for name, value in query.items()))


def send(browser: Browser, form: dict[str, str], note: str = "") -> Any:
    return browser.post(f"/campaigns/{NAME}/decide", form | {"note": note})


def test_the_list_and_the_page_say_what_it_is(desk: Desk, ada: Browser) -> None:
    fill(desk, 3)
    tell(desk, ("c0", -1_200), ("c1", 2_500))
    assert "3 held contributions belong to 1 campaign." in ada.get("/").text
    listing = ada.get("/campaigns").text
    for text in (f"/campaigns/{NAME}", "3 held contributions in 1 campaign", "label &#39;pin&#39;", "zq"):
        assert text in listing
    page = ada.get(f"/campaigns/{NAME}").text
    for text in (
        "3 contributions from 1 account, 2 <bdi>network</bdi> groups",
        "The word",
        "in 31 contributions since it was first seen, and in 0 of 400 trusted ones",
        "once in 5.8 billion billion",
        "about 90 % contradict",
        "Of the 800 contributions since its first member, fewer than 1 would share",
        "Probably honest all the same, among its members: about 1.",
        "4 contributions that share something with it fit their content",
        "fits it, 3.3 to 1",
        "contradicts it, 12 to 1",
        "The pattern goes on.",
    ):
        assert text in page, text
    rows = page[page.index('id="members"') :]
    assert rows.index("my zq card 0") < rows.index("my zq card 1") < rows.index("my zq card 2"), "least indicted first"
    assert f'href="/campaigns/{NAME}"' in ada.get("/items/item-0").text
    assert ada.get("/campaigns/nothing").status_code == 404
    assert ada.get("/campaigns?page=0").status_code == 422


def test_a_form_of_sentences_is_told_by_how_its_clauses_begin(desk: Desk, ada: Browser) -> None:
    """How many trusted texts have it changes with what is learnt, so nothing is said of them."""
    fill(desk, 2)
    ways = "when \u2026, \u2026; \u2026, he \u2026"
    form = {"kind": "form", "phrase": ways, "n": 90, "trusted": None, "contrary": 0.6}
    tell(desk, ("c0", -1_200), shares=[form], expected=None)
    for page in (ada.get("/campaigns").text, ada.get(f"/campaigns/{NAME}").text):
        assert f'A form of sentence <q class="phrase"><bdi>{ways}</bdi></q>' in page
    assert "in 90 contributions since it was first seen" in page
    assert "trusted ones" not in page
    assert "would share the first of these" not in page


def pulled(desk: Desk) -> None:
    """Two that were accepted are held again: a model may have learnt from the first only."""
    for n in range(2):
        item = a_contribution(f"c{n}", input=f"my zq card {n}")
        hold(desk, f"item-{n}", item, learning=Learning.ACCEPTED, delivery=Delivery.NONE)
    for name, after_us in (("c0", 0), ("c1", 86_400_000_000)):
        charge = [PullBack(name, NAME)]
        desk.store.submit(
            lambda tx, charge=charge, after_us=after_us: tx.pull_back(  # type: ignore[misc]
                charge, now_us=tx.now_us(), mature_after_us=after_us
            )
        ).result()


def test_what_a_model_may_have_learnt_from_is_listed_for_recall(desk: Desk, ada: Browser, origin: str) -> None:
    pulled(desk)
    fill(desk, 1, first=2)
    page = ada.get(f"/campaigns/{NAME}").text
    assert "for recall" in page
    listed = ada.get(f"/campaigns/{NAME}?show=mature").text
    assert "my zq card 0" in listed
    assert "my zq card 1" not in listed
    assert "my zq card 2" not in listed
    bearer = {"Authorization": f"Bearer {TOKENS['ada']}"}
    with Browser(origin) as program:
        found = program.http.get(f"/api/v1/campaigns/{NAME}/members?show=mature", headers=bearer).json()
    assert [(each["item"], each["mature"]) for each in found["items"]] == [("item-0", True)]
    send(ada, confirm(ada, "deny"))
    assert "my zq card 0" in ada.get(f"/campaigns/{NAME}?show=mature").text, "denied, it was learnt all the same"


def test_deny_all(desk: Desk, ada: Browser) -> None:
    idents = fill(desk, 7)
    form = confirm(ada, "deny")
    answer = send(ada, form, "a flood")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/campaigns/{NAME}?done=1")
    assert states(desk, idents) == {"denied": 7}
    assert {stored(desk, ident).delivery for ident in idents} == {Delivery.DENIED}
    for ident in range(7):
        body = json.loads(desk.store.history(f"c{ident}")[-1].body)
        assert (body["moderator"], body["note"], body["campaign"]) == ("ada", "a flood", NAME)
    page = ada.get(answer.headers["location"]).text
    assert "7 contributions denied." in page
    assert "Nothing is left to decide." in page
    assert "campaign" in desk.decided, "whoever waits for decisions was woken"
    assert send(ada, form).status_code == 409, "a double click decides once"
    metrics = ada.get("/metrics").text
    assert 'feedback_guard_campaign_decisions_total{decision="deny"} 1.0' in metrics
    assert "feedback_guard_campaigns_waiting 0.0" in metrics
    assert verify(desk.store).clean


@pytest.mark.parametrize(
    ("which", "more", "moved"),
    [("fitting", {}, [0]), ("contrary", {}, [1, 2]), ("plain", {}, [2]), ("chosen", {"member": "2"}, [1])],
)
def test_a_part(desk: Desk, ada: Browser, which: str, more: dict[str, str], moved: list[int]) -> None:
    idents = fill(desk, 4)
    tell(desk, ("c0", -1_200), ("c1", 400), ("c2", 2_500))
    assert send(ada, confirm(ada, "approve", which, **more)).status_code == 303
    assert [n for n in range(4) if stored(desk, idents[n]).contributions[0].learning is Learning.APPROVED] == moved


def test_who_joins_after_the_page_was_made_is_not_decided_silently(desk: Desk, ada: Browser) -> None:
    fill(desk, 3)
    shown = ada.form(f"/campaigns/{NAME}")
    fill(desk, 2, first=3)
    query = f"do=deny&which=all&version={shown['version']}&fence={shown['fence']}"
    page = ada.get(f"/campaigns/{NAME}/confirm?{query}").text
    assert "Deny 3 contributions?" in page
    assert "2 held members joined after you had opened the campaign." in page
    form = ada.form(f"/campaigns/{NAME}/confirm?{query}")
    fill(desk, 1, first=5)
    answer = send(ada, form)
    page = ada.get(answer.headers["location"]).text
    assert "3 held members joined after you had opened the page, and still wait." in page
    assert states(desk, [f"item-{n}" for n in range(6)]) == {"denied": 3, "held": 3}


def test_a_stale_page_decides_nothing(desk: Desk, ada: Browser) -> None:
    fill(desk, 4)
    first, second = confirm(ada, "deny"), confirm(ada, "approve", "chosen", member="1")
    assert send(ada, second).status_code == 303
    answer = send(ada, first)
    assert (answer.status_code, "Somebody was faster" in answer.text) == (409, True)
    assert states(desk, [f"item-{n}" for n in range(4)]) == {"approved": 1, "held": 3}


def test_nothing_but_what_was_confirmed(desk: Desk, ada: Browser) -> None:
    fill(desk, 4)
    form = confirm(ada, "approve", "chosen", member="1")
    for change in (
        {"do": "deny"},
        {"which": "all"},
        {"members": "1,2"},
        {"fence": "99"},
        {"version": "2"},
        {"undo": "1"},
        {"token": "x"},
    ):
        assert send(ada, form | change).status_code == 403, change
    assert send(ada, form | {"which": "some"}).status_code == 400
    assert ada.post(f"/campaigns/{NAME}/decide", form, {"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert ada.get(f"/campaigns/{NAME}/confirm?do=deny&which=chosen&version=1&fence=4").status_code == 400
    with Browser(ada.origin) as stranger:
        assert stranger.get("/campaigns").status_code == 401
        assert stranger.get(f"/campaigns/{NAME}").status_code == 401
    assert states(desk, [f"item-{n}" for n in range(4)]) == {"held": 4}


def test_her_own_are_left_for_a_colleague(desk: Desk, ada: Browser) -> None:
    fill(desk, 2)
    fill(desk, 1, first=2, contributor="Ada ")
    page = ada.get(send(ada, confirm(ada, "approve")).headers["location"]).text
    assert "2 contributions approved. 1 came from the moderator&#39;s own name" in page
    assert stored(desk, "item-2").held


def test_it_is_taken_back(desk: Desk, ada: Browser) -> None:
    fill(desk, 3)
    send(ada, confirm(ada, "deny"))
    page = ada.get(f"/campaigns/{NAME}").text
    link = page.split('class="undo" href="')[1].split('"')[0].replace("&amp;", "&")
    assert "what was denied by ada" in ada.get(link).text
    assert send(ada, ada.form(link)).status_code == 303
    assert states(desk, ["item-0", "item-1", "item-2"]) == {"approved": 3}
    assert {stored(desk, f"item-{n}").delivery for n in range(3)} == {Delivery.APPROVED}


def test_a_long_one_goes_on_behind_her_back(
    desk: Desk, ada: Browser, monkeypatch: pytest.MonkeyPatch, until: Callable[[Callable[[], bool]], None]
) -> None:
    monkeypatch.setattr(bounds, "WAIT_SECONDS", 0.0)
    idents = fill(desk, 120)
    assert send(ada, confirm(ada, "deny")).status_code == 303
    until(lambda: states(desk, idents) == {"denied": 120})
    assert verify(desk.store).clean


def test_what_a_crash_left_is_gone_on_with_when_somebody_looks(
    desk: Desk, ada: Browser, until: Callable[[Callable[[], bool]], None]
) -> None:
    idents = fill(desk, 120)
    now_us = desk.clock.us
    made = desk.store.submit(
        lambda tx: tx.decide_campaign(NAME, Selection(), approve=False, moderator="bob", now_us=now_us)
    ).result()
    desk.store.submit(
        lambda tx: tx.carry_on_campaign(made.id, same_person=lambda *_: False, now_us=now_us, most=50)
    ).result()
    answer = ada.get(f"/campaigns/{NAME}")
    assert "50 of 120 denied so far." in answer.text
    assert answer.headers["refresh"] == "2"
    assert 'value="deny"' not in answer.text
    desk.clock.advance(10.0)
    assert ada.get(f"/campaigns/{NAME}").status_code == 200
    until(lambda: states(desk, idents) == {"denied": 120})
    kinds = Counter(entry.kind for n in range(120) for entry in desk.store.history(f"c{n}"))
    assert kinds == {"judged": 120, "denied": 120}


def test_a_store_that_fails_in_the_middle(desk: Desk, ada: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    idents = fill(desk, 120)
    form = confirm(ada, "deny")
    real, calls = campaign_decisions.carry_on, [0]

    def failing(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == 2:
            raise StoreError("the disk is full")
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(campaign_decisions, "carry_on", failing)
        assert send(ada, form).status_code == 303
    assert states(desk, idents) == {"denied": 50, "held": 70}
    assert "50 of 120 denied so far." in ada.get(f"/campaigns/{NAME}").text
    with monkeypatch.context() as patch:

        async def full(*_: object, **__: object) -> None:
            raise StoreError("the disk is full")

        patch.setattr(desk.store, "run", full)
        assert send(ada, form).status_code == 503


def test_many_moderators_at_once_and_one_by_one(desk: Desk, origin: str) -> None:
    """Each member is decided once, whoever does it, and what somebody decided by herself stays."""
    idents = fill(desk, 60)

    def act(number: int) -> int:
        headers = {"Authorization": f"Bearer {TOKENS['ada' if number % 2 else 'bob']}"}
        with Browser(origin) as program:
            if number < 6:
                body = {"version": 1, "fence": 60}
                verb = "approve" if number % 2 else "deny"
                url = f"/api/v1/campaigns/{NAME}/{verb}"
            else:
                body, url = {"version": 1}, f"/api/v1/items/item-{number}/approve"
            return program.http.post(url, json=body, headers=headers).status_code

    with ThreadPoolExecutor(10) as pool:
        statuses = list(pool.map(act, range(30)))
    assert sorted(statuses[:6]) == [200] + [409] * 5
    assert set(statuses[6:]) <= {200, 409}
    kinds = [[entry.kind for entry in desk.store.history(f"c{n}")] for n in range(60)]
    assert all(len(each) == 2 for each in kinds)
    assert not any(stored(desk, ident).held for ident in idents)
    assert verify(desk.store).clean


def test_by_program(desk: Desk, origin: str) -> None:
    fill(desk, 3)
    tell(desk, ("c0", -1_200), ("c1", 2_500))
    decide(desk, "item-2", approve=True)
    headers = {"Authorization": f"Bearer {TOKENS['ada']}"}
    with Browser(origin) as program:

        def get(path: str) -> Any:
            return program.http.get(f"/api/v1/campaigns{path}", headers=headers)

        def post(path: str, body: dict[str, Any]) -> Any:
            return program.http.post(f"/api/v1/campaigns/{NAME}{path}", json=body, headers=headers)

        listing = get("").json()
        assert (listing["count"], listing["waiting"], listing["held"], listing["next"]) == (1, 1, 2, None)
        one = get(f"/{NAME}").json()
        assert (one["id"], one["members"], one["fence"]) == (NAME, {"held": 2, "approved": 1}, 3)
        assert one["summary"] == SUMMARY
        assert [each["item"] for each in one["examples"]] == ["item-1", "item-0"]
        page = get(f"/{NAME}/members?show=held&limit=1").json()
        rest = get(f"/{NAME}/members?show=held&after={page['next']}").json()
        assert [each["item"] for each in page["items"] + rest["items"]] == ["item-0", "item-1"]
        assert page["items"][0]["contrary_log_odds"] == -1.2
        for wrong in (
            {"version": 1},
            {"version": 1, "fence": 3, "all": True},
            {"version": 1, "fence": 3, "members": []},
        ):
            assert post("/deny", wrong).status_code == 422
        done = post("/approve", {"version": 1, "fence": one["fence"], "odds_below": 1.0, "note": "fits"})
        assert (done.status_code, done.json()["moved"], done.json()["later"]) == (200, 1, 0)
        assert post("/deny", {"version": 1, "fence": 3}).status_code == 409
        assert post("/deny", {"version": 2, "fence": 3}).json()["moved"] == 1
        assert post("/approve", {"version": 3, "fence": 3, "undo": 2}).json()["moved"] == 1
        assert get(f"/{NAME}/decisions/2").json()["decision"] == "deny"
        for path in ("/nothing", f"/{NAME}/decisions/9", f"/{NAME}/decisions/x"):
            assert get(path).status_code == 404
        for path in ("?page=0", "?order=x", "?limit=0", f"/{NAME}/members?show=x", f"/{NAME}/members?after=1"):
            assert get(path).status_code == 422
        assert program.http.get("/api/v1/campaigns").status_code == 401
    assert states(desk, ["item-0", "item-1"]) == {"approved": 2}


def test_odds_and_thousandths_of_their_logarithm() -> None:
    assert (below_odds(1.0).most_milli, from_odds(1.0).least_milli) == (-1, 0)
    assert (below_odds(10.0).most_milli, from_odds(10.0).least_milli) == (2_302, 2_303)
