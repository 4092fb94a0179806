"""Processes race for the same budgets, and some are killed in between: nothing more is admitted, and nothing leaks.

Usage: python -m benchmarks.races --url sqlite:////tmp/races.db --processes 16 --attempts 100000 --kills 8

Every attempt charges a budget and, if there was room, writes a row, in one transaction of the store, as the guard does
with a verdict. At the end the rows are what was admitted, and are compared with the budgets and with their levels. With
`--redis` each attempt asks Redis first, and Redis is emptied at every kill. `--skew` sets the clocks of a third of
the processes ahead and of a third back; `--unknown` makes commits fail after they were made.

Nothing is trusted but the rows. Exit code 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import mmap
import os
import random
import signal
import struct
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from feedback_guard.clock import MICROSECONDS, SystemClock
from feedback_guard.errors import StoreError
from feedback_guard.limits.interface import UNIT, Budget, Charge, Measure
from feedback_guard.limits.redis import SharedLevels, place_of
from feedback_guard.limits.sql import SqlBudgets
from feedback_guard.policy.redis import RedisPolicy
from feedback_guard.policy.store import StorePolicy
from feedback_guard.store.database import Store, Transaction

KEY = "everybody"
READY_SECONDS = 30.0
KEY_ENV = "FEEDBACK_GUARD_RACES_KEY"


@dataclass(frozen=True)
class Race:
    """What is raced for, by how many, under what faults."""

    url: str
    processes: int
    attempts: int
    lifetime: int
    burst: int
    per_hour: int
    kills: int
    group: int
    redis: str | None
    skew_seconds: int
    unknown: float
    seed: int

    @property
    def budgets(self) -> tuple[Budget, Budget]:
        """One for a lifetime, one per hour; attempts take turns."""
        return (
            Budget("lifetime", "contributor", Measure.WEIGHT, self.lifetime * UNIT, None, 0),
            Budget("rate", "contributor", Measure.COUNT, self.per_hour * UNIT, 3_600 * MICROSECONDS, self.burst * UNIT),
        )

    @property
    def store(self) -> StorePolicy:
        """How a process opens the store."""
        return StorePolicy(url=self.url, busy_timeout=60 * MICROSECONDS, max_group=self.group, queue_size=65_536)


@dataclass(frozen=True)
class SkewedClock(SystemClock):
    """The clock of a host that is wrong by so much."""

    ahead_us: int = 0

    def now_us(self) -> int:
        """Wrong by so much."""
        return super().now_us() + self.ahead_us


def attempt(tx: Transaction, budget: Budget, now_us: int) -> bool:
    """Charge, and record what was admitted, in one transaction."""
    if tx.budgets.charge([Charge(budget, KEY, UNIT)], now_us) is not None:
        return False
    tx.connection.execute(text("INSERT INTO race (which, at_us) VALUES (:w, :t)"), {"w": budget.name, "t": now_us})
    return True


def on_unknown(store: Store, budget: Budget) -> None:
    """What a worker does about an attempt whose outcome it was not told: nothing. The store knows."""


def work(race: Race, number: int, ready: Callable[[], None], done: Callable[[], None], left: int) -> None:
    """One process's attempts; some are under way at a time. It begins when all are ready."""
    skew = (number % 3 - 1) * race.skew_seconds * MICROSECONDS
    front = shared(race) if race.redis else None
    with Store.open(race.store, clock=SkewedClock(skew)) as store:
        if front is not None:
            store.tell_levels(front.note)
        if race.unknown:
            lose_answers(race.unknown, random.Random(race.seed * 1_000 + number + left))
        ready()
        at_once = 4 * race.group
        for start in range(0, left, at_once):
            waiting = []
            for turn in range(start, min(left, start + at_once)):
                budget = race.budgets[turn % 2]
                if front is not None and front.peek_now([Charge(budget, KEY, UNIT)], store.now_us()) is not None:
                    done()
                    continue
                waiting.append((budget, store.submit(lambda tx, b=budget: attempt(tx, b, tx.now_us()))))  # type: ignore[misc]
            for budget, future in waiting:
                try:
                    future.result()
                except StoreError:
                    on_unknown(store, budget)
                done()
    if front is not None:
        front.close()


