"""Claims: one worker at a time, for a time, under a number; what comes back late is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from sqlalchemy import update

from feedback_guard.clock import SystemClock
from feedback_guard.errors import FencedError, TransitionError
from feedback_guard.ledger.verify import verify
from feedback_guard.store import tables
from feedback_guard.store.database import Store
from feedback_guard.store.records import Claim
from feedback_guard.store.retries import Retries
from feedback_guard.store.states import Delivery, Resolution
from tests.store.build import NOW, decide, held, insert, policy

SECOND = 1_000_000
RETRIES = Retries(frozenset({"feedback"}), 3, 2 * SECOND, 60 * SECOND, 3_600 * SECOND, lambda: 0.5)


def approved(store: Store, ident: str = "s1") -> None:
    insert(store, held(ident))
    decide(store, ident, approve=True)


def claim(store: Store, now_us: int = NOW, *, worker: str = "w1", lease_us: int = 30 * SECOND) -> Claim | None:
    found = store.submit(
        lambda tx: tx.claim_approved(
            worker, now_us=now_us, limit=1, application="a", routes=["feedback"], lease_us=lease_us
        )
    ).result()
    return found[0] if found else None


def lost(store: Store, now_us: int, retries: Retries | None = None) -> list[str]:
    return store.submit(lambda tx: tx.abandon_lost(now_us, 60 * SECOND, retries)).result()


def end(
    store: Store, to: Delivery, *, fence: int, now_us: int = NOW, retries: Retries | None = None, status: int = 200
) -> Delivery:
    return store.submit(
        lambda tx: tx.deliver("s1", to, now_us=now_us, fence=fence, retries=retries, detail={"status": status})
    ).result()


def state(store: Store, ident: str = "s1") -> Delivery:
    found = store.submission(ident)
    assert found is not None
    return found.delivery


def resolve(store: Store, way: Resolution) -> None:
    store.submit(lambda tx: tx.resolve("s1", way, moderator="mo", now_us=NOW)).result()


def test_a_lease_that_ran_out_makes_it_unknown_and_its_outcome_is_refused(store: Store) -> None:
    approved(store)
    got = claim(store)
    assert got is not None
    assert (got.fence, got.attempt) == (1, 1)
    # The process may be alive or not: a lease says nothing about that.
    store.submit(lambda tx: tx.heartbeat("w1", NOW + 30 * SECOND)).result()
    assert lost(store, NOW + 30 * SECOND) == []
    assert lost(store, NOW + 30 * SECOND + 1) == ["s1"]
    assert state(store) is Delivery.UNKNOWN
    with pytest.raises(TransitionError, match="as the outcome of a call"):
        end(store, Delivery.DELIVERED, fence=1)
    assert claim(store, NOW + 1_000 * SECOND) is None, "nobody sends again what is unknown"
    assert verify(store).clean


def test_whoever_was_overtaken_can_say_nothing(store: Store) -> None:
    """The first worker pauses; a moderator says that nothing had arrived; a second worker has the request now."""
    approved(store)
    assert claim(store, worker="slow") is not None
    lost(store, NOW + 31 * SECOND)
    resolve(store, Resolution.NOT_ARRIVED)
    second = claim(store, NOW + 32 * SECOND, worker="quick")
    assert second is not None
    assert second.fence == 2
    for outcome in (Delivery.DELIVERED, Delivery.FAILED, Delivery.UNKNOWN):
        with pytest.raises(FencedError, match=r"claim 1 .* is over, the latest is 2"):
            end(store, outcome, fence=1)
    with pytest.raises(FencedError):
        store.submit(lambda tx: tx.release("s1", fence=1, now_us=NOW, reason="slow")).result()
    assert state(store) is Delivery.DISPATCHING
    assert end(store, Delivery.DELIVERED, fence=2) is Delivery.DELIVERED
    fences = [json.loads(entry.body)["fence"] for entry in store.history("s1")]
    assert fences == [0, 1, 1, 1, 2, 2]
    assert verify(store).clean


def test_a_claim_that_is_given_back_is_free_at_once(store: Store) -> None:
    approved(store)
    assert claim(store) is not None
    store.submit(lambda tx: tx.release("s1", fence=1, now_us=NOW, reason="too slow")).result()
    again = claim(store)
    assert again is not None
    assert (again.fence, again.attempt) == (2, 1), "an attempt that was not made does not count"
    end(store, Delivery.DELIVERED, fence=2)
    with pytest.raises(TransitionError, match="nobody's claim"):
        store.submit(lambda tx: tx.release("s1", fence=2, now_us=NOW, reason="too slow")).result()
    assert verify(store).clean


def test_what_is_declared_idempotent_is_tried_again_later_and_not_for_ever(store: Store) -> None:
    approved(store)
    now, waits = NOW, []
    for attempt in range(1, 4):
        got = claim(store, now)
        assert got is not None
        assert got.attempt == attempt
        stands = end(store, Delivery.FAILED, fence=got.fence, now_us=now, retries=RETRIES, status=503)
        found = store.submission("s1")
        assert found is not None
        if attempt == 3:
            assert stands is found.delivery is Delivery.FAILED
            break
        assert stands is found.delivery is Delivery.APPROVED
        assert claim(store, found.due_us - 1) is None
        waits.append((found.due_us - now) / SECOND)
        now = found.due_us
    # Half of 2 s and of 4 s, and half of the other half: the jitter is drawn from it.
    assert waits == [1.5, 3.0]
    steps = [(json.loads(entry.body)["from"], json.loads(entry.body)["to"]) for entry in store.history("s1")]
    assert steps.count(("failed", "approved")) == 2
    assert verify(store).clean


def test_a_lost_lease_of_what_is_declared_idempotent_is_claimable_again(store: Store) -> None:
    approved(store)
    assert claim(store) is not None
    assert lost(store, NOW + 31 * SECOND, RETRIES) == ["s1"]
    assert state(store) is Delivery.APPROVED
    again = claim(store, NOW + 40 * SECOND)
    assert again is not None
    assert again.fence == 2
    with pytest.raises(FencedError):
        end(store, Delivery.DELIVERED, fence=1)
    assert verify(store).clean


def test_retries_end_with_the_time_as_well(store: Store) -> None:
    approved(store)
    assert claim(store) is not None
    assert lost(store, NOW + 3_600 * SECOND, RETRIES) == ["s1"]
    assert state(store) is Delivery.UNKNOWN


def test_only_named_routes_are_retried(store: Store) -> None:
    approved(store)
    assert claim(store) is not None
    other = Retries(frozenset({"elsewhere"}), 3, SECOND, SECOND, SECOND, lambda: 0.0)
    assert end(store, Delivery.UNKNOWN, fence=1, retries=other) is Delivery.UNKNOWN


def test_what_a_moderator_denied_meanwhile_is_not_tried_again(store: Store) -> None:
    approved(store)
    assert claim(store) is not None
    decide(store, "s1", approve=False)
    assert end(store, Delivery.FAILED, fence=1, retries=RETRIES, status=503) is Delivery.FAILED
    assert claim(store, NOW + 1_000 * SECOND) is None


def test_a_pending_retry_is_stopped_by_a_denial(store: Store) -> None:
    approved(store)
    assert claim(store) is not None
    assert end(store, Delivery.FAILED, fence=1, retries=RETRIES, status=503) is Delivery.APPROVED
    decide(store, "s1", approve=False)
    assert state(store) is Delivery.DENIED
    assert claim(store, NOW + 1_000 * SECOND) is None
    assert verify(store).clean


def test_a_moderators_word_begins_the_attempts_anew(store: Store) -> None:
    approved(store)
    now = NOW
    for fence in (1, 2, 3):
        assert claim(store, now) is not None
        end(store, Delivery.FAILED, fence=fence, now_us=now, retries=RETRIES, status=503)
        now += 100 * SECOND
    assert state(store) is Delivery.FAILED
    resolve(store, Resolution.RETRY)
    got = claim(store, NOW + 10_000 * SECOND)
    assert got is not None
    assert (got.fence, got.attempt) == (4, 1)
    assert (
        end(store, Delivery.FAILED, fence=4, now_us=NOW + 10_000 * SECOND, retries=RETRIES, status=503)
        is Delivery.APPROVED
    )


def claimed_for(store: Store, application: str) -> list[str]:
    taken = store.submit(
        lambda tx: tx.claim_approved("w1", now_us=NOW, limit=9, application=application, routes=["feedback"])
    ).result()
    return [claim.submission for claim in taken]


def test_each_application_is_given_its_own_and_what_names_none(store: Store) -> None:
    insert(store, replace(held("first"), application="one"), replace(held("second"), application="two"), held("older"))
    for ident in ("first", "second", "older"):
        decide(store, ident, approve=True)
    kept = {each.application: (each.route, each.approved, each.count) for each in store.kept_requests()}
    assert kept == dict.fromkeys((None, "one", "two"), ("feedback", True, 1))
    assert sorted(claimed_for(store, "two")) == ["older", "second"]
    assert claimed_for(store, "three") == []
    assert claimed_for(store, "one") == ["first"]
    assert verify(store).findings == []


def test_a_request_that_was_given_another_application_is_found_and_goes_to_nobody(store: Store) -> None:
    insert(store, replace(held("s1"), application="one"))
    decide(store, "s1", approve=True)
    store.submit(lambda tx: tx.connection.execute(update(tables.replay).values(application="two")).rowcount).result()
    assert [finding.message for finding in verify(store).findings] == [
        "the kept request is for another application than recorded"
    ]
    assert claimed_for(store, "two") == []
    assert state(store) is Delivery.DENIED


@pytest.mark.parametrize(
    "altered",
    [{"fence": 7}, {"fence": 0}],
)
def test_an_altered_fence_is_found(store: Store, altered: dict[str, int]) -> None:
    approved(store)
    assert claim(store) is not None
    store.submit(lambda tx: tx.connection.execute(update(tables.replay).values(**altered)).rowcount).result()
    assert [finding.message for finding in verify(store).findings] == [
        f"the row says claim {altered['fence']}, the ledger 1"
    ]


def test_the_stores_clock_is_the_servers_where_hosts_may_differ(url: str) -> None:
    class Wrong(SystemClock):
        def now_us(self) -> int:
            return 7

    with Store.open(policy(url), clock=Wrong()) as store:
        now_us = store.submit(lambda tx: tx.now_us()).result()
    if url.startswith("postgresql"):
        assert abs(now_us - SystemClock().now_us()) < 60 * SECOND
    else:
        assert now_us == 7
