"""Workers whose clocks disagree, on one PostgreSQL store: its clock counts, so none of them refills a budget."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from feedback_guard.clock import SystemClock
from feedback_guard.embedding.hashing import UnsafeHashingEmbedder
from feedback_guard.guard import Guard
from feedback_guard.limits.interface import UNIT, Charge
from feedback_guard.limits.plan import budget_of
from feedback_guard.policy.limits import LimitPolicy
from feedback_guard.review.campaigns import rule_campaign
from feedback_guard.store.campaign_decisions import Selection
from feedback_guard.store.records import Judged, NewSubmission
from feedback_guard.store.states import Delivery, Learning
from feedback_guard.verdict import Decision, Verdict
from tests.guards import labelled, make_policy, submit
from tests.postgres import postgres_store_url as postgres_store_url

HOUR = 3_600_000_000
LIMIT = {"name": "hourly", "facet": "contributor", "measure": "count", "amount": 2, "per": "1h"}

pytestmark = pytest.mark.postgres


class WrongClock(SystemClock):
    """The clock of a host that is so many microseconds ahead."""

    def __init__(self, ahead_us: int) -> None:
        self.ahead_us = ahead_us

    def now_us(self) -> int:
        return super().now_us() + self.ahead_us


def with_workers(
    url: str, folder: Path, clocks: list[WrongClock], job: Callable[..., Coroutine[Any, Any, None]]
) -> None:
    """Start a guard for each clock on one store, do something with them, stop them."""

    async def main() -> None:
        policy = make_policy(folder, store={"url": url}, limits=[LIMIT], signals={"false_hold_rate": 0.001})
        guards = [Guard.from_policy(policy, clock=clock, embedder=UnsafeHashingEmbedder()) for clock in clocks]
        try:
            for guard in guards:
                await guard.start()
            await job(*guards)
        finally:
            for guard in guards:
                await guard.stop()

    asyncio.run(main())


def test_clocks_an_hour_apart_refill_nothing(postgres_store_url: str, tmp_path: Path) -> None:
    async def job(*guards: Guard) -> None:
        items = labelled(12, seed=3, who="mallory")
        decisions = [(await guard.judge(submit(item))).decision for item, guard in zip(items, guards * 4, strict=True)]
        assert decisions[2:] == [Decision.LIMIT] * 10
        assert Decision.LIMIT not in decisions[:2]

    with_workers(postgres_store_url, tmp_path, [WrongClock(0), WrongClock(HOUR), WrongClock(-HOUR)], job)


def test_a_clock_that_is_set_while_it_runs_refills_nothing(postgres_store_url: str, tmp_path: Path) -> None:
    clock = WrongClock(0)

    async def job(guard: Guard) -> None:
        items = list(labelled(8, seed=4, who="mallory"))
        decisions = []
        for item, ahead in zip(items, [0, HOUR, 2 * HOUR, 0, -HOUR, 9 * HOUR, -HOUR, 10 * HOUR], strict=True):
            clock.ahead_us = ahead
            decisions.append((await guard.judge(submit(item))).decision)
        assert decisions[2:] == [Decision.LIMIT] * 6

    with_workers(postgres_store_url, tmp_path, [clock], job)


def test_a_worker_that_is_slow_refuses_nothing_that_has_room(postgres_store_url: str, tmp_path: Path) -> None:
    """What a worker with a clock an hour behind remembers of a budget must not outlast the budget."""

    async def job(guard: Guard) -> None:
        budget = budget_of(LimitPolicy.model_validate(LIMIT))
        full = Charge(budget, "id:mallory", 2 * UNIT)
        # As if the budget had been used up an hour ago by the store's clock.
        await guard.store.run(lambda tx: tx.budgets.force([full], tx.now_us() - HOUR))
        assert guard.store.latest.peek([full], guard.clock.now_us()) is not None, "by its own clock it would refuse"
        got = await guard.judge(submit(next(labelled(1, seed=5, who="mallory"))))
        assert got.decision is not Decision.LIMIT

    with_workers(postgres_store_url, tmp_path, [WrongClock(-HOUR)], job)


def test_records_carry_the_time_of_the_store(postgres_store_url: str, tmp_path: Path) -> None:
    async def job(guard: Guard) -> None:
        got = await guard.judge(submit(next(labelled(1, seed=6))))
        stored = guard.store.submission(got.submission)
        assert stored is not None
        assert abs(stored.at_us - time.time_ns() // 1_000) < HOUR // 2
        assert abs(guard.store.now_us() - time.time_ns() // 1_000) < HOUR // 2

    with_workers(postgres_store_url, tmp_path, [WrongClock(HOUR)], job)


def test_a_decision_on_a_campaign_is_dated_by_the_store(postgres_store_url: str, tmp_path: Path) -> None:
    """Else nobody would go on with one that was left by a host that is ahead, until it is as late elsewhere."""

    async def job(*guards: Guard) -> None:
        first, other = guards
        wrong = labelled(4, seed=3, flip=True)
        for place, item in enumerate(wrong):
            member = Verdict(item.id, Decision.QUARANTINE, 0.0, 1.0, (), "p", None, "campaign-1")
            judged = (Judged(item, member, Learning.HELD),)
            new = NewSubmission(f"s{place}", "r", item.at_us, Delivery.NONE, judged)
            await other.store.run(lambda tx, new=new: tx.insert(new))  # type: ignore[misc]
        made = await rule_campaign(first, "campaign-1", Selection(), approve=False, moderator="mo")
        assert abs(made.at_us - other.clock.now_us()) < HOUR // 4
        assert made.moved_us == made.at_us

    with_workers(postgres_store_url, tmp_path, [WrongClock(HOUR), WrongClock(0)], job)
