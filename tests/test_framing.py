"""Nobody can get an honest contributor held or throttled by copying her: the whole guard, with all its budgets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from feedback_guard.clock import ManualClock
from feedback_guard.contribution import Contribution
from feedback_guard.policy.loader import load_policy
from feedback_guard.store.states import Learning
from feedback_guard.verdict import Decision
from tests.guards import START_US, labelled, make_guard, submit

NAMES = ("victim\u200b", "Victim", "ｖictim", "v\u0456ctim", "victim ")
"""How her name looks to a human, more or less; to the guard they are other names."""
COPIED = 3
"""Of each of so many of her texts there are as many copies as there are copycats."""


def copies_of(hers: Sequence[Contribution], copycats: int, *, lie: bool) -> list[Contribution]:
    return [
        replace(
            item,
            id=f"{item.id}-copy-{n}",
            at_us=item.at_us + 1 + n,
            contributor=f"{NAMES[n % len(NAMES)]}{n // len(NAMES) or ''}",
            groups={"network": f"192.0.{n % 200}.0/24"},
            label=("pin" if item.label != "pin" else "card") if lie else item.label,
        )
        for item in hers[:COPIED]
        for n in range(copycats)
    ]


async def fate(folder: Path, hers: Sequence[Contribution], others: Sequence[Contribution]) -> dict[str, Learning]:
    """What becomes of her contributions in the end, after having been accepted at once."""
    clock = ManualClock(START_US)
    limits = load_policy("balanced").policy.limits
    guard = make_guard(
        folder, clock, signals={"false_hold_rate": 0.0001}, limits=[each.model_dump() for each in limits]
    )
    await guard.start()
    submissions = {}
    mine = {item.id for item in hers}
    for number, item in enumerate(sorted([*hers, *others], key=lambda item: item.at_us)):
        clock.us = max(clock.us, item.at_us)
        got = await guard.judge(submit(item))
        if item.id in mine:
            assert got.decision is Decision.ACCEPT, got.verdicts[0]
            assert got.verdicts[0].weight == 1.0, got.verdicts[0]
            submissions[item.id] = got.submission
        if number % 16 == 0:
            await guard.catch_up()
    await guard.catch_up()
    found = {}
    for ident, name in submissions.items():
        stored = guard.store.submission(name)
        assert stored is not None
        found[ident] = stored.contributions[0].learning
    await guard.stop()
    return found


@pytest.mark.parametrize("lie", [False, True], ids=["in her words", "with other labels"])
@pytest.mark.parametrize("copycats", [1, 10, 100])
def test_copycats_neither_hold_nor_throttle_her(tmp_path: Path, copycats: int, lie: bool) -> None:
    hers = [
        replace(item, at_us=START_US + n * 3_600_000_000, groups={"network": "198.51.100.0/24"})
        for n, item in enumerate(labelled(12, seed=8, prefix="victim", who="victim"))
    ]
    honest = [replace(item, at_us=START_US + n * 400_000_000) for n, item in enumerate(labelled(100, seed=3))]
    copies = copies_of(hers, copycats, lie=lie)
    found = asyncio.run(fate(tmp_path, hers, [*honest, *copies]))
    assert set(found.values()) == {Learning.ACCEPTED}
    assert len(found) == len(hers)
