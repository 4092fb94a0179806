"""One decision on a whole campaign, with reputation on: each account moves once, as when deciding one by one."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from feedback_guard.bulk import LEFT_AFTER_US, carry_on
from feedback_guard.clock import ManualClock
from feedback_guard.contribution import Contribution
from feedback_guard.guard import Guard
from feedback_guard.ledger.verify import verify
from feedback_guard.ledger.verify_reputation import fold_store
from feedback_guard.limits.bankroll import Account
from feedback_guard.limits.reputation import identity_of
from feedback_guard.names import same_person
from feedback_guard.review.campaigns import carry_out, rule_campaign
from feedback_guard.store.campaign_decisions import CampaignDecision, Selection
from feedback_guard.store.campaign_reads import campaigns
from feedback_guard.store.reputation import find_account
from feedback_guard.verdict import Decision
from tests.evidence.test_accumulator import mixed, triggered
from tests.guards import START_US, labelled, make_guard, make_policy, submit, use_store
from tests.postgres import postgres_store_url as postgres_store_url

PEOPLE = ("alice", "bob", "carol")
REPUTATION = {"enabled": True, "identities": 4, "damage": 1.0}
LIMITS = [{"name": "lesson", "facet": "target", "measure": "count", "amount": 3}]
"""Of a label three are learnt; all that comes later is held as one campaign."""


@pytest.fixture(autouse=True, params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def store_kind(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Every test is about both databases."""
    if request.param == "postgresql":
        use_store(tmp_path, request.getfixturevalue("postgres_store_url"))
    return str(request.param)


def lenient(folder: Path, clock: ManualClock | None = None) -> Guard:
    """A guard that holds nothing but what a full budget holds."""
    return make_guard(
        folder,
        clock,
        reputation=REPUTATION,
        signals={"false_hold_rate": 0.0001},
        evidence={"enabled": False},
        limits=LIMITS,
    )


def surprising(n: int, *, seed: int, who: str | None = None) -> list[Contribution]:
    """Contributions of one label that the trusted set contradicts: where it agrees, a ruling moves nothing."""
    return [each for each in labelled(n, seed=seed, who=who, flip=True, prefix="m") if each.label == "pin"]


async def crowd(guard: Guard, n: int = 12) -> tuple[str, list[str]]:
    """A campaign of n members of three people, who were accepted once each before; its name and the requests."""
    await guard.start()
    held, name = [], None
    for place, item in enumerate(surprising(4 * (n + 3), seed=3)):
        got = await guard.judge(submit(replace(item, contributor=PEOPLE[place % 3])))
        assert got.decision is (Decision.ACCEPT if place < 3 else Decision.QUARANTINE)
        if place >= 3:
            held.append(got.submission)
            name = got.verdicts[0].campaign
    assert name is not None
    assert len(held) == n
    return name, held


def accounts(guard: Guard) -> dict[str, Account]:
    with guard.store.reading() as connection:
        found = {who: find_account(connection, identity_of(who, anonymous=False)) for who in PEOPLE}
        folded = fold_store(connection)
    assert folded.faults == []
    assert {account.balance for account in folded.accounts.values()} == {
        account.balance for account in found.values() if account is not None
    }
    return {who: account for who, account in found.items() if account is not None}


async def ruled(
    guard: Guard, name: str, *, approve: bool, undoes: int | None = None, moderator: str = "mo"
) -> CampaignDecision:
    return await guard.store.run(
        lambda tx: tx.decide_campaign(
            name, Selection(undoes=undoes), approve=approve, moderator=moderator, now_us=tx.now_us()
        )
    )


async def carried(guard: Guard, made: CampaignDecision, *, most: int = 5) -> CampaignDecision:
    """All batches of a decision, each so small that several are needed."""
    while made.running:
        made = await guard.store.run(
            lambda tx, ident=made.id: tx.carry_on_campaign(  # type: ignore[misc]
                ident,
                same_person=same_person,
                now_us=tx.now_us(),
                most=most,
                limits=guard.policy.limits,
                reputation=guard.terms,
            )
        )
    return made


def sound(folder: Path) -> None:
    assert verify(make_policy(folder).store.url).findings == []


@pytest.mark.parametrize("approve", [True, False])
def test_all_at_a_click_moves_what_one_by_one_would_and_each_account_once(tmp_path: Path, approve: bool) -> None:
    async def main() -> None:
        guard = lenient(tmp_path)
        name, held = await crowd(guard)
        begun = accounts(guard)
        await guard.decide(held[0], approve=approve, moderator="mo")
        await guard.decide(held[1], approve=approve, moderator="mo")
        await guard.decide(held[2], approve=approve, moderator="mo")
        once = accounts(guard)
        made = await carried(guard, await ruled(guard, name, approve=approve))
        assert made.n_moved == 9
        after = accounts(guard)
        await guard.stop()
        for who in PEOPLE:
            assert (once[who].balance > begun[who].balance) is approve, who
            assert once[who].balance != begun[who].balance
            assert after[who].balance == once[who].balance, f"of one campaign, {who} was moved more than once"
            assert after[who].n_measured == begun[who].n_measured + 4

    asyncio.run(main())
    sound(tmp_path)


