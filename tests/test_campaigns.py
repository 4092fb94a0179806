"""A campaign in the running guard: what was accepted before it was found is held again, also after a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from feedback_guard.guard import Guard
from feedback_guard.ledger.verify import verify
from feedback_guard.store.states import Learning
from feedback_guard.verdict import Decision
from tests.evidence.test_accumulator import mixed, triggered
from tests.guards import labelled, make_guard, submit

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
