from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import insert as insert_row

from feedback_guard.errors import ClaimLostError, StoreError
from feedback_guard.store import repeats, tables
from feedback_guard.store.database import Store
from feedback_guard.store.repeats import Claim, Found, KeptAnswer, RepeatKey, Seen
from feedback_guard.store.states import Delivery
from tests.store.build import NOW, deliver, held, insert, submission

KEY = RepeatKey("s" * 64, "f" * 64, "feedback", 3_600_000_000)
LEASE_US = 30_000_000
ANSWER = KeptAnswer(201, ((b"content-type", b"text/plain"), (b"location", b"/x/\xe9")), b"made\x00\xff")


def run(store: Store, function: Any, *arguments: Any, **options: Any) -> Any:
    return store.submit(lambda tx: function(tx.connection, *arguments, **options)).result()


def claim(store: Store, key: RepeatKey = KEY, *, now_us: int = NOW) -> Found:
    found: Found = run(store, repeats.claim, key, now_us=now_us, lease_us=LEASE_US)
    return found


def held_claim(store: Store, key: RepeatKey = KEY, *, now_us: int = NOW) -> Claim:
    found = claim(store, key, now_us=now_us)
    assert found.seen is Seen.NEW
    assert found.claim is not None
    return found.claim


def look(store: Store, key: RepeatKey = KEY, *, now_us: int = NOW) -> Found:
    with store.reading() as connection:
        return repeats.look(connection, key, now_us)


def bound(store: Store, ident: str, *, delivery: Delivery = Delivery.DISPATCHING, key: RepeatKey = KEY) -> None:
    own = held_claim(store, key)
    new = held(ident) if delivery is Delivery.HELD else submission(ident, delivery=delivery, worker="w")

    def record(tx: Any) -> None:
        tx.insert(new)
        repeats.bind(tx.connection, own, ident)

    store.submit(record).result()


def test_the_first_has_it_and_the_others_wait(store: Store) -> None:
    assert look(store).seen is Seen.NEW
    held_claim(store)
    assert claim(store).seen is Seen.IN_FLIGHT
    assert look(store).seen is Seen.IN_FLIGHT


def test_a_second_row_of_one_key_cannot_be_written(store: Store) -> None:
    """What holds even if the lock did not: the key is unique in the database."""
    held_claim(store)
    with store.reading() as connection:
        row = dict(connection.execute(tables.repeat.select()).one()._mapping)
    with pytest.raises(StoreError, match="already recorded"):
        store.submit(lambda tx: tx.connection.execute(insert_row(tables.repeat), row | {"holder": "other"})).result()


def test_one_submission_answers_for_one_key(store: Store) -> None:
    bound(store, "a")
    other = held_claim(store, replace(KEY, scope_sha256="o" * 64))
    with pytest.raises(StoreError, match="already recorded"):
        run(store, repeats.bind, other, "a")


def test_another_body_is_told_apart_at_every_stage(store: Store) -> None:
    other = replace(KEY, fingerprint_sha256="e" * 64)
    own = held_claim(store)
    assert claim(store, other).seen is Seen.OTHER
    run(store, repeats.release, own)
    bound(store, "a")
    assert claim(store, other).seen is Seen.OTHER
    run(store, repeats.keep, "a", ANSWER)
    assert claim(store, other).seen is Seen.OTHER


def test_it_is_in_flight_until_the_submission_has_an_outcome(store: Store) -> None:
    bound(store, "a")
    assert claim(store).seen is Seen.IN_FLIGHT
    deliver(store, "a", Delivery.DELIVERED, status=200)
    found = claim(store)
    assert (found.seen, found.submission, found.delivery) == (Seen.SETTLED, "a", Delivery.DELIVERED)


def test_a_held_submission_is_settled_at_once(store: Store) -> None:
    bound(store, "a", delivery=Delivery.HELD)
    assert (claim(store).seen, claim(store).delivery) == (Seen.SETTLED, Delivery.HELD)


