"""A campaign in the running guard: what was accepted before it was found is held again, also after a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from feedback_guard.assessment import Assessment
from feedback_guard.bulk import carry_on
from feedback_guard.clock import ManualClock
from feedback_guard.guard import Guard
from feedback_guard.ledger.verify import verify
from feedback_guard.limits.memory import MemoryBudgets
from feedback_guard.policy.routes import OnHold
from feedback_guard.settle import Settler
from feedback_guard.store.campaign_decisions import Selection
from feedback_guard.store.campaign_reads import Member, StoredCampaign, campaigns, members
from feedback_guard.store.records import Judged, NewSubmission
from feedback_guard.store.states import Delivery, Learning
from feedback_guard.verdict import Decision, Verdict
from tests.evidence.test_accumulator import TRIGGER, mixed, triggered
from tests.guards import START_US, labelled, make_guard, submit

UNSEEN_ALONE = {"false_hold_rate": 0.0001}
"""So that no single contribution is held for what it is by itself."""


def learning(guard: Guard, submissions: dict[str, str]) -> dict[str, Learning]:
    found = {}
    for ident, name in submissions.items():
        stored = guard.store.submission(name)
        assert stored is not None
        found[ident] = stored.contributions[0].learning
    return found


@pytest.mark.parametrize("restart", [False, True])
def test_its_earlier_members_are_pulled_back(tmp_path: Path, restart: bool) -> None:
    bad, honest = triggered(24, accounts=1_000), list(labelled(200, seed=3))
    submissions: dict[str, str] = {}
    held: list[str] = []

    async def main() -> None:
        guard = make_guard(tmp_path, signals=UNSEEN_ALONE)
        await guard.start()
        for number, item in enumerate(mixed(honest, bad)):
            got = await guard.judge(submit(item))
            submissions[item.id] = got.submission
            if got.decision is Decision.QUARANTINE:
                held.append(item.id)
                assert got.verdicts[0].campaign
                assert got.verdicts[0].reasons[0].signal == "evidence"
            if number % 16 == 0:
                await guard.catch_up()
        await guard.catch_up()
        if restart:
            await guard.stop()
            guard = make_guard(tmp_path, signals=UNSEEN_ALONE)
            await guard.start()
        states = learning(guard, submissions)
        page = guard.metrics.render()[0].decode()
        await guard.stop()
        pulled = [item.id for item in bad if states[item.id] is Learning.HELD and item.id not in held]
        assert len(held) >= 5
        assert len(pulled) >= 2
        assert sum(states[item.id] is Learning.HELD for item in bad) >= 22
        assert {states[item.id] for item in honest} == {Learning.ACCEPTED}
        assert "feedback_guard_campaigns 1.0" in page
        assert restart or f"feedback_guard_pulled_back_total {float(len(pulled))}" in page

    asyncio.run(main())
    assert verify(make_guard(tmp_path).policy.store.url).clean


def test_without_evidence_each_is_judged_by_itself(tmp_path: Path) -> None:
    async def main() -> None:
        guard = make_guard(tmp_path, signals=UNSEEN_ALONE, evidence={"enabled": False})
        await guard.start()
        for item in mixed(list(labelled(60, seed=3)), triggered(24, accounts=1_000)):
            assert (await guard.judge(submit(item))).decision is Decision.ACCEPT
        await guard.stop()

    asyncio.run(main())


def test_what_a_moderator_approves_is_learnt_and_what_she_denies_after_all_is_not(tmp_path: Path) -> None:
    async def main() -> None:
        guard = make_guard(tmp_path)
        await guard.start()
        evidence = guard.engine.memory.evidence
        assert evidence is not None
        learnt = []
        (lie,) = labelled(1, seed=4, flip=True)
        held = await guard.judge(submit(lie, request=None))
        assert held.decision is Decision.QUARANTINE
        for approve in (None, True, False):
            if approve is not None:
                stored = guard.store.submission(held.submission)
                assert stored is not None
                await guard.decide(stored.id, approve=approve, moderator="ada", version=stored.version)
            await guard.catch_up()
            learnt.append(evidence.teaching.status().n_learnt)
        await guard.stop()
        assert learnt == [0, 1, 0]

    asyncio.run(main())


def told(guard: Guard) -> list[StoredCampaign]:
    with guard.store.reading() as connection:
        return campaigns(connection, limit=9, waiting=True)


def held_members(guard: Guard, name: str) -> list[Member]:
    with guard.store.reading() as connection:
        return members(connection, name, limit=200)


def test_the_store_tells_what_it_teaches_and_why(tmp_path: Path) -> None:
    bad, honest = triggered(24, accounts=12), list(labelled(200, seed=3))

    async def main() -> None:
        guard = make_guard(tmp_path, signals=UNSEEN_ALONE)
        await guard.start()
        for number, item in enumerate(mixed(honest, bad)):
            await guard.judge(submit(item))
            if number % 16 == 0:
                await guard.catch_up()
        await guard.catch_up()
        (found,) = told(guard)
        shown = held_members(guard, found.id)
        await guard.stop()
        again = make_guard(tmp_path, signals=UNSEEN_ALONE)
        await again.start()
        assert [(each.id, each.summary, each.counts) for each in told(again)] == [
            (found.id, found.summary, found.counts)
        ], "a restart tells the same"
        await again.stop()
        assert found.is_open
        assert found.n_held >= 22
        assert found.senders["contributor"] == 12
        assert {each.stored.contribution.id for each in shown} <= {item.id for item in bad}
        assert all(each.contrary_milli is not None for each in shown)
        assert [each.contrary_milli for each in shown] == sorted(each.contrary_milli or 0 for each in shown)
        summary = found.summary
        assert summary["teaches"] == [["label 'pin'", found.n_members]]
        shares = summary["shares"]
        assert isinstance(shares, list)
        assert isinstance(shares[0], dict)
        assert TRIGGER in str(shares[0]["phrase"]).split()
        assert (shares[0]["trusted"], shares[0]["contrary"]) == (0, 0.98)
        assert isinstance(summary["honest"], float)
        assert 0.0 < summary["honest"] < 5.0
        assert isinstance(summary["log_e"], float)
        assert summary["log_e"] > 5.0

    asyncio.run(main())


@pytest.mark.parametrize("after_denial", ["hold", "reject"])
def test_later_members_of_a_denied_campaign(tmp_path: Path, after_denial: str) -> None:
    bad = triggered(40, accounts=1_000)
    early, late = mixed(bad[:28], list(labelled(100, seed=3))), bad[28:]

    async def main() -> None:
        changes: dict[str, Any] = {"signals": UNSEEN_ALONE, "evidence": {"after_denial": after_denial}}
        guard = make_guard(tmp_path, **changes)
        await guard.start()
        for item in early:
            await guard.judge(submit(item))
            await guard.catch_up()
        (found,) = told(guard)
        made = await guard.store.run(
            lambda tx: tx.decide_campaign(found.id, Selection(), approve=False, moderator="ada", now_us=1)
        )
        while made.running:
            made = await carry_on(guard.store, made.id, ())
        await guard.catch_up()
        before = [(await guard.judge(submit(item, late[1]))).decision for item in late[:1]]
        await guard.stop()
        guard = make_guard(tmp_path, **changes)
        await guard.start()
        after = [await guard.judge(submit(item)) for item in late[2:8]]
        wanted = Decision.REJECT if after_denial == "reject" else Decision.QUARANTINE
        assert {*before, *(each.decision for each in after)} == {wanted}
        assert {each.verdicts[0].campaign for each in after} == {found.id}
        if wanted is Decision.REJECT:
            assert {each.delivery for each in after} == {Delivery.REFUSED}
            assert "a moderator denied campaign-" in after[0].verdicts[0].reasons[0].message
            # Who takes the decision back has them held again.
            made = await guard.store.run(
                lambda tx: tx.decide_campaign(
                    found.id, Selection(undoes=made.id), approve=True, moderator="ada", now_us=2
                )
            )
            await guard.catch_up()
            assert (await guard.judge(submit(late[8]))).decision is Decision.QUARANTINE
        await guard.stop()

    asyncio.run(main())
    assert verify(make_guard(tmp_path).policy.store.url).clean


def test_a_request_is_not_taken_in_part() -> None:
    """Beside a rejected contribution nothing is accepted, in either mode: the application sees none of it."""
    item, other = list(labelled(2, seed=4))
    settler = Settler((), "p", None, False)
    assessments = [Assessment(Decision.REJECT, 0.0, 1.0, (), campaign="c"), Assessment(Decision.ACCEPT, 1.0, 0.0, ())]
    for on_hold in OnHold:
        settled = settler.settle(submit(item, other, on_hold=on_hold), assessments, MemoryBudgets(), 0)
        assert [verdict.decision for verdict in settled.verdicts] == [Decision.REJECT] * 2


def test_housekeeping_goes_on_with_a_decision_that_was_left(tmp_path: Path) -> None:
    async def main() -> None:
        clock = ManualClock(START_US)
        guard = make_guard(tmp_path, clock)
        items = list(labelled(60, seed=4))
        for item in items:
            await guard.store.run(
                lambda tx, item=item: tx.insert(  # type: ignore[misc]
                    NewSubmission(
                        item.id,
                        "r",
                        item.at_us,
                        Delivery.NONE,
                        (
                            Judged(
                                item,
                                Verdict(item.id, Decision.QUARANTINE, 0.0, 1.0, (), "p", None, "campaign-1"),
                                Learning.HELD,
                            ),
                        ),
                    )
                )
            )
        await guard.store.run(
            lambda tx: tx.decide_campaign(
                "campaign-1", Selection(), approve=False, moderator="ada", now_us=clock.now_us()
            )
        )
        await guard.housekeep()
        assert told(guard)[0].n_held == 60, "whoever made it is still at it"
        clock.advance(10.0)
        await guard.housekeep()
        assert told(guard) == []
        assert guard.decided.is_set()
        await guard.stop()

    asyncio.run(main())
