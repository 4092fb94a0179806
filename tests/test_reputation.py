"""Reputation in the running guard and in `replay`: weights, audits, rulings, and the record of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from feedback_guard.clock import ManualClock
from feedback_guard.contribution import Contribution
from feedback_guard.embedding.hashing import UnsafeHashingEmbedder
from feedback_guard.engine import observe_now, start_batcher
from feedback_guard.evidence.baseline import load as load_baseline
from feedback_guard.guard import Guard
from feedback_guard.learning.audit_build import build
from feedback_guard.learning.audit_files import save
from feedback_guard.ledger.verify import verify
from feedback_guard.ledger.verify_reputation import fold_store
from feedback_guard.limits.bankroll import PICO
from feedback_guard.limits.reputation import identity_of
from feedback_guard.policy.embedding import Backend, EmbeddingPolicy
from feedback_guard.replay import Session
from feedback_guard.signals.disagreement import Disagreement
from feedback_guard.store import tables
from feedback_guard.store.reputation import find_account
from feedback_guard.verdict import Decision
from tests.guards import START_US, labelled, make_guard, make_policy, submit, use_store
from tests.postgres import postgres_store_url as postgres_store_url

DAY = 86_400_000_000
EARNED = {"enabled": True, "identities": 4, "damage": 1.0}
"""Newcomers begin with 1/8."""


@pytest.fixture(autouse=True, params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def store_kind(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Every test is about both databases."""
    if request.param == "postgresql":
        use_store(tmp_path, request.getfixturevalue("postgres_store_url"))
    return str(request.param)


@pytest.fixture
def with_audit(tmp_path: Path) -> dict[str, Any]:
    """A policy's reputation with an audit set beside the baseline."""
    make_policy(tmp_path)
    batcher = start_batcher(EmbeddingPolicy(backend=Backend.UNSAFE_HASHING), embedder=UnsafeHashingEmbedder())
    try:
        observations = observe_now(batcher, list(labelled(200, seed=77, prefix="a")))
        fingerprint = batcher.embedder.fingerprint
    finally:
        batcher.close()
    baseline = load_baseline(tmp_path / "baseline", fingerprint=fingerprint, digest=None)
    reader = Disagreement.from_state(baseline.states["disagreement"])
    made = build(observations, reader, fingerprint=fingerprint, baseline=baseline.digest)
    save(made, tmp_path / "audit")
    return {**EARNED, "audit": str(tmp_path / "audit"), "audit_digest": made.digest.removeprefix("sha256:")}


def balance(guard: Guard, who: str) -> float:
    with guard.store.reading() as connection:
        account = find_account(connection, identity_of(who, anonymous=False))
    assert account is not None
    return account.balance / PICO


def stream(n: int, *, who: str, seed: int, flip: bool = False, day: int = 0) -> list[Contribution]:
    items = labelled(n, seed=seed, who=who, flip=flip, prefix=f"{who}-")
    return [replace(item, at_us=START_US + day * DAY + k * 1_000_000) for k, item in enumerate(items)]


def loose(folder: Path, reputation: dict[str, Any], clock: ManualClock | None = None, **more: Any) -> Guard:
    """A guard that accepts nearly everything, so that reputation alone decides."""
    signals = {"false_hold_rate": 0.0001}
    return make_guard(folder, clock, reputation=reputation, signals=signals, evidence={"enabled": False}, **more)


def test_a_newcomer_teaches_with_what_she_was_endowed_with_and_is_told_why(tmp_path: Path) -> None:
    async def main() -> None:
        guard = loose(tmp_path, EARNED)
        await guard.start()
        got = await guard.judge(submit(stream(1, who="alice", seed=1)[0]))
        assert got.decision is Decision.ACCEPT
        assert got.verdicts[0].weight == 0.125
        assert got.verdicts[0].reasons[-1].signal == "reputation"
        assert "12.500%" in got.verdicts[0].reasons[-1].message
        assert "alice" not in got.verdicts[0].reasons[-1].message
        await guard.stop()

    asyncio.run(main())
    assert verify(make_policy(tmp_path).store.url).clean


def test_off_changes_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        guard = loose(tmp_path, {"enabled": False})
        await guard.start()
        got = await guard.judge(submit(stream(1, who="alice", seed=1)[0]))
        assert got.verdicts[0].weight == 1.0
        with guard.store.reading() as connection:
            assert connection.execute(select(tables.stake)).all() == []
            assert connection.execute(select(tables.reputation)).all() == []
        await guard.stop()

    asyncio.run(main())


def live(guard: Guard, clock: ManualClock, items: Sequence[Contribution]) -> list[float]:
    """Judge contributions at their times, with housekeeping in between; the weights of the verdicts."""

    async def main() -> list[float]:
        await guard.start()
        weights = []
        for item in items:
            clock.advance(max(0, item.at_us - clock.now_us()) / 1_000_000)
            await guard.housekeep()
            weights.append((await guard.judge(submit(item))).verdicts[0].weight)
        await guard.stop()
        return weights

    return asyncio.run(main())


def test_the_middleware_and_replay_weigh_alike(tmp_path: Path, with_audit: dict[str, Any]) -> None:
    items = [
        each
        for day in range(4)
        for who, flip in (("alice", False), ("mallory", day > 1), ("bob", False))
        for each in stream(5, who=who, seed=day * 3 + len(who), flip=flip, day=day)
    ]
    items.sort(key=lambda item: (item.at_us, item.id))
    clock = ManualClock(START_US)
    guard = loose(tmp_path, with_audit, clock)
    weights = live(guard, clock, items)

    async def replayed() -> tuple[list[float], dict[str, int]]:
        other = tmp_path / "replayed"
        other.mkdir()
        second = loose(other, with_audit)
        await second.start()
        session = Session(second.engine)
        got = [session.judge(each).weight for each in observe_now(second.engine.batcher, items)]
        assert session._bank is not None
        balances = {who: account.balance for who, account in session._bank.accounts.items()}
        await second.stop()
        return got, balances

    expected, balances = asyncio.run(replayed())
    assert weights == expected
    assert len(set(weights)) > 3
    assert verify(guard.policy.store.url).clean
    again = loose(tmp_path, with_audit)
    with again.store.reading() as connection:
        assert {row.identity: row.balance for row in connection.execute(select(tables.reputation))} == balances
    assert balance(again, "mallory") < min(0.123, balance(again, "alice"))
    again.store.close()