def shared(race: Race) -> SharedLevels:
    """Redis, as the guard uses it."""
    os.environ.setdefault(KEY_ENV, "a key for races, long enough")
    policy = RedisPolicy.model_validate({"url": race.redis, "key": {"env": KEY_ENV}, "timeout": "500ms"})
    return SharedLevels(policy, place_of(race.url))


def lose_answers(share: float, chance: random.Random) -> None:
    """From now on this process is told of a part of its commits that they failed, after they were made."""
    commit = Connection.commit

    def committed(self: Connection) -> None:
        commit(self)
        if chance.random() < share:
            raise OperationalError("COMMIT", None, ConnectionError("the server went away"))

    Connection.commit = committed  # type: ignore[method-assign]


def in_child(job: Callable[[], None]) -> int:
    """Fork; the child does the job and ends without a word to anybody else's exit handlers."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        job()
        code = 0
    except BaseException as error:  # noqa: BLE001 - said by the exit code
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def prepare(race: Race) -> None:
    """Make the store and a table for what is admitted."""
    with Store.open(race.store, clock=SystemClock()) as store:
        kind = "BIGSERIAL PRIMARY KEY" if race.url.startswith("postgresql") else "INTEGER PRIMARY KEY"

        def make(tx: Transaction) -> None:
            tx.connection.execute(text(f"CREATE TABLE race (n {kind}, which TEXT NOT NULL, at_us BIGINT NOT NULL)"))

        store.submit(make).result()


def run(race: Race) -> dict[str, Any]:
    """Race, and look at what came of it."""
    if os.waitpid(in_child(lambda: prepare(race)), 0)[1]:
        raise SystemExit(2)
    board = mmap.mmap(-1, 16 * race.processes)  # for each place the attempts made, and whether it was ever ready

    def made(place: int) -> int:
        return int(struct.unpack_from("q", board, 16 * place)[0])

    def one_more(place: int) -> None:
        struct.pack_into("q", board, 16 * place, made(place) + 1)

    def ready(place: int) -> None:
        struct.pack_into("q", board, 16 * place + 8, 1)
        deadline = time.monotonic() + READY_SECONDS
        while not all(struct.unpack_from("q", board, 16 * other + 8)[0] for other in range(race.processes)):
            if time.monotonic() > deadline:
                raise TimeoutError("not every process came to the start")
            time.sleep(0.001)

    def start(place: int) -> int:
        left = race.attempts - made(place)
        return in_child(lambda: work(race, place, lambda: ready(place), lambda: one_more(place), left))

    chance, began = random.Random(race.seed), time.monotonic()
    places = {start(place): place for place in range(race.processes)}
    failed, kills = 0, 0
    contested = min(race.processes * race.attempts, 2 * race.lifetime)  # afterwards nearly everything is refused
    while places:
        with contextlib.suppress(ChildProcessError):
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid in places:
                place = places.pop(pid)
                if os.WIFSIGNALED(status):
                    places[start(place)] = place
                else:
                    failed += bool(status)
                continue
        if kills < race.kills and sum(map(made, range(race.processes))) > contested * (kills + 1) / (race.kills + 2):
            kills += 1
            os.kill(chance.choice(list(places)), signal.SIGKILL)
            if race.redis:
                empty(race.redis)
        time.sleep(0.002)
    return {
        "race": asdict(race),
        "attempts": sum(map(made, range(race.processes))),
        "killed": kills,
        "failed_processes": failed,
        "seconds": round(time.monotonic() - began, 2),
        **outcome(race, time.monotonic() - began),
    }


def empty(url: str) -> None:
    """Let Redis forget everything."""
    import redis

    with redis.Redis.from_url(url, protocol=2) as client:
        client.flushall()


def outcome(race: Race, seconds: float) -> dict[str, Any]:
    """What was admitted, against the budgets, and against what the store says was used."""
    lifetime, rate = race.budgets
    with Store.open(race.store, clock=SystemClock()) as store, store.reading() as connection:
        rows = connection.execute(text("SELECT which, at_us FROM race ORDER BY n")).all()
        left = SqlBudgets(connection).balance(lifetime, KEY, 0).remaining_micro
    admitted = sum(which == "lifetime" for which, _ in rows)
    times = [at_us for which, at_us in rows if which == "rate"]
    bound = race.burst + seconds * race.per_hour / 3_600
    return {
        "lifetime_admitted": admitted,
        "lifetime_over": max(0, admitted - race.lifetime),
        "lifetime_leaked": (race.lifetime * UNIT - left) // UNIT - admitted,
        "rate_admitted": len(times),
        "rate_over": excess(rate, times),
        "rate_over_real_time": max(0.0, round(len(times) - bound, 3)),
    }


def excess(budget: Budget, times: Sequence[int]) -> float:
    """The most that any interval holds beyond what the budget promises, in units; the key's time never runs back."""
    period, worst, lowest, latest = budget.period_us or 1, 0, 0, None
    for number, at_us in enumerate(times):
        latest = at_us if latest is None else max(latest, at_us)
        before = number * UNIT * period - budget.amount_micro * (latest - times[0])
        lowest = before if number == 0 else min(lowest, before)
        worst = max(worst, before + UNIT * period - lowest - budget.burst_micro * period)
    return worst / (UNIT * period)