def test_it_alone_moves_what_the_first_of_each_would_have_moved(tmp_path: Path) -> None:
    """The same campaign, once decided one by one, once whole, as the pages, the API and the command line do."""

    async def main() -> None:
        ends = []
        for single in (True, False):
            folder = tmp_path / str(single)
            folder.mkdir()
            guard = lenient(folder)
            name, held = await crowd(guard)
            if single:
                for ident in held:
                    await guard.decide(ident, approve=True, moderator="mo")
            else:
                made = await rule_campaign(guard, name, Selection(), approve=True, moderator="mo")
                assert (await carry_out(guard, made)).n_moved == 12
            ends.append(accounts(guard))
            await guard.stop()
            sound(folder)
        assert ends[0] == ends[1]

    asyncio.run(main())


def test_what_is_taken_back_moves_back_and_the_other_direction_counts_once(tmp_path: Path) -> None:
    async def main() -> None:
        guard = lenient(tmp_path)
        name, _ = await crowd(guard)
        begun = accounts(guard)
        first = await carried(guard, await ruled(guard, name, approve=True))
        approved = accounts(guard)
        second = await carried(guard, await ruled(guard, name, approve=False, undoes=first.id))
        denied = accounts(guard)
        third = await carried(guard, await ruled(guard, name, approve=True, undoes=second.id))
        again = accounts(guard)
        assert (first.n_moved, second.n_moved, third.n_moved) == (12, 12, 12)
        await guard.stop()
        for who in PEOPLE:
            assert approved[who].balance > begun[who].balance > denied[who].balance >= 0
            assert abs(again[who].balance - approved[who].balance) <= 3, "up to rounding, as if she had never doubted"

    asyncio.run(main())
    sound(tmp_path)


def test_a_batch_that_is_lost_moves_nothing_and_housekeeping_does_the_rest_once(tmp_path: Path) -> None:
    async def main() -> None:
        clock = ManualClock(START_US)
        guard = lenient(tmp_path, clock)
        name, _ = await crowd(guard)
        made = await ruled(guard, name, approve=False)
        begun = accounts(guard)

        def crash(tx: object) -> None:
            tx.carry_on_campaign(  # type: ignore[attr-defined]
                made.id, same_person=same_person, now_us=START_US, limits=guard.policy.limits, reputation=guard.terms
            )
            raise RuntimeError("the process is gone before the commit")

        with pytest.raises(RuntimeError):
            await guard.store.run(crash)
        assert accounts(guard) == begun
        clock.advance(LEFT_AFTER_US / 1_000_000 + 1)
        await guard.housekeep()
        lost = accounts(guard)
        assert all(lost[who].balance < begun[who].balance for who in PEOPLE)
        done = await carry_on(guard.store, made.id, guard.policy.limits, guard.terms)
        assert (done.running, done.n_moved) == (False, 12)
        assert accounts(guard) == lost
        await guard.stop()

    asyncio.run(main())
    sound(tmp_path)


def test_what_came_in_one_request_with_a_member_is_another_question(tmp_path: Path) -> None:
    """It is denied with the campaign, because a kept request goes as a whole, and is still no part of it.

    Else whoever puts something in front of a member that costs nothing when it is denied would not pay for the member.
    """

    async def main() -> None:
        guard = make_guard(tmp_path, reputation=REPUTATION, signals={"false_hold_rate": 0.0001})
        await guard.start()
        *bad, last = triggered(30, accounts=1_000)
        for item in mixed(list(labelled(100, seed=3)), bad):
            await guard.judge(submit(item))
            await guard.catch_up()
        harmless, wrong = next(labelled(1, seed=8)), next(labelled(1, seed=9, flip=True))
        mine = [replace(each, contributor="alice") for each in (harmless, wrong, last)]
        got = await guard.judge(submit(*mine))
        assert [each.decision for each in got.verdicts] == [Decision.QUARANTINE] * 3
        assert [each.campaign is not None for each in got.verdicts] == [False, False, True]
        with guard.store.reading() as connection:
            (found,) = campaigns(connection, limit=9, waiting=True)
        await carried(guard, await ruled(guard, found.id, approve=False))
        told = [
            json.loads(entry.body)
            for each in mine
            for entry in guard.store.history(each.id)
            if entry.kind == "reputation" and json.loads(entry.body)["event"] == "ruled"
        ]
        assert [each["campaign"] for each in told] == [None, None, found.id]
        assert [each["credited_pico"] < 0 for each in told] == [False, True, True]
        await guard.stop()

    asyncio.run(main())
    sound(tmp_path)
