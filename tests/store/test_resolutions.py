"""Each bad end of a request has its ways on, each is a transition, and none overwrites what came between."""

from __future__ import annotations

import json

import pytest

from feedback_guard.errors import TransitionError, UsageError
from feedback_guard.ledger.verify import verify
from feedback_guard.store.database import Store
from feedback_guard.store.records import StoredSubmission
from feedback_guard.store.states import DELIVERY, RESOLUTIONS, Delivery, Resolution
from tests.store.build import NOW, claims, decide, deliver, held, insert, submission


def ended(store: Store, ident: str, to: Delivery) -> StoredSubmission:
    """A kept request that was claimed and ended so."""
    insert(store, held(ident))
    decide(store, ident, approve=True)
    claims(store)
    if to is Delivery.GIVEN_UP:
        deliver(store, ident, Delivery.FAILED, status=500)
        resolve(store, ident, Resolution.GIVE_UP)
    else:
        deliver(store, ident, to, status=500)
    found = store.submission(ident)
    assert found is not None
    return found


def resolve(
    store: Store, ident: str, way: Resolution, *, version: int | None = None, moderator: str = "mo", note: str = ""
) -> StoredSubmission:
    return store.submit(
        lambda tx: tx.resolve(ident, way, moderator=moderator, note=note, version=version, now_us=NOW)
    ).result()


def test_every_resolution_is_a_transition_that_the_machine_has() -> None:
    for before, ways in RESOLUTIONS.items():
        assert set(ways.values()) <= DELIVERY[before]
        late = {Delivery.FAILED} if before is Delivery.UNKNOWN else set()
        assert DELIVERY[before] == set(ways.values()) | late, "and there is no other way on"
    assert RESOLUTIONS.keys() == {
        Delivery.FAILED,
        Delivery.UNKNOWN,
        Delivery.NEEDS_CREDENTIALS,
        Delivery.GIVEN_UP,
    }


@pytest.mark.parametrize("before", [Delivery.FAILED, Delivery.UNKNOWN, Delivery.NEEDS_CREDENTIALS, Delivery.GIVEN_UP])
@pytest.mark.parametrize("way", Resolution)
def test_a_bad_end_has_its_ways_on_and_no_others(store: Store, before: Delivery, way: Resolution) -> None:
    was = ended(store, "s1", before)
    to = RESOLUTIONS[before].get(way)
    if to is None:
        with pytest.raises(TransitionError, match="is no way on from there"):
            resolve(store, "s1", way)
        assert store.submission("s1") == was
    else:
        after = resolve(store, "s1", way, version=was.version, note="looked at it")
        assert (after.delivery, after.version) == (to, was.version + 1)
        told = json.loads(store.history("s1")[-1].body)
        assert (told["from"], told["to"], told["resolution"]) == (before.value, to.value, way.value)
        assert (told["moderator"], told["note"]) == ("mo", "looked at it")
        assert claims(store) == (["s1"] if to is Delivery.APPROVED else [])
    assert verify(store).clean


def test_two_moderators_cannot_both_win(store: Store) -> None:
    was = ended(store, "s1", Delivery.UNKNOWN)
    resolve(store, "s1", Resolution.ARRIVED, version=was.version)
    with pytest.raises(TransitionError, match=r"is at version 5 by now, not 4"):
        resolve(store, "s1", Resolution.NOT_ARRIVED, version=was.version)
    with pytest.raises(TransitionError, match="is no way on"):
        resolve(store, "s1", Resolution.NOT_ARRIVED)
    assert claims(store) == []


def test_what_was_never_kept_cannot_be_sent_but_its_end_can_be_told(store: Store) -> None:
    insert(store, submission("s1", delivery=Delivery.DISPATCHING, worker="w1"))
    deliver(store, "s1", Delivery.UNKNOWN)
    with pytest.raises(TransitionError, match="no kept request"):
        resolve(store, "s1", Resolution.NOT_ARRIVED)
    assert resolve(store, "s1", Resolution.ARRIVED).delivery is Delivery.DELIVERED
    assert verify(store).clean


def test_what_is_denied_is_not_sent_again_before_it_is_approved(store: Store) -> None:
    ended(store, "s1", Delivery.FAILED)
    decide(store, "s1", approve=False)
    with pytest.raises(TransitionError, match="is denied; approve it"):
        resolve(store, "s1", Resolution.RETRY)
    decide(store, "s1", approve=True)
    assert resolve(store, "s1", Resolution.RETRY).delivery is Delivery.APPROVED


def test_a_resolution_names_somebody_and_something(store: Store) -> None:
    ended(store, "s1", Delivery.FAILED)
    with pytest.raises(UsageError, match="names the moderator"):
        resolve(store, "s1", Resolution.RETRY, moderator="")
    with pytest.raises(UsageError, match="at most 4096"):
        resolve(store, "s1", Resolution.RETRY, note="x" * 4_097)
    with pytest.raises(TransitionError, match="no submission"):
        resolve(store, "nope", Resolution.RETRY)


def test_what_is_stuck_is_listed_and_counted(store: Store) -> None:
    for number, to in enumerate(
        (Delivery.FAILED, Delivery.UNKNOWN, Delivery.NEEDS_CREDENTIALS, Delivery.DELIVERED, Delivery.GIVEN_UP)
    ):
        ended(store, f"s{number}", to)
    insert(store, *[submission(name, delivery=Delivery.DISPATCHING) for name in ("direct", "client")])
    deliver(store, "direct", Delivery.UNKNOWN)
    deliver(store, "client", Delivery.FAILED, status=422)  # its client was told so
    assert [found.id for found in store.stuck(limit=10)] == ["direct", "s0", "s1", "s2"]
    assert [found.id for found in store.stuck(limit=2, after="direct")] == ["s0", "s1"]
    assert store.count_stuck() == 4
