"""`benchmarks.races` with a bug: `python -m tests.limits.wrong_races BUG ARGUMENTS`. The race must notice each."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import redis
from sqlalchemy import text

from benchmarks import races
from feedback_guard.limits.charging import budget_key
from feedback_guard.limits.gcra import Level
from feedback_guard.limits.grouped import GroupBudgets
from feedback_guard.limits.interface import UNIT, Budget, Charge
from feedback_guard.limits.redis import SharedLevels
from feedback_guard.store import postgres
from feedback_guard.store.database import Store, Transaction


def read_then_write() -> None:
    """Takes a level for true that was read before the lock: the one this process saw last."""
    seen: dict[str, Level | None] = {}
    read = GroupBudgets._read

    def stale(self: GroupBudgets, keys: Sequence[str]) -> Mapping[str, Level | None]:
        self._levels.update((key, seen[key]) for key in keys if key in seen and key not in self._levels)
        return read(self, keys)

    flush = GroupBudgets.flush

    def remember(self: GroupBudgets) -> None:
        flush(self)
        seen.update(self._levels)

    GroupBudgets._read = stale  # type: ignore[method-assign]
    GroupBudgets.flush = remember  # type: ignore[method-assign]


def no_lock() -> None:
    """Lets transactions on PostgreSQL overlap."""
    postgres.LOCK = "SELECT %s"


def release_on_unknown() -> None:
    """Gives back what it was not told of, as if it had not happened."""

    def give_back(store: Store, budget: Budget) -> None:
        def job(tx: Transaction) -> None:
            tx.connection.execute(
                text("UPDATE budget SET used_micro = used_micro - :cost WHERE key = :key AND used_micro >= :cost"),
                {"cost": UNIT, "key": budget_key(budget, races.KEY)},
            )

        store.submit(job)

    races.on_unknown = give_back


def redis_alone() -> None:
    """Believes what Redis has counted, and does not ask the store."""

    def attempt(tx: Transaction, budget: Budget, now_us: int) -> bool:
        if budget.name == "lifetime":
            with redis.Redis.from_url(sys.argv[sys.argv.index("--redis") + 1], protocol=2) as client:
                if int(client.incr(f"count:{budget.name}")) > budget.amount_micro // UNIT:
                    return False
            tx.budgets.force([Charge(budget, races.KEY, UNIT)], now_us)
            tx.connection.execute(
                text("INSERT INTO race (which, at_us) VALUES (:w, :t)"), {"w": budget.name, "t": now_us}
            )
        return True

    races.attempt = attempt
    setattr(SharedLevels, "peek_now", lambda self, charges, now_us: None)  # noqa: B010


def trusts_its_own_clock() -> None:
    """Takes the caller's time as it is, so that going back and forth refills each time."""

    from feedback_guard.limits import gcra

    settle, charged = gcra.settle, gcra.charged

    def wrong(budget: Budget, level: Level | None, now_us: int) -> Level:
        return settle(budget, level, now_us)._replace(last_us=now_us)

    def wrongly(budget: Budget, level: Level | None, cost_micro: int, now_us: int) -> Level | None:
        return charged(budget, None if level is None else wrong(budget, level, now_us), cost_micro, now_us)

    gcra.settle, gcra.charged = wrong, wrongly


BUGS = {bug.__name__: bug for bug in (read_then_write, no_lock, release_on_unknown, redis_alone, trusts_its_own_clock)}

if __name__ == "__main__":
    BUGS[sys.argv[1]]()
    sys.exit(races.main(sys.argv[2:]))
