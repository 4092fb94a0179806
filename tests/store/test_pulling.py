"""Accepted contributions that a campaign is found to be made of are held again: once, on the record, and undoable."""

from __future__ import annotations

import json

import pytest

from feedback_guard.ledger.verify import verify
from feedback_guard.store.database import Store
from feedback_guard.store.records import PullBack
from feedback_guard.store.states import Delivery, Learning
from tests.store.build import NOW, insert, submission

DAY = 86_400_000_000


def pull(store: Store, *names: str, now_us: int = NOW, after: int = 0) -> list[str]:
    pulled = [PullBack(name, "campaign-1") for name in names]
    return store.submit(
        lambda tx: tx.pull_back(pulled, now_us=now_us, mature_after_us=DAY, mature_after_count=after)
    ).result(30)


def test_it_is_held_waits_for_a_moderator_and_teaches_nothing(store: Store) -> None:
    insert(store, submission("s", Learning.ACCEPTED, Learning.ACCEPTED))
    assert pull(store, "s.0") == ["s.0"]
    found = store.submission("s")
    assert found is not None
    assert [item.learning for item in found.contributions] == [Learning.HELD, Learning.ACCEPTED]
    assert [item.weight_micro for item in found.contributions] == [0, 750_000]
    assert found.held
    assert [item.id for item in store.held(limit=10)] == ["s"]
    assert store.held_summary().count == 1
    assert verify(store).clean


@pytest.mark.parametrize(("age_us", "mature"), [(DAY - 1, False), (DAY, True)])
def test_the_ledger_says_whether_it_may_have_been_learnt(store: Store, age_us: int, mature: bool) -> None:
    insert(store, submission("s"))
    pull(store, "s.0", now_us=NOW + age_us)
    entry = store.history("s.0")[-1]
    body = json.loads(entry.body)
    assert (entry.kind, body["campaign"], body["mature"]) == ("held", "campaign-1", mature)
    event = store.last_event()
    assert event is not None
    assert (event.kind, event.stored is not None) == ("held", True)


@pytest.mark.parametrize(("followers", "mature"), [(1, False), (2, True)])
def test_old_enough_it_is_no_older_than_what_was_judged_after_it(store: Store, followers: int, mature: bool) -> None:
    """No snapshot could hold it before, so there is nothing to recall."""
    for n in range(1 + followers):
        insert(store, submission(f"s{n}"))
    pull(store, "s0.0", now_us=NOW + DAY, after=2)
    assert json.loads(store.history("s0.0")[-1].body)["mature"] is mature


def test_what_is_not_accepted_is_left_as_it_is(store: Store) -> None:
    insert(store, submission("s", Learning.HELD, Learning.LIMITED, delivery=Delivery.NONE))
    assert pull(store, "s.0", "s.1", "nobody") == []
    assert verify(store).clean


def test_twice_is_once(store: Store) -> None:
    insert(store, submission("s"))
    assert [pull(store, "s.0"), pull(store, "s.0")] == [["s.0"], []]
    assert verify(store).clean


@pytest.mark.parametrize("approve", [True, False])
def test_a_moderator_has_the_last_word(store: Store, approve: bool) -> None:
    insert(store, submission("s"))
    pull(store, "s.0")
    decided = store.submit(lambda tx: tx.decide("s", approve=approve, moderator="mia", now_us=NOW)).result(30)
    assert decided.contributions[0].learning is (Learning.APPROVED if approve else Learning.DENIED)
    assert pull(store, "s.0") == []
    assert not store.held(limit=10)
    assert verify(store).clean
