from __future__ import annotations

import pytest

from feedback_guard.errors import StoreError
from feedback_guard.ledger.chain import GENESIS
from feedback_guard.store.database import Store
from feedback_guard.store.states import Delivery, Learning
from tests.store.build import NOW, claims, decide, deliver, held, insert, submission


def test_an_empty_store_answers(store: Store) -> None:
    assert store.events_after(0, 10) == []
    assert store.last_event() is None
    assert store.held(limit=10) == []
    assert store.submission("x") is None
    assert store.contribution("x") is None
    assert store.count_by_delivery() == {}
    assert (store.held_summary().count, store.held_summary().oldest_at_us) == (0, None)
    assert (store.checkpoint().seq, store.checkpoint().hash, store.checkpoint().at_us) == (0, GENESIS, NOW)


def test_events_come_in_order_with_the_contribution_as_it_is_now(store: Store) -> None:
    insert(store, submission("s1"), held("s2"))
    store.submit(lambda tx: tx.append("note", "s1.0", {}, NOW)).result()
    decide(store, "s2", approve=True)
    claims(store)
    deliver(store, "s2", Delivery.DELIVERED)
    events = store.events_after(0, 100)
    assert [(event.seq, event.kind) for event in events] == [
        (1, "judged"),
        (2, "judged"),
        (3, "note"),
        (4, "approved"),
        (5, "delivery"),
        (6, "delivery"),
        (7, "delivery"),
    ]
    assert [event.stored.contribution.id if event.stored else None for event in events] == [
        "s1.0",
        "s2.0",
        None,
        "s2.0",
        None,
        None,
        None,
    ]
    assert events[1].stored is not None
    assert events[1].stored.learning is Learning.APPROVED
    assert [event.seq for event in store.events_after(2, 3)] == [3, 4, 5]
    assert store.events_after(7, 10) == []
    assert store.last_event() == events[-1]


def test_a_submission_named_like_a_contribution_is_not_mistaken_for_it(store: Store) -> None:
    insert(store, submission("a", delivery=Delivery.DISPATCHING))
    insert(store, submission("a.0", delivery=Delivery.DISPATCHING))
    deliver(store, "a.0", Delivery.DELIVERED)
    events = store.events_after(0, 10)
    assert [event.stored is not None for event in events] == [True, True, False]


def test_held_items_are_paged_oldest_first(store: Store) -> None:
    insert(store, *[held(f"s{n}", at_us=NOW + n // 2, n=2) for n in (5, 3, 1, 0, 2, 4)])
    insert(store, submission("accepted", at_us=NOW - 5))
    first = store.held(limit=2)
    assert [item.id for item in first] == ["s0", "s1"]
    assert [part.contribution.id for part in first[1].contributions] == ["s1.0", "s1.1"]
    decide(store, "s1", approve=False)
    assert [item.id for item in store.held(limit=3, after="s1")] == ["s2", "s3", "s4"]
    assert [item.id for item in store.held(limit=100, after="s4")] == ["s5"]
    assert store.held(limit=0) == []
    assert (store.held_summary().count, store.held_summary().oldest_at_us) == (5, NOW)
    with pytest.raises(StoreError, match="first page"):
        store.held(limit=1, after="nope")


def test_a_page_is_bounded(store: Store) -> None:
    insert(store, *[held(f"s{n:03}") for n in range(205)])
    assert len(store.held(limit=10_000)) == 200


def test_a_held_contribution_of_a_delivered_request_is_listed_too(store: Store) -> None:
    insert(store, submission("s1", Learning.HELD, delivery=Delivery.DISPATCHING))
    deliver(store, "s1", Delivery.DELIVERED)
    assert [item.id for item in store.held(limit=5)] == ["s1"]
    decide(store, "s1", approve=True)
    assert store.held(limit=5) == []


def test_submissions_are_counted_by_delivery(store: Store) -> None:
    insert(store, held("s1"), held("s2"), submission("s3", delivery=Delivery.REFUSED))
    assert store.count_by_delivery() == {Delivery.HELD: 2, Delivery.REFUSED: 1}
