"""Several real processes on one database, and processes that are killed."""

from __future__ import annotations

import itertools
import random
from contextlib import ExitStack

from sqlalchemy import select

from feedback_guard.ledger.verify import verify
from feedback_guard.limits.interface import UNIT
from feedback_guard.store import tables
from feedback_guard.store.database import Store
from tests.forks import Forked, start
from tests.patience import PATIENCE_SECONDS
from tests.store.build import CLOCK, NOW, policy
from tests.store.racer import LIFETIME, RATE

RACER = "tests.store.racer"


def go(process: Forked) -> None:
    process.stdin.write("go\n")
    process.stdin.flush()


def test_racing_processes_share_one_budget_and_one_ledger(new_url: str) -> None:
    """Three processes, 180 attempts on each of two budgets of 70 and 50: exactly 70 and 50 are admitted."""
    with ExitStack() as ending:
        workers = [ending.enter_context(start(RACER, new_url, "race", f"w{number}")) for number in range(3)]
        for worker in workers:
            go(worker)
        assert [worker.wait(PATIENCE_SECONDS) for worker in workers] == [0] * 3
        printed = [worker.stdout.read().split() for worker in workers]
    assert [sum(int(line[which]) for line in printed) for which in (0, 1)] == [70, 50]
    with Store.open(policy(new_url), clock=CLOCK) as store:
        assert [event.seq for event in store.events_after(0, 1_000)] == list(range(1, 121))
        assert verify(store).clean
        assert store.balance(LIFETIME, "everybody", NOW).remaining_micro == 0
        assert store.balance(RATE, "everybody", NOW).remaining_micro == 0
        assert store.balance(RATE, "somebody else", NOW).remaining_micro == 50 * UNIT


def test_what_was_acknowledged_survives_kill_9(new_url: str) -> None:
    """Three processes write at once; each is killed in its turn, in the middle of whatever it does."""
    random_ = random.Random(9)
    acknowledged: list[str] = []
    with ExitStack() as ending:
        workers = [ending.enter_context(start(RACER, new_url, "write", f"k{number}")) for number in range(3)]
        for worker in workers:
            go(worker)
        for worker in workers:
            acknowledged += itertools.islice(worker.stdout, random_.randint(20, 60))
            worker.kill()
            acknowledged += worker.stdout
    idents = [line.strip() for line in acknowledged if line.endswith("\n")]
    with Store.open(policy(new_url), clock=CLOCK) as store:
        report = verify(store, store.checkpoint())
        assert report.findings == []
        assert report.head.seq == report.contributions >= len(idents)
        assert len(set(idents)) == len(idents) >= 60
        with store.reading() as connection:
            recorded = set(connection.execute(select(tables.submission.c.id)).scalars())
        assert set(idents) - recorded == set()
