"""What the detectors' memory folds in, and what it does not."""

from __future__ import annotations

import asyncio

import pytest

from feedback_guard.errors import StoreError
from feedback_guard.evidence.baseline import load
from feedback_guard.learning.follower import Follower
from feedback_guard.learning.memory import Memory
from feedback_guard.metrics import Metrics
from feedback_guard.policy.schema import Policy
from feedback_guard.store.records import Event
from feedback_guard.verdict import Decision
from tests.drifted import mortgages
from tests.evidence.test_accumulator import observe
from tests.guards import START_US, trusted_baseline


def alarm(memory: Memory) -> bool:
    assert memory.status is not None
    return memory.status.alarm


def test_the_drift_alarm_is_about_what_was_judged_and_acknowledged_under_its_own_baseline() -> None:
    memory = Memory(Policy.model_validate({"name": "test"}), load(trusted_baseline(), fingerprint=None, digest=None))
    away = observe(mortgages(60))
    for of in ("sha256:another", memory.baseline):
        assert not alarm(memory), "what was judged by another baseline says nothing of this one"
        for memory.seq, each in enumerate(away):
            memory.judged(each, Decision.QUARANTINE, START_US, baseline=of)
    assert alarm(memory)
    raised = memory.alarm_seq
    memory.acknowledged("sha256:another")
    assert (alarm(memory), memory.alarm_seq) == (True, raised)
    memory.acknowledged(memory.baseline)
    assert (alarm(memory), memory.alarm_seq) == (False, 0)


class Nothing:
    """A ledger without entries."""

    def events_after(self, seq: int, limit: int) -> list[Event]:
        return []


def test_an_alarm_that_could_not_be_written_down_is_handed_over_again() -> None:
    tried: list[int] = []

    async def keep(memory: Memory) -> None:
        tried.append(memory.alarm_seq)
        if len(tried) == 1:
            raise StoreError("the disk is full")

    async def main() -> None:
        memory = Memory(Policy.model_validate({"name": "test"}), None)
        follower = Follower(Nothing(), memory, Metrics(), on_drift=keep)
        await follower.tell_drift()
        assert tried == []
        memory.alarm_seq = 7
        with pytest.raises(StoreError):
            await follower.tell_drift()
        await follower.tell_drift()
        await follower.tell_drift()
        assert tried == [7, 7]

    asyncio.run(main())