def test_the_final_weight_falls_with_reputation_and_never_rises(tmp_path: Path, with_audit: dict[str, Any]) -> None:
    """Many at once, before any was measured: what is audited later has what is left."""
    clock = ManualClock(START_US)
    bad = stream(30, who="mallory", seed=4, flip=True)
    guard = loose(tmp_path, with_audit, clock)
    weights = live(guard, clock, bad)
    assert set(weights) == {0.125}

    async def later() -> list[int]:
        clock.advance(2 * 86_400)
        await guard.start()
        await guard.housekeep()
        with guard.store.reading() as connection:
            rows = connection.execute(select(tables.contribution.c.weight_micro)).scalars().all()
        await guard.stop()
        return list(rows)

    final = asyncio.run(later())
    assert max(final) <= 125_000
    assert min(final) < 100_000
    assert len(set(final)) > 20
    again = loose(tmp_path, with_audit)
    assert balance(again, "mallory") == pytest.approx(min(final) / 1e6, rel=0.05)
    again.store.close()
    assert verify(guard.policy.store.url).clean


def test_a_moderators_decision_moves_what_was_earned_and_so_does_a_changed_mind(tmp_path: Path) -> None:
    async def main() -> None:
        guard = make_guard(tmp_path, reputation=EARNED, evidence={"enabled": False})
        await guard.start()
        first = await guard.judge(submit(stream(1, who="alice", seed=1)[0]))
        assert first.decision is Decision.ACCEPT
        held = [
            got
            for item in stream(20, who="alice", seed=5, flip=True)
            if (got := await guard.judge(submit(item))).decision is Decision.QUARANTINE
        ]
        seen = [balance(guard, "alice")]
        for approve in (True, False, True):
            await guard.decide(held[0].submission, approve=approve, moderator="mo")
            seen.append(balance(guard, "alice"))
        assert seen[1] > seen[0] > seen[2]
        assert seen[3] == pytest.approx(seen[1], abs=1e-10)
        for got in held[1:]:
            await guard.decide(got.submission, approve=False, moderator="mo")
        assert 0.0 <= balance(guard, "alice") < 0.01
        page = guard.metrics.render()[0].decode()
        await guard.stop()
        assert "alice" not in page

    asyncio.run(main())
    assert verify(make_policy(tmp_path).store.url).clean


def test_somebody_who_was_never_accepted_can_earn_by_an_approval(tmp_path: Path) -> None:
    async def main() -> None:
        guard = make_guard(tmp_path, reputation=EARNED, evidence={"enabled": False})
        await guard.start()
        judged = [await guard.judge(submit(each)) for each in stream(9, who="nora", seed=5, flip=True)]
        got = next(each for each in judged if each.decision is Decision.QUARANTINE)
        stored = await guard.decide(got.submission, approve=True, moderator="mo")
        assert stored.contributions[0].weight_micro == 1_000_000
        assert balance(guard, "nora") > 0.125
        await guard.stop()

    asyncio.run(main())
    assert verify(make_policy(tmp_path).store.url).clean


TAMPERED = {
    "a balance": "UPDATE reputation SET balance = balance + 5, gained = gained + 5",
    "an account removed": "DELETE FROM reputation",
    "a prediction": "UPDATE audited_item SET belief = belief - 1",
    "a weight": "UPDATE contribution SET weight_micro = 999999 WHERE weight_micro = 125000",
}


@pytest.mark.parametrize("change", TAMPERED.values(), ids=TAMPERED.keys())
def test_edited_reputation_is_found_and_the_ledger_alone_restores_it(
    tmp_path: Path, with_audit: dict[str, Any], change: str
) -> None:
    clock = ManualClock(START_US)
    guard = loose(tmp_path, with_audit, clock)
    live(guard, clock, [*stream(10, who="alice", seed=1), *stream(2, who="alice", seed=2, day=3)])
    assert verify(guard.policy.store.url).clean
    again = loose(tmp_path, with_audit)
    with again.store.reading() as connection:
        folded = fold_store(connection)
        rows = {row.identity: row.balance for row in connection.execute(select(tables.reputation))}
    assert {who: account.balance for who, account in folded.accounts.items()} == rows
    assert again.store.submit(lambda tx: tx.connection.execute(text(change)).rowcount).result() > 0
    again.store.close()
    assert not verify(guard.policy.store.url).clean


def test_an_audit_that_is_applied_twice_is_found(tmp_path: Path, with_audit: dict[str, Any]) -> None:
    clock = ManualClock(START_US)
    guard = loose(tmp_path, with_audit, clock)
    live(guard, clock, [*stream(6, who="alice", seed=1), *stream(1, who="alice", seed=2, day=2)])
    again = loose(tmp_path, with_audit, clock)
    again.store.submit(lambda tx: tx.connection.execute(text("UPDATE stake SET audited = 0"))).result()
    assert again.terms is not None
    terms = again.terms
    again.store.submit(lambda tx: tx.audit_due(terms, now_us=clock.now_us(), limit=100)).result()
    again.store.close()
    findings = verify(guard.policy.store.url).findings
    assert any("a second time" in each.message for each in findings)
