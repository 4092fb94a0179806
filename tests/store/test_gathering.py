"""Coroutines that were woken together share a transaction, and each is told what became of its own job."""

from __future__ import annotations

import asyncio
import itertools
import threading
from pathlib import Path

import pytest

from feedback_guard.clock import ManualClock
from feedback_guard.errors import StoreError
from feedback_guard.policy.store import StorePolicy
from feedback_guard.store.database import Store, Transaction
from tests.patience import PATIENCE_SECONDS


def _open(folder: Path, **bounds: int) -> Store:
    policy = StorePolicy.model_validate({"url": f"sqlite:///{folder / 'guard.db'}", **bounds})
    return Store.open(policy, clock=ManualClock())


def test_they_share_a_transaction(tmp_path: Path) -> None:
    groups: list[int] = []

    def job(tx: Transaction) -> int:
        groups.append(id(tx._group))
        return tx.append("noted", "x", {}, 0)

    async def run(store: Store) -> list[int]:
        return await asyncio.gather(*(store.run(job) for _ in range(20)))

    with _open(tmp_path) as store:
        assert asyncio.run(run(store)) == list(range(1, 21))
    assert len(set(groups)) == 1


def test_what_is_handed_over_together_is_kept_within_the_bound_of_a_transaction(tmp_path: Path) -> None:
    connections: list[object] = []

    def job(tx: Transaction) -> int:
        connections.append(tx.connection.get_transaction())
        return tx.append("noted", "x", {}, 0)

    async def run(store: Store) -> list[int]:
        return await asyncio.gather(*(store.run(job) for _ in range(10)))

    with _open(tmp_path, max_group=3) as store:
        assert asyncio.run(run(store)) == list(range(1, 11))
        assert store.queue_depth == 0
    assert [len(list(same)) for _, same in itertools.groupby(map(id, connections))] == [3, 3, 3, 1]


def test_of_what_does_not_fit_the_queue_the_first_are_taken(tmp_path: Path) -> None:
    async def run(store: Store) -> list[int | BaseException]:
        jobs = [store.run(lambda tx: tx.append("noted", "x", {}, 0)) for _ in range(4)]
        return await asyncio.gather(*jobs, return_exceptions=True)

    with _open(tmp_path, queue_size=2) as store:
        found = asyncio.run(run(store))
        assert found[:2] == [1, 2]
        assert [str(each) for each in found[2:]] == [
            "2 writes wait already (store.queue_size); nothing was recorded, try again later"
        ] * 2
        assert asyncio.run(run(store))[:2] == [3, 4], "there is room again"


def test_each_is_told_of_its_own(tmp_path: Path) -> None:
    def fails(_: Transaction) -> int:
        raise ValueError("no")

    async def run(store: Store) -> list[int | BaseException]:
        jobs = [store.run(fails if n % 3 == 1 else lambda tx: tx.append("noted", "x", {}, 0)) for n in range(9)]
        return await asyncio.gather(*jobs, return_exceptions=True)

    with _open(tmp_path) as store:
        found = asyncio.run(run(store))
    assert [type(each) for each in found] == [int, ValueError, int] * 3
    assert [each for each in found if isinstance(each, int)] == [1, 2, 3, 4, 5, 6]


def test_a_caller_that_leaves_does_not_undo_its_job(tmp_path: Path) -> None:
    async def run(store: Store) -> int:
        leaves = asyncio.ensure_future(store.run(lambda tx: tx.append("noted", "left", {}, 0)))
        await asyncio.sleep(0)
        leaves.cancel()
        await asyncio.gather(leaves, return_exceptions=True)
        return await store.run(lambda tx: tx.append("noted", "x", {}, 0))

    with _open(tmp_path) as store:
        assert asyncio.run(run(store)) == 2


def test_what_the_store_does_not_take_is_said_to_whom_it_was(tmp_path: Path) -> None:
    store = _open(tmp_path)
    store.close()

    async def run() -> None:
        with pytest.raises(StoreError, match="closed"):
            await store.run(lambda tx: tx.append("noted", "x", {}, 0))

    asyncio.run(run())


def test_a_caller_that_leaves_takes_no_answer_from_those_it_was_sent_with(tmp_path: Path) -> None:
    may_go_on = threading.Event()

    def waits(tx: Transaction) -> int:
        may_go_on.wait(PATIENCE_SECONDS)
        return tx.append("noted", "first", {}, 0)

    async def run(store: Store) -> list[int]:
        first = asyncio.ensure_future(store.run(waits))
        await asyncio.sleep(0)
        sent = [asyncio.ensure_future(store.run(lambda tx: tx.append("noted", "x", {}, 0))) for _ in range(4)]
        for _ in range(3):
            await asyncio.sleep(0)
        sent[0].cancel()
        await asyncio.gather(sent[0], return_exceptions=True)
        may_go_on.set()
        return await asyncio.wait_for(asyncio.gather(*sent[1:], first), PATIENCE_SECONDS)

    with _open(tmp_path) as store:
        assert asyncio.run(run(store)) == [3, 4, 5, 1]


def test_one_after_the_other_is_answered_too(tmp_path: Path) -> None:
    async def run(store: Store) -> list[int]:
        return [
            await asyncio.wait_for(store.run(lambda tx: tx.append("noted", "x", {}, 0)), PATIENCE_SECONDS)
            for _ in range(5)
        ]

    with _open(tmp_path) as store:
        assert asyncio.run(run(store)) == [1, 2, 3, 4, 5]
