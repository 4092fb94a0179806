"""The pipeline on a real store: what is answered is recorded, what is held is kept, what fails is not passed."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest

from feedback_guard.clock import ManualClock
from feedback_guard.embedding.hashing import UnsafeHashingEmbedder
from feedback_guard.embedding.interface import Vectors
from feedback_guard.errors import ContributionError, StoreError, StoreFullError, TransitionError
from feedback_guard.guard import Guard
from feedback_guard.housekeeping import LOST_AFTER_US
from feedback_guard.ledger.verify import verify
from feedback_guard.signals.interface import Signal
from feedback_guard.store.states import Delivery, Learning
from feedback_guard.submission import Judgement
from feedback_guard.verdict import Decision
from tests.guards import START_US, labelled, make_guard, make_policy, submit

Job = Callable[[Guard], Coroutine[Any, Any, None]]


def with_guard(guard: Guard, job: Job) -> None:
    """Start a guard, do something with it, stop it, and have its ledger verified."""

    async def main() -> None:
        await guard.start()
        try:
            await job(guard)
        finally:
            await guard.stop()

    asyncio.run(main())
    assert verify(guard.policy.store.url).clean


async def dispatched(guard: Guard, seed: int) -> Judgement:
    """The first of some honest contributions that is let through."""
    for item in labelled(20, seed=seed):
        got = await guard.judge(submit(item))
        if got.delivery is Delivery.DISPATCHING:
            return got
    raise AssertionError("no honest contribution was let through")


def test_an_honest_contribution_is_accepted_and_its_record_is_there_when_the_answer_is(tmp_path: Path) -> None:
    async def job(guard: Guard) -> None:
        item = next(labelled(1, seed=1))
        got = await guard.judge(submit(item))
        assert (got.decision, got.delivery, got.observed) == (Decision.ACCEPT, Delivery.DISPATCHING, False)
        stored = guard.store.submission(got.submission)
        assert stored is not None
        assert stored.contributions[0].contribution == item
        assert stored.contributions[0].verdict.policy == guard.policy_digest
        await guard.record_delivery(got.submission, Delivery.DELIVERED, {"status": 200})
        with pytest.raises(TransitionError):
            await guard.record_delivery(got.submission, Delivery.FAILED, {})

    with_guard(make_guard(tmp_path), job)


def test_flipped_labels_are_held_with_their_request_and_most_honest_ones_are_not(tmp_path: Path) -> None:
    async def job(guard: Guard) -> None:
        good = [await guard.judge(submit(item)) for item in labelled(60, seed=2)]
        bad = [
            await guard.judge(submit(item, request=b"\x00raw\xff"))
            for item in labelled(60, seed=3, flip=True, prefix="x")
        ]
        assert sum(j.decision is Decision.ACCEPT for j in good) >= 54
        held = [j for j in bad if j.decision is Decision.QUARANTINE]
        assert len(held) >= 48
        stored = guard.store.submission(held[0].submission)
        assert stored is not None
        assert stored.request == b"\x00raw\xff"
        assert (stored.delivery, stored.held) == (Delivery.HELD, True)
        assert {r.signal for j in held for r in j.verdicts[0].reasons} >= {"disagreement"}

    with_guard(make_guard(tmp_path), job)


def test_a_moderator_decides_once_per_version_and_the_request_is_claimed_once(tmp_path: Path) -> None:
    async def job(guard: Guard) -> None:
        bad = [await guard.judge(submit(item)) for item in labelled(20, seed=4, flip=True)]
        ident = next(j.submission for j in bad if j.delivery is Delivery.HELD)
        before = guard.store.submission(ident)
        assert before is not None
        approved = await guard.decide(ident, approve=True, moderator="ann", version=before.version)
        assert (approved.delivery, approved.contributions[0].learning) == (Delivery.APPROVED, Learning.APPROVED)
        assert guard.decided.is_set()
        with pytest.raises(TransitionError):
            await guard.decide(ident, approve=False, moderator="bob", version=before.version)
        claims = await asyncio.gather(*(guard.claim_approved(["r"]) for _ in range(5)))
        assert [claim.submission for batch in claims for claim in batch] == [ident]
        (claim,) = [claim for claimed in claims for claim in claimed]
        await guard.record_delivery(ident, Delivery.DELIVERED, {"status": 200}, fence=claim.fence)

    with_guard(make_guard(tmp_path), job)


def test_what_a_lost_process_was_dispatching_becomes_unknown_and_nothing_else_does(tmp_path: Path) -> None:
    clock = ManualClock(START_US)
    lost, alive = make_guard(tmp_path, clock), make_guard(tmp_path, clock)

    async def main() -> None:
        await lost.start()
        gone = await dispatched(lost, 5)
        for task in lost._tasks:
            task.cancel()
        await alive.start()
        here = await dispatched(alive, 6)
        clock.us += LOST_AFTER_US // 2
        await alive.housekeep()
        clock.us += LOST_AFTER_US // 2 + 2
        await alive.housekeep()
        states = [alive.store.submission(j.submission) for j in (gone, here)]
        assert [s.delivery for s in states if s] == [Delivery.UNKNOWN, Delivery.DISPATCHING]
        await alive.stop()
        await lost.stop()

    asyncio.run(main())


def test_observing_acts_on_nothing_and_says_what_it_would_have_done(tmp_path: Path) -> None:
    async def job(guard: Guard) -> None:
        got = [await guard.judge(submit(item)) for item in labelled(30, seed=7, flip=True)]
        assert {j.delivery for j in got} == {Delivery.DISPATCHING}
        assert all(j.observed and j.verdicts[0].observed for j in got)
        assert any(j.decision is Decision.QUARANTINE for j in got)
        assert guard.store.held_summary().count == 0

    with_guard(make_guard(tmp_path, mode="observe"), job)


def test_without_a_baseline_an_enforcing_policy_only_observes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def job(guard: Guard) -> None:
        got = await guard.judge(submit(next(labelled(1, flip=True))))
        assert (got.observed, got.delivery, got.verdicts[0].baseline) == (True, Delivery.DISPATCHING, None)
        assert got.verdicts[0].unscored

    with_guard(make_guard(tmp_path, baseline={}), job)
    assert "only observes" in caplog.text


class Breaking(UnsafeHashingEmbedder):
    """An embedder that can be told to fail."""

    broken = False

    def encode(self, texts: Sequence[str]) -> Vectors:
        if self.broken:
            raise RuntimeError("the model is gone")
        return super().encode(texts)


@pytest.mark.parametrize("fail_open", [False, True])
def test_a_failing_model_holds_or_if_the_policy_says_so_passes_marked_and_counted(
    tmp_path: Path, fail_open: bool
) -> None:
    embedder = Breaking()
    guard = Guard.from_policy(
        make_policy(tmp_path, failure={"fail_open": fail_open}), clock=ManualClock(START_US), embedder=embedder
    )

    async def job(guard: Guard) -> None:
        embedder.broken = True
        got = await guard.judge(submit(next(labelled(1))))
        assert got.delivery is (Delivery.DISPATCHING if fail_open else Delivery.HELD)
        assert got.verdicts[0].unscored
        page = guard.metrics.render()[0].decode()
        assert ('feedback_guard_failed_open_total{part="scoring"} 1.0' in page) is fail_open
        embedder.broken = False
        assert (await guard.judge(submit(next(labelled(1, seed=8))))).verdicts[0].suspicion < 1.0

    with_guard(guard, job)


def test_a_failing_detector_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def job(guard: Guard) -> None:
        signal: Signal = guard.engine.memory.signals["novelty"]

        def fail(_: object) -> None:
            raise FloatingPointError("not a number")

        monkeypatch.setattr(signal, "score", fail)
        got = await guard.judge(submit(next(labelled(1))))
        assert got.decision is Decision.QUARANTINE
        assert "novelty failed" in got.verdicts[0].reasons[0].message

    with_guard(make_guard(tmp_path), job)


def test_a_full_hold_store_refuses_and_charges_nothing(tmp_path: Path) -> None:
    limits = [{"name": "rate", "facet": "contributor", "measure": "count", "amount": 3, "per": "1h"}]

    async def job(guard: Guard) -> None:
        items = labelled(12, seed=10, flip=True)
        bad = [dataclasses.replace(item, contributor=f"u{i}") for i, item in enumerate(items)]
        for item in bad:
            if guard.store.held_summary().count:
                break
            await guard.judge(submit(item))
        count = guard.store.held_summary().count
        for n in range(4):
            for item in bad:
                again = dataclasses.replace(item, id=f"{item.id}-again{n}", contributor="last")
                try:
                    got = await guard.judge(submit(again))
                except StoreFullError:
                    assert guard.store.held_summary().count == count
                    budget_left = await guard.judge(submit(next(labelled(1, seed=100 + n, who="last"))))
                    assert budget_left.decision in {Decision.ACCEPT, Decision.LIMIT}
                    return
                assert got.decision is not Decision.QUARANTINE
        pytest.fail("nothing would have been held")

    with_guard(
        make_guard(tmp_path, limits=limits, store={"url": f"sqlite:///{tmp_path}/g.db", "hold_capacity": 1}), job
    )


def test_a_store_that_cannot_write_raises_and_nothing_is_half_done(tmp_path: Path) -> None:
    async def job(guard: Guard) -> None:
        first = await guard.judge(submit(next(labelled(1))))
        guard.store.close()
        with pytest.raises(StoreError):
            await guard.judge(submit(next(labelled(1, seed=2))))
        guard._store = None
        assert guard.store.submission(first.submission) is not None

    with_guard(make_guard(tmp_path), job)


def test_limits_act_before_the_model_is_asked(tmp_path: Path) -> None:
    embedder = Breaking()
    limits = [{"name": "rate", "facet": "contributor", "measure": "count", "amount": 2, "per": "1h"}]
    guard = Guard.from_policy(make_policy(tmp_path, limits=limits), clock=ManualClock(START_US), embedder=embedder)

    async def job(guard: Guard) -> None:
        for item in labelled(2, who="busy"):
            await guard.judge(submit(item))
        embedder.broken = True
        got = await guard.judge(submit(next(labelled(1, seed=3, who="busy"))))
        assert (got.decision, got.delivery) == (Decision.LIMIT, Delivery.REFUSED)
        assert got.refusal is not None
        assert got.verdicts[0].retry_after_us == 1_800_000_000

    with_guard(guard, job)


def test_a_hundred_at_once_are_each_judged_and_recorded_once(tmp_path: Path) -> None:
    async def job(guard: Guard) -> None:
        items = list(labelled(100, seed=11))
        got = await asyncio.gather(*(guard.judge(submit(item)) for item in items))
        assert [j.verdicts[0].id for j in got] == [item.id for item in items]
        assert len({j.submission for j in got}) == 100
        assert guard.store.count_by_delivery()[Delivery.DISPATCHING] + guard.store.held_summary().count == 100

    with_guard(make_guard(tmp_path), job)


def test_a_text_beyond_its_bounds_is_the_clients_fault_and_leaves_no_record(tmp_path: Path) -> None:
    async def job(guard: Guard) -> None:
        item = dataclasses.replace(next(labelled(1)), input="\ufdfa" * 32_000)
        with pytest.raises(ContributionError):
            await guard.judge(submit(item))
        assert guard.store.events_after(0, 10) == []

    with_guard(make_guard(tmp_path), job)
