from __future__ import annotations

import json
import logging

import pytest
from sqlalchemy import update

from feedback_guard.errors import LedgerError, TransitionError
from feedback_guard.ledger.verify import verify
from feedback_guard.store import deliveries, tables
from feedback_guard.store.database import Store, Transaction
from feedback_guard.store.leases import LEASE_US
from feedback_guard.store.records import Claim
from feedback_guard.store.states import OUTCOMES, Delivery, Resolution
from tests.store.build import NOW, claims, decide, deliver, held, insert, submission

SECOND = 1_000_000


def state(store: Store, ident: str) -> Delivery:
    found = store.submission(ident)
    assert found is not None
    return found.delivery


def approved(store: Store, *idents: str) -> None:
    for number, ident in enumerate(idents):
        insert(store, held(ident, at_us=NOW + number))
        decide(store, ident, approve=True)


def lost(store: Store, now_us: int) -> list[str]:
    return store.submit(lambda tx: tx.abandon_lost(now_us, 60 * SECOND)).result()


def heartbeat(store: Store, worker: str, now_us: int) -> None:
    store.submit(lambda tx: tx.heartbeat(worker, now_us)).result()


@pytest.mark.parametrize("outcome", [Delivery.DELIVERED, Delivery.FAILED, Delivery.UNKNOWN])
def test_the_outcome_of_a_request_is_recorded(store: Store, outcome: Delivery) -> None:
    insert(store, submission("s1", delivery=Delivery.DISPATCHING, worker="w1"))
    deliver(store, "s1", outcome, status=200, seconds=0.25, note="a\x00b")
    found = store.submission("s1")
    assert found is not None
    assert (found.delivery, found.version) == (outcome, 2)
    assert found.detail == {"status": 200, "seconds": 0.25, "note": "a\x00b"}
    entry = store.history("s1")[0]
    told = json.loads(entry.body)
    assert (entry.kind, told["from"], told["to"], told["worker"]) == ("delivery", "dispatching", outcome.value, "w1")
    assert verify(store).clean


@pytest.mark.parametrize("before", [Delivery.NONE, Delivery.REFUSED, Delivery.HELD, Delivery.DISPATCHING])
def test_only_what_the_machine_has_is_recorded(store: Store, before: Delivery) -> None:
    for after in Delivery:
        ident = f"s-{after}"
        insert(store, submission(ident, delivery=before))
        if before is Delivery.DISPATCHING and after in OUTCOMES:
            deliver(store, ident, after)
            assert state(store, ident) is after
        else:
            with pytest.raises(TransitionError):
                deliver(store, ident, after)
            assert state(store, ident) is before
            assert store.history(ident) == []
    assert verify(store).clean


def test_an_unknown_submission_is_refused(store: Store) -> None:
    with pytest.raises(TransitionError, match="no submission"):
        deliver(store, "nope", Delivery.DELIVERED)


def test_a_detail_that_is_no_json_is_refused(store: Store) -> None:
    insert(store, submission("s1", delivery=Delivery.DISPATCHING))
    with pytest.raises(LedgerError):
        deliver(store, "s1", Delivery.DELIVERED, seconds=float("nan"))
    assert state(store, "s1") is Delivery.DISPATCHING


def test_an_approved_request_is_claimed_once(store: Store) -> None:
    approved(store, "s1")
    asked = {"now_us": NOW, "limit": 10, "application": "a", "routes": ["feedback"]}
    jobs = [store.submit(lambda tx, n=n: tx.claim_approved(f"w{n}", **asked)) for n in range(8)]  # type: ignore[misc]
    won = [job.result() for job in jobs]
    assert [claim for claim in won if claim] == [[Claim("s1", "feedback", b"POST /feedback\x00\xff", fence=1)]]
    assert state(store, "s1") is Delivery.DISPATCHING


def test_claims_come_oldest_first_within_limit_and_routes(store: Store) -> None:
    approved(store, "b", "a", "c")
    insert(store, submission("other", delivery=Delivery.DISPATCHING))
    assert claims(store, routes=()) == []
    assert claims(store, routes=("elsewhere",)) == []
    assert claims(store, limit=0) == []
    assert claims(store, limit=2) == ["b", "a"]
    assert claims(store, routes=("elsewhere", "feedback")) == ["c"]
    assert claims(store) == []


