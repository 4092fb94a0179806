"""Who belongs to a campaign is exact in every transaction; a decision on it is made once and survives crashes."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from feedback_guard.errors import TransitionError, UsageError
from feedback_guard.ledger.verify import verify
from feedback_guard.store import campaign_reads, schema
from feedback_guard.store.campaign_decisions import CampaignDecision, Selection
from feedback_guard.store.campaigns import Told
from feedback_guard.store.database import Store
from feedback_guard.store.records import NewSubmission, PullBack
from feedback_guard.store.states import Delivery, Learning
from tests.store.build import CLOCK, NOW, decide, insert, judged, policy, submission
from tests.store.keep import downgraded

DAY = 86_400_000_000
NAME = "campaign-1"


def member(
    ident: str,
    *others: Learning,
    delivery: Delivery = Delivery.HELD,
    at_us: int = NOW,
    contributor: str = "alice",
    name: str = NAME,
    n: int = 1,
) -> NewSubmission:
    """A request with n members of a campaign, and perhaps others beside them."""
    mine = [judged(f"{ident}.{k}", Learning.HELD, contributor=contributor, campaign=name) for k in range(n)]
    return NewSubmission(
        id=ident,
        route="feedback",
        at_us=at_us,
        delivery=delivery,
        judged=(*mine, *(judged(f"{ident}.{k}", state) for k, state in enumerate(others, n))),
        request=b"POST /feedback" if delivery is Delivery.HELD else None,
        worker="w1" if delivery is Delivery.DISPATCHING else "",
    )


def campaign(store: Store, name: str = NAME) -> campaign_reads.StoredCampaign:
    with store.reading() as connection:
        found = campaign_reads.read_campaign(connection, name)
    assert found is not None
    return found


def begin(store: Store, *, approve: bool, selection: Selection | None = None, **options: Any) -> CampaignDecision:
    given: dict[str, Any] = {"moderator": "ada", "now_us": NOW} | options
    return store.submit(lambda tx: tx.decide_campaign(NAME, selection or Selection(), approve=approve, **given)).result(
        30
    )


def batch(store: Store, ident: int, *, most: int = 50) -> CampaignDecision:
    return store.submit(
        lambda tx: tx.carry_on_campaign(ident, same_person=lambda one, two: one == two, now_us=NOW, most=most)
    ).result(30)


def finish(store: Store, made: CampaignDecision, *, most: int = 50) -> CampaignDecision:
    while made.running:
        made = batch(store, made.id, most=most)
    return made


def learning(store: Store, *idents: str) -> list[Learning]:
    found = [store.contribution(ident) for ident in idents]
    return [item.learning for item in found if item is not None]


def test_members_are_known_as_soon_as_they_are_held(store: Store) -> None:
    insert(store, member("a"), member("b", contributor="bob", at_us=NOW + 5), submission("c"))
    pulled = [PullBack("c.0", NAME)]
    store.submit(lambda tx: tx.pull_back(pulled, now_us=NOW + DAY, mature_after_us=DAY)).result(30)
    found = campaign(store)
    assert (found.n_held, found.n_members, found.n_mature) == (3, 3, 1)
    assert (found.since_us, found.until_us) == (NOW, NOW + 5)
    assert found.senders == {"contributor": 2, "group:network": 1}
    assert found.fence == 3
    with store.reading() as connection:
        assert campaign_reads.count_campaigns(connection) == (1, 1, 3)
        assert [each.stored.contribution.id for each in campaign_reads.members(connection, NAME, limit=9, mature=True)]
        assert campaign_reads.campaigns_of(connection, ["b.0", "x"]) == {"b.0": NAME}


def test_a_job_that_fails_leaves_no_member(store: Store) -> None:
    def fail(tx: Any) -> None:
        tx.insert(member("a"))
        raise UsageError("no")

    with pytest.raises(UsageError):
        store.submit(fail).result(30)
    insert(store, member("b"))
    assert (campaign(store).n_members, campaign(store).fence) == (1, 1)


def test_what_the_evidence_says_is_kept_and_never_replaced_by_something_older(store: Store) -> None:
    insert(store, member("a"), submission("b", Learning.HELD), submission("c", Learning.ACCEPTED))
    new = Told(NAME, 9, True, json.dumps({"n": 2}), (("a.0", -700), ("b.0", 1_500), ("c.0", 0), ("nobody", 3)))
    for told in (new, new, Told(NAME, 4, False, json.dumps({"n": 1}))):
        store.submit(lambda tx, told=told: tx.tell([told])).result(30)  # type: ignore[misc]
    found = campaign(store)
    assert (found.is_open, found.told_seq, found.summary) == (True, 9, {"n": 2})
    with store.reading() as connection:
        listed = campaign_reads.members(connection, NAME, limit=9)
        best = campaign_reads.examples(connection, NAME, 1)
    # held for another reason: a member too. Accepted: none, before it is pulled back.
    assert [(each.stored.contribution.id, each.contrary_milli) for each in listed] == [("a.0", -700), ("b.0", 1_500)]
    assert [each.stored.contribution.id for each in best] == ["b.0"]


def test_sheets_show_each_member_once_those_least_indicted_first(store: Store) -> None:
    insert(store, *[member(f"s{n}") for n in range(7)])
    told = Told(NAME, 9, True, "{}", tuple((f"s{n}.0", (n % 3) * 100) for n in range(6)))
    store.submit(lambda tx: tx.tell([told])).result(30)
    seen: list[str] = []
    after = None
    while True:
        with store.reading() as connection:
            page = campaign_reads.members(connection, NAME, limit=2, state=Learning.HELD, after=after)
        if not page:
            break
        seen += [each.submission for each in page]
        last = page[-1]
        after = (1_000_000 if last.contrary_milli is None else last.contrary_milli, last.number)
    assert seen == ["s0", "s3", "s1", "s4", "s2", "s5", "s6"]


@pytest.mark.parametrize("approve", [True, False])
def test_all_of_it_in_batches_each_with_its_entry(store: Store, approve: bool) -> None:
    insert(store, *[member(f"s{n}") for n in range(5)], member("pair", n=2))
    made = begin(store, approve=approve, note="flood of Tuesday", version=1, fence=campaign(store).fence)
    assert made.running
    steps = [batch(store, made.id, most=2)]
    while steps[-1].running:
        steps.append(batch(store, made.id, most=2))
    assert (steps[-1].n_total, steps[-1].n_moved, len(steps)) == (7, 7, 4)
    goal = Learning.APPROVED if approve else Learning.DENIED
    assert campaign(store).counts == {goal: 7}
    assert campaign(store).ruled is goal
    for ident in ("s0.0", "pair.1"):
        entry = store.history(ident)[-1]
        body = json.loads(entry.body)
        assert (entry.kind, body["moderator"], body["campaign"]) == (goal.value, "ada", NAME)
        assert body["note"] == "flood of Tuesday"
    ruling = store.history(NAME)
    assert [entry.kind for entry in ruling] == ["campaign_approved" if approve else "campaign_denied"]
    found = store.submission("pair")
    assert found is not None
    assert found.delivery is (Delivery.APPROVED if approve else Delivery.DENIED)
    assert verify(store).clean


def test_a_batch_that_is_done_twice_or_by_several_at_once_is_done_once(store: Store) -> None:
    insert(store, *[member(f"s{n}") for n in range(30)])
    made = begin(store, approve=False)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: batch(store, made.id, most=3), range(16)))
    done = batch(store, made.id)
    assert (done.running, done.n_moved) == (False, 30)
    kinds = Counter(entry.kind for n in range(30) for entry in store.history(f"s{n}.0"))
    assert kinds == {"judged": 30, "denied": 30}
    assert verify(store).clean


def test_after_a_crash_another_process_goes_on_where_it_ended(new_url: str) -> None:
    with Store.open(policy(new_url), clock=CLOCK) as store:
        insert(store, *[member(f"s{n}") for n in range(9)])
        made = begin(store, approve=False)
        batch(store, made.id, most=4)

        def crash(tx: Any) -> None:
            tx.carry_on_campaign(made.id, same_person=lambda *_: False, now_us=NOW, most=4)
            raise RuntimeError("the process is gone before the commit")

        with pytest.raises(RuntimeError):
            store.submit(crash).result(30)
        assert campaign(store).n_held == 5
    with Store.open(policy(new_url), clock=CLOCK) as store:
        with store.reading() as connection:
            (left,) = campaign_reads.running_decisions(connection, idle_since_us=NOW, limit=9)
        assert (left.id, left.n_moved) == (made.id, 4)
        assert finish(store, left).n_moved == 9
        with store.reading() as connection:
            assert campaign_reads.running_decisions(connection, idle_since_us=NOW, limit=9) == []
        assert verify(store).clean


def test_who_comes_later_or_was_decided_meanwhile_is_left_alone(store: Store) -> None:
    insert(store, *[member(f"s{n}") for n in range(4)])
    seen = campaign(store)
    insert(store, member("late"))
    decide(store, "s1", approve=True)
    made = begin(store, approve=False, version=seen.version, fence=seen.fence)
    insert(store, member("later"))
    batch(store, made.id, most=1)
    decide(store, "s3", approve=True)  # in between
    assert finish(store, made).n_moved == 2
    names = ("s0.0", "s1.0", "s2.0", "s3.0", "late.0", "later.0")
    approved, denied, held = Learning.APPROVED, Learning.DENIED, Learning.HELD
    assert learning(store, *names) == [denied, approved, denied, approved, held, held]
    with store.reading() as connection:
        assert campaign_reads.count_new(connection, NAME, made.fence) == 2


def test_of_two_decisions_on_what_was_seen_one_is_made(store: Store) -> None:
    insert(store, *[member(f"s{n}") for n in range(3)])
    seen = campaign(store).version
    made = begin(store, approve=True, version=seen)
    with pytest.raises(TransitionError, match="at version 2 by now"):
        begin(store, approve=False, version=seen)
    with pytest.raises(TransitionError, match="still being carried out"):
        begin(store, approve=False)
    finish(store, made)
    with pytest.raises(TransitionError, match="no members for that decision"):
        begin(store, approve=False)
    with pytest.raises(TransitionError, match="no campaign"):
        store.submit(lambda tx: tx.decide_campaign("x", Selection(), approve=True, moderator="ada", now_us=NOW)).result(
            30
        )


def test_a_part_of_it(store: Store) -> None:
    insert(store, *[member(f"s{n}") for n in range(5)])
    told = Told(NAME, 9, True, "{}", (("s0.0", -1_200), ("s1.0", -1), ("s2.0", 0), ("s3.0", 2_000)))
    store.submit(lambda tx: tx.tell([told])).result(30)
    made = finish(store, begin(store, approve=True, selection=Selection(most_milli=-1)))
    assert (made.n_total, made.n_moved, campaign(store).ruled) == (2, 2, None)
    finish(store, begin(store, approve=False, selection=Selection(least_milli=1)))
    finish(store, begin(store, approve=True, selection=Selection(numbers=(5,))))
    approved, denied, held = Learning.APPROVED, Learning.DENIED, Learning.HELD
    names = [f"s{n}.0" for n in range(5)]
    assert learning(store, *names) == [approved, approved, held, denied, approved]
    with pytest.raises(UsageError, match="1 to 200"):
        Selection(numbers=tuple(range(201)))


def test_her_own_and_what_cannot_go_alone_are_left_alone(store: Store) -> None:
    insert(
        store,
        member("own", contributor="ada"),
        member("mixed", Learning.HELD),
        member("passed", Learning.HELD, delivery=Delivery.NONE),
        member("other"),
    )
    made = finish(store, begin(store, approve=True))
    assert (made.n_moved, made.n_own, made.n_mixed) == (2, 1, 1)
    approved, held = Learning.APPROVED, Learning.HELD
    names = ("own.0", "mixed.0", "mixed.1", "passed.0", "passed.1", "other.0")
    assert learning(store, *names) == [held, held, held, approved, held, approved]
    # To deny, a kept request goes as a whole: the application never sees a part of it.
    finish(store, begin(store, approve=False, moderator="bob"))
    assert learning(store, "mixed.0", "mixed.1", "own.0", "passed.1") == [Learning.DENIED] * 3 + [held]
    assert verify(store).clean


def test_it_is_taken_back_as_single_decisions_are(store: Store) -> None:
    insert(store, *[member(f"s{n}") for n in range(4)])
    decide(store, "s0", approve=False)
    first = finish(store, begin(store, approve=False))
    decide(store, "s1", approve=True)
    decide(store, "s1", approve=False)
    with pytest.raises(TransitionError, match="would take back"):
        begin(store, approve=False, selection=Selection(undoes=first.id))
    back = finish(store, begin(store, approve=True, selection=Selection(undoes=first.id)))
    assert back.n_moved == 3
    assert learning(store, "s0.0", "s1.0", "s2.0", "s3.0") == [Learning.DENIED] + [Learning.APPROVED] * 3
    assert campaign(store).ruled is Learning.APPROVED
    assert verify(store).clean


def test_campaigns_the_largest_or_the_newest_first(store: Store) -> None:
    insert(store, *[member(f"a{n}", name="campaign-a", at_us=NOW + n) for n in range(3)])
    insert(store, member("b", name="campaign-b", at_us=NOW + 9), member("c", name="campaign-c"))
    decide(store, "c", approve=False)
    with store.reading() as connection:

        def names(**options: Any) -> list[str]:
            return [each.id for each in campaign_reads.campaigns(connection, limit=9, **options)]

        assert names(waiting=True) == ["campaign-a", "campaign-b"]
        assert names() == ["campaign-b", "campaign-a", "campaign-c"]
        assert names(offset=1) == ["campaign-a", "campaign-c"]
        assert campaign_reads.count_campaigns(connection) == (3, 2, 4)


def test_the_upgrade_finds_the_members_that_are_there(new_url: str) -> None:
    with Store.open(policy(new_url), clock=CLOCK) as store:
        insert(store, member("a"), member("b", contributor="(anonymous)", at_us=NOW + 5), submission("c"))
        pulled = [PullBack("c.0", NAME)]
        store.submit(lambda tx: tx.pull_back(pulled, now_us=NOW + DAY, mature_after_us=DAY)).result(30)
        before = campaign(store)
    downgraded(new_url, "0003")
    with Store.open(policy(new_url), clock=CLOCK) as store:
        assert campaign(store) == before
        assert verify(store).clean
    assert schema.HEAD >= "0004"