def broken(result: dict[str, Any]) -> list[str]:
    """The promises that were not kept.

    On SQLite the host's own clock counts, and each step forward may cost one burst: there are two between three clocks.
    On PostgreSQL the server's clock counts, and no host's may cost anything.
    """
    race = result["race"]
    spare = 2 * race["burst"] if race["skew_seconds"] and race["url"].startswith("sqlite") else 0
    said = []
    if result["failed_processes"]:
        said.append(f"{result['failed_processes']} processes failed")
    if result["lifetime_over"]:
        said.append(f"the lifetime budget was passed by {result['lifetime_over']}")
    if result["lifetime_leaked"]:
        said.append(f"the lifetime budget and what was admitted differ by {result['lifetime_leaked']}")
    if result["rate_over"] > 0:
        said.append(f"an interval holds {result['rate_over']} too much")
    if result["rate_over_real_time"] > spare:
        said.append(f"in real time {result['rate_over_real_time']} too much were admitted")
    if result["lifetime_admitted"] < race["lifetime"] and result["attempts"] > 4 * race["lifetime"]:
        said.append("less was admitted than there was room for")
    return said


def main(arguments: Sequence[str] | None = None) -> int:
    """Race as the arguments say, and print what came of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="a store that does not exist yet, or an empty database")
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--attempts", type=int, default=100_000, help="of each process")
    parser.add_argument("--lifetime", type=int, default=20_000, help="the budget that is raced for")
    parser.add_argument("--burst", type=int, default=2_000)
    parser.add_argument("--per-hour", type=int, default=7_200)
    parser.add_argument("--kills", type=int, default=8, help="SIGKILLs, spread over the race")
    parser.add_argument("--group", type=int, default=256, help="most attempts in one transaction")
    parser.add_argument("--redis", help="URL of a Redis that may be emptied")
    parser.add_argument("--skew-seconds", type=int, default=0)
    parser.add_argument("--unknown", type=float, default=0.0, help="share of commits whose answer is lost")
    parser.add_argument("--seed", type=int, default=1)
    result = run(Race(**vars(parser.parse_args(arguments))))
    result["broken"] = broken(result)
    print(json.dumps(result))
    return 1 if result["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
