"""A process that charges a whole budget, and waits at a point; its arguments are URL POINT IDLE_MS REDIS_PORT.

It writes the point's name when it is there. If it lives to get a line, it writes what came of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import Connection, text

from feedback_guard.clock import ManualClock
from feedback_guard.errors import StoreError
from feedback_guard.limits.checks import SECOND, lifetime, rate
from feedback_guard.limits.interface import UNIT, Charge
from feedback_guard.limits.redis import SharedLevels
from feedback_guard.policy.redis import RedisPolicy
from feedback_guard.policy.store import StorePolicy
from feedback_guard.store import postgres
from feedback_guard.store.database import Store, Transaction
from feedback_guard.store.group import Group

NOW: Final = 1_790_000_000 * SECOND
EVER, HOURLY = lifetime(10, name="ever"), rate(10, 3_600 * SECOND, 10, name="hourly")
ALL: Final = [Charge(EVER, "alice", 10 * UNIT), Charge(HOURLY, "alice", 10 * UNIT)]
POINTS: Final = ("charged", "written", "committed")
"""In the transaction, in the database and not committed, committed and nobody told."""


def spend(tx: Transaction) -> bool:
    """Charge all that there is and record it, in one transaction, as the guard does with a verdict."""
    if tx.budgets.charge(ALL, NOW) is not None:
        return False
    tx.append("spent", "alice", {"units": 10}, NOW)
    return True


def opened(url: str, **options: Any) -> Store:
    """The store at a time that stands still: nothing heals by waiting."""
    return Store.open(StorePolicy(url=url, busy_timeout=20 * SECOND, **options), clock=ManualClock(NOW))


def after(owner: Any, name: str, then: Callable[[], None]) -> None:
    """Have something done after a method."""
    real = getattr(owner, name)

    def wrapped(*args: Any, **options: Any) -> Any:
        made = real(*args, **options)
        then()
        return made

    setattr(owner, name, wrapped)


def hold(url: str, point: str, idle_ms: str, redis_port: str) -> None:
    """Charge, and stop at the point."""
    armed = False

    def stop() -> None:
        nonlocal armed
        if armed:
            armed = False
            print(point, flush=True)
            sys.stdin.readline()

    def job(tx: Transaction) -> bool:
        nonlocal armed
        if not url.startswith("sqlite"):
            told = tx.connection.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one()
            print(f"idle {told}", flush=True)
        armed = True
        done = spend(tx)
        if point == "charged":
            stop()
        return done

    if idle_ms != "as it is":
        postgres._IDLE_MS = int(idle_ms)  # type: ignore[misc]
    with opened(url) as store:
        store.submit(lambda tx: None).result(30)
        if redis_port != "none":
            address = {"url": f"redis://127.0.0.1:{redis_port}/0", "key": {"env": "FG_TEST_REDIS_KEY"}, "timeout": "1s"}
            store.tell_levels(SharedLevels(RedisPolicy.model_validate(address), "here").note)
        if point == "written":
            after(Group, "flush", stop)
        elif point == "committed":
            after(Connection, "commit", stop)
        if point == "reserved":  # the planted bug: a reservation that is no part of the record
            store.submit(lambda tx: tx.budgets.charge(ALL, NOW)).result(30)
            armed = True
            stop()
        try:
            print(f"spent {store.submit(job).result(60)}", flush=True)
        except StoreError:
            print("lost", flush=True)


def main(arguments: Sequence[str]) -> None:
    hold(*arguments)
