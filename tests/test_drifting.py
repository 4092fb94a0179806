"""The drift alarm, from the stream to the ledger and back: raised once, acknowledged, ended by a new baseline."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from feedback_guard.contribution import Contribution
from feedback_guard.embedding.hashing import UnsafeHashingEmbedder
from feedback_guard.engine import observe_now, start_batcher
from feedback_guard.errors import TransitionError
from feedback_guard.evidence.baseline import build_baseline, save
from feedback_guard.guard import Guard
from feedback_guard.ledger.verify import verify
from feedback_guard.policy.embedding import Backend, EmbeddingPolicy
from feedback_guard.store import drift_alarms
from feedback_guard.store.drift_alarms import DriftEntry
from tests.drifted import mortgages
from tests.guards import START_US, labelled, make_guard, submit

pytestmark = pytest.mark.anyio


async def send(guard: Guard, items: Iterable[Contribution]) -> None:
    for item in items:
        await guard.judge(submit(item, request=None))
    await guard.catch_up()


def told(guard: Guard) -> list[DriftEntry]:
    with guard.store.reading() as connection:
        return drift_alarms.latest(connection, 50)


def alarm(guard: Guard) -> bool:
    status = guard.engine.memory.status
    assert status is not None
    return status.alarm


def gauge(guard: Guard) -> str:
    page = guard.metrics.render()[0].decode()
    return next(line.split()[-1] for line in page.splitlines() if line.startswith("feedback_guard_drift_alarm"))


async def test_an_alarm_is_in_the_ledger_once_whoever_follows_it(tmp_path: Path) -> None:
    first, second = make_guard(tmp_path, limits=[]), make_guard(tmp_path, limits=[])
    await first.start()
    await second.start()
    try:
        await send(first, labelled(60, seed=3))
        assert told(first) == []
        await send(first, mortgages(60))
        await second.catch_up()
        assert alarm(first)
        assert alarm(second)
        assert gauge(second) == "1.0"
        (entry,) = told(second)
        assert entry.stands
        assert entry.alarm.baseline == first.engine.memory.baseline
        assert any(growth.startswith("label, one that the trusted set has never seen") for growth in entry.alarm.grown)
        assert not any("mortgage" in growth for growth in entry.alarm.grown), "nobody's words"
    finally:
        await first.stop()
        await second.stop()
    third = make_guard(tmp_path, limits=[])
    await third.start()
    try:
        assert alarm(third), "a restart rebuilds it from the ledger"
        assert [each.kind for each in told(third)] == [drift_alarms.RAISED]
        assert verify(third.store).clean
    finally:
        await third.stop()


async def test_an_acknowledged_alarm_begins_anew_in_every_process_and_after_a_restart(tmp_path: Path) -> None:
    guard, other = make_guard(tmp_path, limits=[]), make_guard(tmp_path, limits=[])
    await guard.start()
    await other.start()
    try:
        await send(guard, mortgages(60))
        await other.catch_up()
        (raised,) = told(guard)
        with pytest.raises(TransitionError, match="look at it again"):
            await guard.store.run(lambda tx: tx.acknowledge_drift(moderator="ada", seq=raised.seq - 1, now_us=1))
        await guard.store.run(lambda tx: tx.acknowledge_drift(moderator="ada", note="a holiday", now_us=tx.now_us()))
        await guard.catch_up()
        await other.catch_up()
        assert (alarm(guard), alarm(other), gauge(guard), gauge(other)) == (False, False, "0.0", "0.0")
        with pytest.raises(TransitionError, match="no drift alarm stands"):
            await guard.store.run(lambda tx: tx.acknowledge_drift(moderator="ada", now_us=1))
        await send(guard, labelled(30, seed=4))
        assert not alarm(guard)
    finally:
        await guard.stop()
        await other.stop()
    guard = make_guard(tmp_path, limits=[])
    await guard.start()
    try:
        assert not alarm(guard)
        assert [(each.kind, each.moderator) for each in told(guard)] == [
            ("drift_acknowledged", "ada"),
            ("drift_raised", ""),
        ]
        await send(guard, mortgages(60, seed=2))
        assert alarm(guard), "the stream stayed away"
        assert [each.kind for each in told(guard)] == ["drift_raised", "drift_acknowledged", "drift_raised"]
    finally:
        await guard.stop()


def a_baseline_with(items: Iterable[Contribution], path: Path) -> None:
    batcher = start_batcher(EmbeddingPolicy(backend=Backend.UNSAFE_HASHING), embedder=UnsafeHashingEmbedder())
    try:
        trusted = observe_now(batcher, [*labelled(400, seed=9, prefix="t"), *items])
        save(
            build_baseline(trusted, fingerprint=batcher.embedder.fingerprint, created_at_us=START_US),
            path,
            replace=True,
        )
    finally:
        batcher.close()


async def test_a_new_trusted_set_ends_the_alarm(tmp_path: Path) -> None:
    guard = make_guard(tmp_path, limits=[])
    await guard.start()
    try:
        await send(guard, labelled(200, seed=3))
        await send(guard, mortgages(60))
        assert alarm(guard)
        before = guard.engine.memory.baseline
    finally:
        await guard.stop()
    a_baseline_with(mortgages(400, seed=7, prefix="t"), tmp_path / "baseline")
    guard = make_guard(tmp_path, limits=[])
    await guard.start()
    try:
        assert not alarm(guard), "the 200 from before the new baseline are no drift away from it"
        ended, raised = told(guard)
        assert (ended.kind, ended.alarm.baseline, raised.kind) == ("drift_ended", before, "drift_raised")
        assert gauge(guard) == "0.0"
        both = [each for pair in zip(labelled(150, seed=5), mortgages(150, seed=5), strict=True) for each in pair]
        await send(guard, both)
        assert not alarm(guard)
        assert len(told(guard)) == 2
    finally:
        await guard.stop()
    (tmp_path / "baseline").rename(tmp_path / "later")
    guard = make_guard(tmp_path, limits=[])
    await guard.start()
    try:
        assert guard.engine.memory.baseline == before
        assert alarm(guard), "whoever goes back to the baseline before goes back to its alarm"
        assert [each.kind for each in told(guard)] == ["drift_raised", "drift_ended", "drift_raised"]
        assert told(guard)[0].alarm.at_seq == raised.alarm.at_seq
    finally:
        await guard.stop()
