from __future__ import annotations

import json
from typing import Any

import pytest

from feedback_guard.contribution import Contribution, Kind
from feedback_guard.errors import LedgerError, StoreError, StoreFullError, TransitionError, UsageError
from feedback_guard.ledger.verify import verify
from feedback_guard.limits.interface import UNIT
from feedback_guard.limits.plan import charges_for
from feedback_guard.policy.limits import LimitPolicy
from feedback_guard.store.database import Store, Transaction
from feedback_guard.store.records import Judged, NewSubmission
from feedback_guard.store.states import Delivery, Learning
from feedback_guard.verdict import Decision, Verdict
from tests.store.build import CLOCK, NOW, decide, held, insert, judged, policy, submission


def body(store: Store, subject: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(store.history(subject)[-1].body)
    return value


def test_what_goes_in_comes_out(store: Store) -> None:
    new = submission(
        "s1", Learning.ACCEPTED, Learning.LIMITED, delivery=Delivery.DISPATCHING, worker="w", anonymous=True
    )
    insert(store, new)
    found = store.submission("s1")
    assert found is not None
    assert (found.route, found.at_us, found.delivery, found.version) == ("feedback", NOW, Delivery.DISPATCHING, 1)
    assert found.anonymous
    assert not found.held
    assert [item.contribution for item in found.contributions] == [item.contribution for item in new.judged]
    assert [item.verdict for item in found.contributions] == [item.verdict for item in new.judged]
    assert [item.vectors for item in found.contributions] == [item.vectors for item in new.judged]
    assert [item.weight_micro for item in found.contributions] == [750_000, 0]
    assert store.contribution("s1.1") == found.contributions[1]
    assert found.contributions[0].contribution.digest() == body(store, "s1.0")["contribution_sha256"]


@pytest.mark.parametrize(
    "contribution",
    [
        Contribution("c", NOW + 1, "u", Kind.RATING, "in", output="out", rating=1.0),
        Contribution("c", NOW - 1, "u", Kind.RATING, "in", output="out", rating=0.3),
        Contribution("c", 0, "u", Kind.PREFERENCE, "in", chosen="a", rejected="b", interaction="i", model="m"),
        Contribution("c", NOW, "\u202eu\x00", Kind.CORRECTION, "", output="", rejected=""),
        Contribution("c", NOW, "u", Kind.DEMONSTRATION, "x" * 32_768, output="\U0001f600", metadata={"a": [1.5, {}]}),
    ],
    ids=lambda item: item.kind.value,
)
def test_every_kind_comes_out_as_it_went_in(store: Store, contribution: Contribution) -> None:
    verdict = Verdict("c", Decision.ACCEPT, 1 / 3, 0.1 + 0.2, (), "p", None, "camp", 7, observed=True, unscored=True)
    insert(store, NewSubmission("s", "", NOW, Delivery.NONE, (Judged(contribution, verdict, Learning.ACCEPTED),)))
    found = store.contribution("c")
    assert found is not None
    assert found.contribution == contribution
    assert found.contribution.digest() == contribution.digest()
    assert found.verdict == verdict
    assert found.vectors == b""
    assert verify(store).clean


def test_the_ledger_says_what_was_judged_without_saying_who_or_what(store: Store) -> None:
    insert(store, held("s1"))
    entry = store.history("s1.0")[0]
    told = json.loads(entry.body)
    assert (entry.seq, entry.kind, entry.at_us) == (1, "judged", NOW)
    assert told["decision"] == "quarantine"
    assert told["weight_micro"] == 0
    assert told["suspicion_micro"] == 300_000
    assert told["reasons"] == [{"signal": "novelty", "p_ppb": 12_345_679}, {"signal": "guard", "p_ppb": None}]
    assert len(told["request_sha256"]) == 64
    for secret in ("alice", "Karte", "card_arrival", "10.0.0.0", "far from"):
        assert secret not in entry.body


@pytest.mark.parametrize("learning", [Learning.APPROVED, Learning.DENIED])
def test_nothing_begins_decided(store: Store, learning: Learning) -> None:
    bad = NewSubmission(
        "s1", "", NOW, Delivery.NONE, (Judged(judged("c").contribution, judged("c").verdict, learning),)
    )
    with pytest.raises(TransitionError):
        insert(store, bad)
    assert store.submission("s1") is None


def test_no_request_begins_in_the_middle(store: Store) -> None:
    for delivery in (Delivery.APPROVED, Delivery.DENIED, Delivery.DELIVERED, Delivery.FAILED, Delivery.UNKNOWN):
        with pytest.raises(TransitionError):
            insert(store, submission("s1", delivery=delivery))
    assert store.submission("s1") is None


def test_a_submission_without_contributions_is_refused(store: Store) -> None:
    with pytest.raises(UsageError):
        insert(store, NewSubmission("s1", "", NOW, Delivery.NONE, ()))


def test_the_request_is_kept_byte_for_byte_while_something_is_held(store: Store) -> None:
    request = bytes(range(256)) * 300
    insert(store, held("s1", request=request))
    insert(store, submission("s2", Learning.HELD, delivery=Delivery.DISPATCHING, request=request))
    insert(store, submission("s3", delivery=Delivery.DISPATCHING, request=request))
    kept = [found.request for ident in ("s1", "s2", "s3") if (found := store.submission(ident))]
    assert kept == [request, request, None]


def test_budgets_are_charged_with_the_record_or_not_at_all(store: Store) -> None:
    limits = [LimitPolicy(name="two", facet="contributor", measure="count", amount=2)]
    charges = charges_for(limits, judged("x").contribution, attempts=1)

    def record(tx: Transaction, ident: str, fail: bool) -> bool:
        if tx.budgets.charge(charges, NOW) is not None:
            return False
        tx.insert(submission(ident))
        if fail:
            raise ZeroDivisionError
        return True

    assert store.submit(lambda tx: record(tx, "s1", fail=False)).result()
    with pytest.raises(ZeroDivisionError):
        store.submit(lambda tx: record(tx, "s2", fail=True)).result()
    assert store.balance(charges[0].budget, charges[0].key, NOW).remaining_micro == UNIT
    assert store.peek(charges, NOW) is None
    assert store.submit(lambda tx: record(tx, "s3", fail=False)).result()
    assert not store.submit(lambda tx: record(tx, "s4", fail=False)).result()
    assert store.peek(charges, NOW) is not None


@pytest.mark.parametrize("n", [1, 3])
def test_the_hold_store_has_a_bound(url: str, n: int) -> None:
    with Store.open(policy(url, hold_capacity=6), clock=CLOCK) as store:
        fitting = 6 // n
        for number in range(fitting):
            insert(store, held(f"s{number}", n=n))
        with pytest.raises(StoreFullError, match="hold_capacity is 6"):
            insert(store, held("full", n=n))
        with pytest.raises(StoreFullError):
            insert(store, submission("full", Learning.HELD, delivery=Delivery.DISPATCHING))
        assert store.submission("full") is None
        insert(store, submission("accepted"))
        decide(store, "s0", approve=False)
        insert(store, held("room", n=n))
        assert store.held_summary().count == fitting
        assert verify(store).clean


def test_a_decision_makes_room_within_the_same_group(url: str) -> None:
    with Store.open(policy(url, hold_capacity=2), clock=CLOCK) as store:
        insert(store, held("s0"))

        def all_at_once(tx: Transaction) -> None:
            tx.insert(held("s1"))
            with pytest.raises(StoreFullError):
                tx.insert(held("s2"))
            tx.decide("s0", approve=False, moderator="mo", now_us=NOW)
            tx.insert(held("s2"))

        store.submit(all_at_once).result()
        assert store.held_summary().count == 2


def test_the_bound_holds_within_one_group(url: str) -> None:
    def many(tx: Transaction) -> None:
        for number in range(4):
            tx.insert(held(f"s{number}"))

    with Store.open(policy(url, hold_capacity=3), clock=CLOCK) as store:
        with pytest.raises(StoreFullError):
            store.submit(many).result()
        assert store.held_summary().count == 0
        insert(store, *[held(f"t{number}") for number in range(3)])


def test_other_parts_append_their_own_kinds(store: Store) -> None:
    seq = store.submit(lambda tx: tx.append("login", "mo", {"ok": True, "n": 3, "list": ["a", None]}, NOW)).result()
    entry = store.history("mo")[0]
    assert (entry.seq, entry.kind, entry.body) == (seq, "login", '{"list":["a",null],"n":3,"ok":true}')


def test_what_a_record_may_not_hold_is_refused(store: Store) -> None:
    refused: list[tuple[str, str, dict[str, Any]]] = [
        ("judged", "x", {}),
        ("delivery", "x", {}),
        ("Kind", "x", {}),
        ("k" * 65, "x", {}),
        ("kind", "", {}),
        ("kind", "x" * 513, {}),
        ("kind", "\ud800", {}),
        ("kind", "x", {"a": 0.5}),
        ("kind", "x", {"a": [{"b": 1.0}]}),
        ("kind", "x", {"a": 2**53}),
        ("kind", "x", {"ä": 1}),
        ("kind", "x", {"a": "\udfff"}),
        ("kind", "x", {"a": "y" * 70_000}),
    ]
    for case in refused:
        with pytest.raises(LedgerError):
            store.submit(lambda tx, case=case: tx.append(*case, NOW)).result()  # type: ignore[misc]
    assert store.last_event() is None


def test_an_identifier_that_cannot_be_stored_is_a_store_error(store: Store) -> None:
    with pytest.raises((StoreError, LedgerError)):
        insert(store, submission("\ud800"))
    assert store.last_event() is None