def test_a_held_request_that_was_altered_is_not_delivered(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    approved(store, "s1", "s2")
    altered = update(tables.submission).where(tables.submission.c.id == "s1").values(request=b"POST /other")
    store.submit(lambda tx: tx.connection.execute(altered).rowcount).result()
    with caplog.at_level(logging.ERROR):
        assert claims(store) == ["s2"]
    assert "not the one in the ledger" in caplog.text
    assert state(store, "s1") is Delivery.DENIED
    assert not verify(store).clean


def test_what_a_lost_process_was_dispatching_is_unknown(store: Store) -> None:
    insert(store, submission("mine", delivery=Delivery.DISPATCHING, worker="w1"))
    insert(store, submission("theirs", delivery=Delivery.DISPATCHING, worker="w2"))
    insert(store, submission("done", delivery=Delivery.DISPATCHING, worker="w2"))
    deliver(store, "done", Delivery.DELIVERED)
    heartbeat(store, "w1", NOW)
    heartbeat(store, "w2", NOW)
    heartbeat(store, "w1", NOW + 50 * SECOND)
    assert lost(store, NOW + 60 * SECOND) == []
    assert lost(store, NOW + 60 * SECOND + 1) == ["theirs"]
    assert (state(store, "mine"), state(store, "theirs")) == (Delivery.DISPATCHING, Delivery.UNKNOWN)
    assert lost(store, NOW + 60 * SECOND + 1) == []
    deliver(store, "theirs", Delivery.DELIVERED)
    assert state(store, "theirs") is Delivery.DELIVERED, "it was only slow, and nobody else was given the request"
    assert verify(store).clean


def test_a_process_that_never_sent_a_heartbeat_has_as_long(store: Store) -> None:
    insert(store, submission("s1", delivery=Delivery.DISPATCHING, worker="new"))
    assert lost(store, NOW + 60 * SECOND) == []
    assert lost(store, NOW + 61 * SECOND) == ["s1"]


def test_a_request_claimed_lately_is_not_lost_however_old_it_is(store: Store) -> None:
    approved(store, "s1")
    heartbeat(store, "w9", NOW)
    late = NOW + 3_600 * SECOND
    store.submit(
        lambda tx: tx.claim_approved("w9", now_us=late, limit=1, application="a", routes=["feedback"])
    ).result()
    assert lost(store, late + SECOND) == []
    assert lost(store, late + LEASE_US) == []
    assert lost(store, late + LEASE_US + 1) == ["s1"]


def test_a_late_answer_to_what_was_given_at_once_is_taken(store: Store) -> None:
    """Nobody else was given it; what a claim was for may have been given to another worker meanwhile."""
    for ident in ("late", "refused", "arrived", "again"):
        insert(store, submission(ident, delivery=Delivery.DISPATCHING, worker="w1"))
        deliver(store, ident, Delivery.UNKNOWN, cause="silence")
    approved(store, "claimed")
    assert claims(store) == ["claimed"]
    deliver(store, "claimed", Delivery.UNKNOWN)
    store.submit(lambda tx: tx.resolve("arrived", Resolution.ARRIVED, moderator="mo", now_us=NOW)).result()
    deliver(store, "late", Delivery.DELIVERED, status=201)
    deliver(store, "refused", Delivery.FAILED, status=422)
    assert (state(store, "late"), state(store, "refused")) == (Delivery.DELIVERED, Delivery.FAILED)
    for ident, to in (
        ("claimed", Delivery.DELIVERED),
        ("arrived", Delivery.FAILED),
        ("again", Delivery.UNKNOWN),
        ("late", Delivery.FAILED),
    ):
        with pytest.raises(TransitionError):
            deliver(store, ident, to)
    assert verify(store).findings == []


def test_a_late_answer_under_a_claim_is_found(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    approved(store, "s1")
    assert claims(store) == ["s1"]
    deliver(store, "s1", Delivery.UNKNOWN)

    def forge(tx: Transaction) -> None:
        row = deliveries.find(tx._group, "s1")
        deliveries.move(tx._group, row, Delivery.DELIVERED, now_us=NOW, told={"late": True})

    store.submit(forge).result()
    assert [finding.message.split(" ", 2)[2] for finding in verify(store).findings] == [
        "goes on from unknown and nobody said so"
    ]


def test_a_row_that_was_changed_since_it_was_read_is_not_moved(store: Store) -> None:
    """The writers' lock sees to that already; this is what stands behind it."""
    approved(store, "s1")

    def twice(tx: Transaction) -> None:
        row = deliveries.find(tx._group, "s1")
        deliveries.move(tx._group, row, Delivery.DENIED, now_us=NOW)
        deliveries.move(tx._group, row, Delivery.DISPATCHING, now_us=NOW)

    with pytest.raises(TransitionError, match="somebody else"):
        store.submit(twice).result()
    assert state(store, "s1") is Delivery.APPROVED, "nothing of it is left"
    assert verify(store).clean
