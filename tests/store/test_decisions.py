from __future__ import annotations

import json

import pytest

from feedback_guard.errors import TransitionError, UsageError
from feedback_guard.ledger.verify import verify
from feedback_guard.limits.interface import UNIT
from feedback_guard.limits.plan import charges_for
from feedback_guard.policy.limits import LimitPolicy
from feedback_guard.store.database import Store
from feedback_guard.store.states import Delivery, Learning
from tests.store.build import NOW, claims, decide, deliver, held, insert, submission

MUCH = LimitPolicy(name="much", facet="contributor", measure="weight", amount=2, per="1h")
OFTEN = LimitPolicy(name="often", facet="contributor", measure="count", amount=2, per="1h")


def learning(store: Store, ident: str) -> list[str]:
    found = store.submission(ident)
    assert found is not None
    return [item.learning.value for item in found.contributions]


def kinds(store: Store) -> list[str]:
    return [event.kind for event in store.events_after(0, 100)]


def test_approving_lets_the_model_learn_and_the_request_pass(store: Store) -> None:
    insert(store, held("s1", n=2))
    after = decide(store, "s1", approve=True, note="gut\x00", version=1, now_us=NOW + 5)
    assert (after.delivery, after.version) == (Delivery.APPROVED, 2)
    assert not after.held
    assert [item.learning for item in after.contributions] == [Learning.APPROVED] * 2
    assert [item.weight_micro for item in after.contributions] == [UNIT] * 2
    assert [item.verdict.weight for item in after.contributions] == [0.0] * 2
    assert after == store.submission("s1")
    assert kinds(store) == ["judged", "judged", "approved", "approved", "delivery"]
    entry = store.history("s1.0")[1]
    told = json.loads(entry.body)
    assert (told["moderator"], told["note"], told["from"], told["to"]) == ("mo", "gut\x00", "held", "approved")
    assert entry.at_us == NOW + 5
    assert verify(store).clean


def test_denying_keeps_both_from_it(store: Store) -> None:
    insert(store, held("s1"))
    after = decide(store, "s1", approve=False)
    assert (after.delivery, learning(store, "s1")) == (Delivery.DENIED, ["denied"])
    assert after.request is not None
    assert claims(store) == []


def test_a_moderator_may_change_her_mind_until_it_is_delivered(store: Store) -> None:
    insert(store, held("s1"))
    for approve, delivery in ((True, Delivery.APPROVED), (False, Delivery.DENIED), (True, Delivery.APPROVED)):
        assert decide(store, "s1", approve=approve).delivery is delivery
    assert claims(store) == ["s1"]
    deliver(store, "s1", Delivery.DELIVERED, status=200)
    after = decide(store, "s1", approve=False)
    assert (after.delivery, learning(store, "s1")) == (Delivery.DELIVERED, ["denied"])
    assert verify(store).clean


def test_the_same_decision_twice_is_refused(store: Store) -> None:
    insert(store, held("s1"))
    decide(store, "s1", approve=True)
    with pytest.raises(TransitionError):
        decide(store, "s1", approve=True)
    assert kinds(store).count("approved") == 1


@pytest.mark.parametrize("state", [Learning.ACCEPTED, Learning.LIMITED, Learning.REJECTED])
@pytest.mark.parametrize("approve", [True, False])
def test_what_was_not_held_cannot_be_decided_on(store: Store, state: Learning, approve: bool) -> None:
    insert(store, submission("s1", state))
    with pytest.raises(TransitionError):
        decide(store, "s1", approve=approve)
    assert kinds(store) == ["judged"]


def test_only_what_is_held_is_decided_on(store: Store) -> None:
    insert(store, submission("s1", Learning.ACCEPTED, Learning.HELD, delivery=Delivery.DISPATCHING))
    assert store.held_summary().count == 1
    decide(store, "s1", approve=False)
    assert learning(store, "s1") == ["accepted", "denied"]
    assert store.held_summary().count == 0


def test_a_stale_version_loses(store: Store) -> None:
    insert(store, held("s1"))
    decide(store, "s1", approve=True, version=1)
    with pytest.raises(TransitionError, match="version 2 by now, not 1"):
        decide(store, "s1", approve=False, version=1)
    assert decide(store, "s1", approve=False, version=2).version == 3


def test_of_two_moderators_on_one_version_one_wins(store: Store) -> None:
    insert(store, held("s1"))
    futures = [
        store.submit(
            lambda tx, n=n: tx.decide("s1", approve=bool(n % 2), moderator=f"m{n}", note="", version=1, now_us=NOW)  # type: ignore[misc]
        )
        for n in range(6)
    ]
    assert sum(future.exception() is None for future in futures) == 1
    assert sum(kind in {"approved", "denied"} for kind in kinds(store)) == 1


def test_an_unknown_submission_is_refused(store: Store) -> None:
    with pytest.raises(TransitionError, match="no submission 'nope'"):
        decide(store, "nope", approve=True)


def test_a_decision_has_a_name_and_a_bounded_note(store: Store) -> None:
    insert(store, held("s1"))
    with pytest.raises(UsageError):
        decide(store, "s1", approve=True, moderator="")
    with pytest.raises(UsageError):
        decide(store, "s1", approve=True, note="x" * 4_097)


def test_approval_charges_influence_by_force_and_only_once(store: Store) -> None:
    for number in range(3):
        insert(store, held(f"s{number}"))
        decide(store, f"s{number}", approve=True, limits=[MUCH, OFTEN])
    decide(store, "s0", approve=False, limits=[MUCH])
    decide(store, "s0", approve=True, limits=[MUCH])
    found = store.contribution("s0.0")
    assert found is not None
    charge = charges_for([MUCH], found.contribution, weight_micro=UNIT)[0]
    refusal = store.peek([charge], NOW)
    assert refusal is not None
    assert refusal.retry_after_us == 3_600_000_000  # a debt of one and a cost of one at two an hour
    counted = charges_for([OFTEN], found.contribution, attempts=2)
    assert store.peek(counted, NOW) is None


def test_approval_of_an_unnamed_contribution_charges_what_all_such_share(store: Store) -> None:
    shared = LimitPolicy(name="anon", facet="anonymous", measure="weight", amount=1)
    insert(store, submission("s1", Learning.HELD, anonymous=True))
    decide(store, "s1", approve=True, limits=[shared, MUCH])
    found = store.contribution("s1.0")
    assert found is not None
    assert store.peek(charges_for([shared], found.contribution, anonymous=True, weight_micro=1), NOW) is not None
    assert store.peek(charges_for([MUCH], found.contribution, weight_micro=2 * UNIT), NOW) is None