def test_the_kept_answer_comes_back_to_the_byte_and_the_first_stays(store: Store) -> None:
    bound(store, "a")
    run(store, repeats.keep, "a", ANSWER)
    run(store, repeats.keep, "a", replace(ANSWER, status=500))
    for found in (claim(store), look(store)):
        assert (found.seen, found.answer, found.submission) == (Seen.ANSWERED, ANSWER, "a")


def test_an_answer_without_a_key_is_not_kept(store: Store) -> None:
    insert(store, submission("a", delivery=Delivery.DISPATCHING))
    run(store, repeats.keep, "a", ANSWER)
    with store.reading() as connection:
        assert connection.execute(tables.repeat.select()).all() == []


def test_a_claim_that_is_never_bound_ends_with_its_lease(store: Store) -> None:
    first = held_claim(store)
    assert claim(store, now_us=NOW + LEASE_US - 1).seen is Seen.IN_FLIGHT
    second = held_claim(store, now_us=NOW + LEASE_US)
    assert second.holder != first.holder


def test_whoever_lost_the_claim_can_record_nothing(store: Store) -> None:
    first = held_claim(store)
    second = held_claim(store, now_us=NOW + LEASE_US)

    def record(tx: Any, own: Claim, ident: str) -> None:
        tx.insert(submission(ident, delivery=Delivery.DISPATCHING))
        repeats.bind(tx.connection, own, ident)

    with pytest.raises(ClaimLostError):
        store.submit(lambda tx: record(tx, first, "slow")).result()
    assert store.submission("slow") is None
    store.submit(lambda tx: record(tx, second, "fast")).result()
    with pytest.raises(ClaimLostError):
        store.submit(lambda tx: record(tx, second, "again")).result()
    assert store.submission("again") is None


def test_a_clock_that_is_set_back_does_not_prolong_a_claim(store: Store) -> None:
    held_claim(store, now_us=NOW + 3_600_000_000)
    held_claim(store, now_us=NOW)


def test_what_is_released_begins_anew_and_what_is_bound_is_not_released(store: Store) -> None:
    own = held_claim(store)
    run(store, repeats.release, own)
    bound(store, "a")
    run(store, repeats.release, own)
    assert claim(store).seen is Seen.IN_FLIGHT


def test_what_is_forgotten_begins_anew(store: Store) -> None:
    bound(store, "a")
    run(store, repeats.forget, "a")
    assert claim(store).seen is Seen.NEW


def test_it_is_remembered_for_as_long_as_was_said(store: Store) -> None:
    bound(store, "a")
    run(store, repeats.keep, "a", ANSWER)
    assert claim(store, now_us=NOW + KEY.retain_us - 1).seen is Seen.ANSWERED
    assert claim(store, now_us=NOW + KEY.retain_us).seen is Seen.NEW


def test_what_is_dispatched_is_not_forgotten_however_long_it_takes(store: Store) -> None:
    bound(store, "a")
    late = NOW + 10 * KEY.retain_us
    assert claim(store, now_us=late).seen is Seen.IN_FLIGHT
    assert run(store, repeats.purge, late) == 0
    deliver(store, "a", Delivery.UNKNOWN)
    assert run(store, repeats.purge, late) == 1


def test_expired_keys_are_taken_away_and_no_others(store: Store) -> None:
    bound(store, "a")
    run(store, repeats.keep, "a", ANSWER)
    held_claim(store, replace(KEY, scope_sha256="c" * 64, retain_us=1))
    assert run(store, repeats.purge, NOW + 1) == 0
    assert run(store, repeats.purge, NOW + LEASE_US) == 1
    assert run(store, repeats.purge, NOW + KEY.retain_us) == 1
    with store.reading() as connection:
        assert connection.execute(tables.repeat.select()).all() == []


def test_a_purge_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "PURGED_AT_ONCE", 2)
    for number in range(3):
        held_claim(store, replace(KEY, scope_sha256=str(number), retain_us=1))
    assert [run(store, repeats.purge, NOW + LEASE_US) for _ in range(3)] == [2, 1, 0]
