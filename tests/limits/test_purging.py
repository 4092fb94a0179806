"""Counters that are taken away were worth nothing: no charge can tell whether and when they were."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Connection, bindparam, delete, func, select

from feedback_guard.clock import ManualClock
from feedback_guard.limits import placing, purging
from feedback_guard.limits.charging import budget_key
from feedback_guard.limits.checks import SECOND, lifetime, rate
from feedback_guard.limits.interface import UNIT, Budget, Charge, Measure
from feedback_guard.limits.memory import MemoryBudgets
from feedback_guard.limits.newcomers import Newcomers
from feedback_guard.limits.placing import PointMemory
from feedback_guard.limits.purging import GRACE_US, PARTS, purge
from feedback_guard.limits.sql import SqlBudgets
from feedback_guard.policy.newcomers import NewcomersPolicy
from feedback_guard.store import tables
from feedback_guard.store.engines import Engines
from tests.guards import START_US, labelled, make_guard, submit
from tests.limits import openers
from tests.limits.test_points import group

START = 1_700_000_000 * SECOND
DAY = 86_400 * SECOND
FAST, SLOW, EVER = rate(6, 60 * SECOND, 3, name="fast"), rate(1, 7 * DAY, 2, name="slow"), lifetime(20, name="ever")
FORGOTTEN = Budget("deal", "newcomers", Measure.WEIGHT, 4 * UNIT, None, 0, forget_after_us=2 * DAY)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def connection(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connection]:
    """A write transaction that is never committed."""
    url = (
        request.getfixturevalue("postgres_store_url") if request.param == "postgresql" else f"sqlite:///{tmp_path}/a.db"
    )
    engines = openers.prepared(url)
    with engines.writer.connect() as opened:
        engines.begin(opened)
        yield opened
        opened.rollback()
    engines.dispose()


def whole(connection: Connection, budgets: Sequence[Budget], now_us: int) -> int:
    """Look through every part of the table."""
    return sum(purge(connection, budgets, now_us, part) for part in range(PARTS))


def rows(connection: Connection) -> int:
    return int(connection.execute(select(func.count()).select_from(tables.budget)).scalar_one())


def differences(connection: Connection, seed: int) -> int:
    """Charges on which a store that is purged all the time and one that never is disagree."""
    rng, purged, kept = random.Random(seed), SqlBudgets(connection, serialised=True), MemoryBudgets()
    parts = {int(budget_key(budget, key)[:2], 16) for budget in (FAST, SLOW, EVER) for key in "ab"}
    now, wrong, gone = START, 0, 0
    steps = [0, 1, SECOND, 20 * SECOND, DAY // 3, DAY + 30 * SECOND, 2 * DAY, 16 * DAY]
    for turn in range(150):
        now += rng.choice(steps)
        charge = Charge(rng.choice([FAST, SLOW, EVER]), rng.choice("ab"), rng.choice([UNIT // 3, UNIT, 2 * UNIT]))
        if rng.random() < 0.1:
            for store in (purged, kept):
                store.force([charge], now)
        else:
            wrong += purged.charge([charge], now) != kept.charge([charge], now)
        if turn % 3 == 0:
            gone += sum(purge(connection, [FAST, SLOW, EVER], now, part) for part in parts)
    assert gone > 5, "nothing was taken away, so nothing was tested"
    return wrong


@pytest.mark.parametrize("seed", range(3))
def test_no_charge_can_tell_whether_counters_were_taken_away(connection: Connection, seed: int) -> None:
    assert differences(connection, seed) == 0


def _without(*columns: str) -> object:
    b = tables.budget.c
    clauses = {
        "part": (b.key >= bindparam("first")) & (b.key < bindparam("end")),
        "name": b.name == bindparam("of"),
        "period": b.period_us == bindparam("period"),
        "used": b.used_micro <= bindparam("most"),
        "last": b.last_us < bindparam("before"),
    }
    return delete(tables.budget).where(*(clause for name, clause in clauses.items() if name not in columns))


@pytest.mark.parametrize("bug", ["too-early", "whatever-is-owed", "another-budgets"])
def test_the_comparison_finds(connection: Connection, bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if bug == "too-early":
        monkeypatch.setattr(purging, "GRACE_US", -13 * DAY)
    else:
        monkeypatch.setattr(purging, "_PURGE", _without("used" if bug == "whatever-is-owed" else "name"))
        if bug == "another-budgets":
            monkeypatch.setattr(purging, "_PURGE", _without("name", "period"))
    assert sum(differences(connection, seed) for seed in range(3)) > 0


def test_a_counter_goes_a_day_after_its_bucket_is_empty_and_not_before(connection: Connection) -> None:
    budgets = SqlBudgets(connection, serialised=True)
    budgets.charge([Charge(FAST, "k", 3 * UNIT)], START)
    empty = START + 30 * SECOND  # the whole burst leaks in half a minute
    assert whole(connection, [FAST], empty + GRACE_US) == 0
    assert whole(connection, [FAST], empty + GRACE_US + 1) == 1


def test_a_clock_that_is_ahead_by_less_than_the_grace_takes_nothing_that_counts(connection: Connection) -> None:
    budgets = SqlBudgets(connection, serialised=True)
    budgets.charge([Charge(FAST, "k", 3 * UNIT)], START)
    assert whole(connection, [FAST], START + GRACE_US) == 0
    assert budgets.charge([Charge(FAST, "k", UNIT)], START) is not None


def test_what_is_for_a_lifetime_stays_and_what_may_be_forgotten_goes(connection: Connection) -> None:
    budgets = SqlBudgets(connection, serialised=True)
    budgets.charge([Charge(EVER, "k", UNIT), Charge(FORGOTTEN, "k", 4 * UNIT)], START)
    century = START + 36_500 * DAY
    assert whole(connection, [EVER], century) == 0
    assert whole(connection, [FORGOTTEN], START + 3 * DAY) == 0
    assert whole(connection, [FORGOTTEN], START + 3 * DAY + 1) == 1
    assert budgets.balance(EVER, "k", century).remaining_micro == 19 * UNIT


def test_each_part_has_its_share_and_all_parts_are_all(connection: Connection) -> None:
    budgets = SqlBudgets(connection, serialised=True)
    budgets.charge([Charge(FAST, f"k{n}", UNIT) for n in range(600)], START)
    taken = [purge(connection, [FAST], START + 9 * DAY, part) for part in range(PARTS)]
    assert sum(taken) == 600
    assert max(taken) < 20
    for part, n in enumerate(taken):
        names = [budget_key(FAST, f"k{i}") for i in range(600)]
        assert sum(name.startswith(f"{part:02x}") for name in names) == n


def test_the_lotterys_counters_are_forgotten_once_no_deal_asks_for_them(connection: Connection) -> None:
    from feedback_guard.limits.grouped import GroupBudgets

    rule = Newcomers(NewcomersPolicy(tenure=DAY, pool=8, per=DAY, deals=8, each=1), b"secret")
    budgets = GroupBudgets(connection)
    assert rule.ask(budgets, "ada", UNIT, START)
    budgets.charge(rule.charges("ada", UNIT, START), START)
    rule.remember(budgets, "ada", START)
    budgets.flush()
    n = rows(connection)
    assert whole(connection, rule.forgettable, START + 2 * DAY) == 0
    assert whole(connection, rule.forgettable, START + 9 * DAY) == 3
    assert rows(connection) == n - 3
    assert GroupBudgets(connection).first_us(
        Budget("newcomers:since", "newcomers", Measure.COUNT, UNIT, None, 0), "ada"
    )


def test_points_beyond_all_that_is_remembered_are_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "_KEPT", 10)
    engines: Engines = openers.prepared(f"sqlite:///{tmp_path}/points.db")
    near, memory = Budget("r", "radius", Measure.COUNT, 1_000 * UNIT, None, 0), PointMemory()
    with group(engines, memory) as budgets:
        for n in range(25):
            assert budgets.place(near, 0.1, np.array([1.0, 0.0], dtype=np.float32), UNIT, n)
    with engines.writer.connect() as connection:
        engines.begin(connection)
        purge(connection, [near], START, 0)
        left = connection.execute(select(tables.point.c.at_us).order_by(tables.point.c.seq)).scalars().all()
        connection.commit()
    assert left == list(range(15, 25))
    engines.dispose()


def test_housekeeping_comes_round_to_every_part(tmp_path: Path) -> None:
    limit = {"name": "often", "facet": "contributor", "measure": "count", "amount": 5, "per": "1h"}

    async def main() -> None:
        clock = ManualClock(START_US)
        guard = make_guard(tmp_path, clock, limits=[limit])
        await guard.start()
        for item in labelled(40, seed=8):
            await guard.judge(submit(item))

        def left() -> int:
            with guard.store.reading() as connection:
                return rows(connection)

        before = left()
        assert before >= 40
        clock.advance(3 * 86_400)
        for _ in range(PARTS):
            await guard.housekeep()
        assert left() <= before - 40
        await guard.stop()

    asyncio.run(main())
