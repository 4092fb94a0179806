"""A guard's life: nothing is judged before it has read the ledger, and what it let go of can be had again."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from feedback_guard.assess import Assessor
from feedback_guard.assessment import Assessment
from feedback_guard.clock import ManualClock
from feedback_guard.embedding.hashing import UnsafeHashingEmbedder
from feedback_guard.errors import BaselineError, StoreError, UsageError
from feedback_guard.guard import Guard
from feedback_guard.learning.follower import Follower
from feedback_guard.policy.routes import OnHold
from feedback_guard.signals.checks import same_state
from feedback_guard.signals.interface import Observation
from feedback_guard.store.states import Delivery
from feedback_guard.submission import Judgement
from tests.guards import START_US, labelled, make_guard, make_policy, submit
from tests.patience import PATIENCE_SECONDS


def test_two_guards_on_one_store_and_a_restarted_one_have_the_same_detectors(tmp_path: Path) -> None:
    clock = ManualClock(START_US)
    first, second = make_guard(tmp_path, clock), make_guard(tmp_path, clock)

    async def main() -> None:
        await first.start()
        await second.start()
        for n, item in enumerate(labelled(80, seed=12)):
            await (first if n % 2 else second).judge(submit(dataclasses.replace(item, contributor=f"u{n}")))
        clock.us += 3 * 86_400_000_000
        last = dataclasses.replace(next(labelled(1, seed=13)), at_us=clock.us)
        await first.judge(submit(last))
        await first.catch_up()
        await second.catch_up()
        third = make_guard(tmp_path, clock)
        await third.start()
        probe = third.engine.batcher.embed_now(["x"])
        assert len(probe) == 1
        memories = [guard.engine.memory for guard in (first, second, third)]
        states = [{name: signal.state() for name, signal in memory.signals.items()} for memory in memories]
        for state, memory in zip(states, memories, strict=True):
            assert memory.drift is not None
            state["drift"] = memory.drift.state()
        for name in states[0]:
            assert all(same_state(states[0][name], other[name]) for other in states[1:]), name
        assert first.engine.memory.status == second.engine.memory.status == third.engine.memory.status
        for guard in (first, second, third):
            await guard.stop()

    asyncio.run(main())


def test_a_baseline_made_with_another_model_stops_the_start_with_a_sentence(tmp_path: Path) -> None:
    policy = make_policy(tmp_path)
    guard = Guard.from_policy(policy, clock=ManualClock(START_US), embedder=UnsafeHashingEmbedder(dimension=64))
    with pytest.raises(BaselineError, match="model"):
        asyncio.run(guard.start())


def test_stopping_twice_and_starting_again_works_and_before_that_it_says_so(tmp_path: Path) -> None:
    guard = make_guard(tmp_path)

    async def main() -> None:
        with pytest.raises(UsageError, match="not started"):
            _ = guard.engine
        await guard.start()
        await guard.start()
        await guard.stop()
        await guard.stop()
        got = await guard.judge(submit(next(labelled(1)), on_hold=OnHold.PASS, request=None))
        assert got.delivery is Delivery.NONE
        await guard.stop()

    asyncio.run(main())


def test_who_comes_during_the_start_waits_until_the_ledger_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, may_go_on = threading.Event(), threading.Event()
    real = Follower.catch_up_now

    def slowly(self: Follower) -> None:
        reading.set()
        assert may_go_on.wait(PATIENCE_SECONDS)
        real(self)

    monkeypatch.setattr(Follower, "catch_up_now", slowly)
    guard = make_guard(tmp_path)

    def waiting() -> int:
        assert guard._start is not None
        return len(guard._start._callbacks)

    async def main() -> None:
        one, other = (submit(item) for item in labelled(2))
        first = asyncio.create_task(guard.judge(one))
        await asyncio.to_thread(reading.wait, PATIENCE_SECONDS)
        before = waiting()
        second = asyncio.create_task(guard.judge(other))
        try:
            while not second.done() and waiting() == before:  # noqa: ASYNC110 - judged, or it waits for the start too
                await asyncio.sleep(0)
            assert not second.done()
            assert guard.store.last_event() is None
        finally:
            may_go_on.set()
            await asyncio.gather(first, second)
            await guard.stop()

    asyncio.run(main())


def test_contributions_whose_vectors_come_at_once_are_assessed_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together: list[int] = []
    assess_all = Assessor.assess_all

    def counted(self: Assessor, observations: Sequence[Observation]) -> list[Assessment]:
        together.append(len(observations))
        return assess_all(self, observations)

    monkeypatch.setattr(Assessor, "assess_all", counted)

    async def main() -> list[Judgement]:
        guard = make_guard(tmp_path)
        await guard.start()
        try:
            return await asyncio.gather(*(guard.judge(submit(item)) for item in labelled(8, seed=1)))
        finally:
            await guard.stop()

    judged = asyncio.run(main())
    assert [each.verdicts[0].id for each in judged] == [item.id for item in labelled(8, seed=1)]
    assert sum(together) == 8
    assert max(together) > 1


def test_of_two_contributions_by_one_name_what_is_recorded_is_learnt_from(tmp_path: Path) -> None:
    """Both are observed, and one is recorded: the detectors follow that one, as they do after a restart."""
    clock = ManualClock(START_US)
    guard = make_guard(tmp_path, clock)
    first, second = labelled(2, seed=5)

    async def main() -> None:
        await guard.start()
        judged = (submit(first), submit(dataclasses.replace(second, id=first.id)))
        found = await asyncio.gather(*(guard.judge(each) for each in judged), return_exceptions=True)
        assert [isinstance(each, StoreError) for each in found].count(True) == 1
        await guard.catch_up()
        again = make_guard(tmp_path, clock)
        await again.start()
        drifts = [each.engine.memory.drift for each in (guard, again)]
        assert all(drift is not None and drift.status.n_seen == 1 for drift in drifts)
        one, other = (drift.state() for drift in drifts if drift is not None)
        assert same_state(one, other)
        await guard.stop()
        await again.stop()

    asyncio.run(main())
