"""What a decision over ten budgets costs: in this process, on Redis and on PostgreSQL, with `limits` beside it.

The work is the same for all: ten facets of one contribution (who sends it, from where, what it says and teaches) are
charged, each on a counter of its own, drawn from thousands. Ours is everything between a contribution that was read
and its verdict: planning the charges, all or none of them, with the verdict's reasons. `limits`, the widely used rate
limiter, is asked for ten hits, one after the other, which is what it offers: a hit that is refused leaves the earlier
ones charged.

Round trips are counted by a relay between client and server. On PostgreSQL the decision is known after one; what it
charged is written with the record, in the same transaction. Private servers are started where their binaries are::

    python -m benchmarks.budgets --rounds 5
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from benchmarks.relay import Relay
from feedback_guard.assessment import Assessment, Content
from feedback_guard.clock import SystemClock
from feedback_guard.contribution import Contribution, Kind
from feedback_guard.limits.charging import budget_key, charge_levels
from feedback_guard.limits.gcra import Level
from feedback_guard.limits.interface import Charge, Refusal, merged
from feedback_guard.limits.memory import MemoryBudgets
from feedback_guard.limits.newcomers import Newcomers
from feedback_guard.limits.redis import SharedLevels
from feedback_guard.policy.limits import LimitPolicy
from feedback_guard.policy.newcomers import NewcomersPolicy
from feedback_guard.policy.redis import RedisPolicy
from feedback_guard.policy.routes import OnHold
from feedback_guard.policy.store import StorePolicy
from feedback_guard.settle import Settler
from feedback_guard.store.database import Store, Transaction
from feedback_guard.submission import Submission
from feedback_guard.verdict import Decision

START_US = 1_770_000_000_000_000
KEY_ENV = "FEEDBACK_GUARD_BENCH_KEY"
LIMITS = tuple(
    LimitPolicy.model_validate({"amount": 10**8, **each})
    for each in (
        {"name": "contributor-rate", "facet": "contributor", "measure": "count", "per": "1h"},
        {"name": "contributor-day", "facet": "contributor", "measure": "weight", "per": "1d"},
        {"name": "contributor-lifetime", "facet": "contributor", "measure": "weight"},
        {"name": "network-rate", "facet": "group:network", "measure": "count", "per": "1h"},
        {"name": "tenant-day", "facet": "group:tenant", "measure": "weight", "per": "1d"},
        {"name": "phrase-lifetime", "facet": "phrase", "measure": "count"},
        {"name": "pair-lifetime", "facet": "pair", "measure": "count"},
        {"name": "family-week", "facet": "family", "measure": "count", "per": "7d"},
        {"name": "target-day", "facet": "target", "measure": "weight", "per": "1d"},
    )
)
"""Nine budgets; of the one on phrases a contribution has two counters."""
NEWCOMERS = NewcomersPolicy(tenure="1d", pool=10**8, each=10**6)


@dataclass(frozen=True)
class Work:
    """One decision: a contribution as it was read and assessed."""

    submission: Submission
    assessment: Assessment


def work(n: int) -> list[Work]:
    """Decisions over ten facets each, on counters drawn at random."""
    rng = random.Random(7)

    def named(count: int, digits: int) -> str:
        return f"{rng.randrange(count):0{digits}x}"

    made = []
    for i in range(n):
        groups = {"network": f"10.0.{rng.randrange(2_000)}.0/24", "tenant": f"t{rng.randrange(50)}"}
        item = Contribution(f"c{i}", START_US, f"user-{rng.randrange(5_000)}", Kind.LABEL, "x", "y", groups=groups)
        keys = {
            "phrase-lifetime": (named(50_000, 6), named(50_000, 7)),
            "pair-lifetime": (named(50_000, 6),),
            "family-week": (named(5_000, 16),),
            "target-day": (named(77, 16),),
        }
        assessed = Assessment(Decision.ACCEPT, 1.0, 0.1, (), content=Content(keys))
        made.append(Work(Submission("feedback", OnHold.PASS, (item,)), assessed))
    return made


def settler(newcomers: Newcomers | None = None) -> Settler:
    return Settler(LIMITS, "sha256:p", "sha256:b", observed=False, newcomers=newcomers)


def charges(settler_: Settler, each: Work) -> list[Charge]:
    """All that a decision charges, as one list."""
    found = settler_.attempts(each.submission)
    for hold in (False, True):
        found += settler_.room.charges(each.submission, [each.assessment], hold=hold)
    return merged(found)


@dataclass
class Measured:
    """One way of deciding."""

    where: str
    what: str
    run: Callable[[], Any]
    decisions: int
    relay: Relay | None = None
    trips_to_decide: Callable[[], float] | None = None

    def once(self) -> dict[str, float]:
        """CPU of this process and time on the clock, in microseconds for each decision, and round trips."""
        trips = self.relay.trips if self.relay else 0
        wall, cpu = time.perf_counter(), time.process_time()
        self.run()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        found = {"cpu_us": cpu / self.decisions * 1e6, "wall_us": wall / self.decisions * 1e6}
        if self.relay is not None:
            found["trips"] = (self.relay.trips - trips) / self.decisions
        if self.trips_to_decide is not None:
            found["trips_to_decide"] = self.trips_to_decide()
        return found


def in_process(n: int) -> Iterator[Measured]:
    """Ours and `limits` in memory."""
    items = work(n)
    rounds = [0]

    def ours(newcomers: Newcomers | None) -> Callable[[], None]:
        decide, budgets = settler(newcomers), MemoryBudgets()

        def run() -> None:
            rounds[0] += 1
            for i, each in enumerate(items):
                got = decide.settle(each.submission, [each.assessment], budgets, START_US + rounds[0] * n + i)
                if got.decision is not Decision.ACCEPT:
                    raise RuntimeError(f"a budget without end refused: {got}")

        return run

    def alone() -> Callable[[], None]:
        decide, budgets = settler(), MemoryBudgets()
        ready = [charges(decide, each) for each in items]

        def run() -> None:
            for each in ready:
                budgets.charge(each, START_US)

        return run

    pool = Newcomers(NEWCOMERS, b"a secret of the benchmark's own")
    yield Measured("in process", "feedback_guard: from what was read to the verdict", ours(None), n)
    yield Measured("in process", "feedback_guard: the same, and the newcomers' lottery", ours(pool), n)
    yield Measured("in process", "feedback_guard: the ten charges alone", alone(), n)
    for name, run in rivals("memory://", items):
        yield Measured("in process", name, run, n)


def rivals(uri: str, items: Sequence[Work]) -> Iterator[tuple[str, Callable[[], None]]]:
    """`limits` with each of its strategies: ten hits for a decision."""
    from limits import RateLimitItemPerHour
    from limits.storage import storage_from_string
    from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter

    decide = settler()
    hits = [[(c.budget.name, c.key) for c in charges(decide, each)] for each in items]
    for strategy in (FixedWindowRateLimiter, SlidingWindowCounterRateLimiter, MovingWindowRateLimiter):
        limiter = strategy(storage_from_string(uri))
        # They keep different things under one name, so each gets names of its own.
        limit = RateLimitItemPerHour(10**8, namespace=strategy.__name__)

        def run(limiter: Any = limiter, limit: Any = limit) -> None:
            for each in hits:
                if not all(limiter.hit(limit, *keys) for keys in each):
                    raise RuntimeError("a limit without end refused")

        yield f"limits: {strategy.__name__.removesuffix('RateLimiter')}, ten hits", run


@contextmanager
def on_redis(url: str, n: int) -> Iterator[list[Measured]]:
    """A decision on copies in Redis, and `limits` on the same server."""
    parts = urlsplit(url)
    items, decide = work(n), settler()
    ready = [charges(decide, each) for each in items]
    with Relay(parts.hostname or "127.0.0.1", parts.port or 6379) as relay:
        through = f"redis://127.0.0.1:{relay.port}/{parts.path.strip('/') or 0}"
        with mock.patch.dict(os.environ, {KEY_ENV: "a key of the benchmark's, of no use"}):
            policy = RedisPolicy.model_validate({"url": through, "key": {"env": KEY_ENV}, "timeout": "1s"})
            shared = SharedLevels(policy, "bench")
        try:
            levels: dict[str, Level] = {}
            for each in ready:
                after = charge_levels(each, [budget_key(c.budget, c.key) for c in each], levels, START_US)
                levels.update({} if isinstance(after, Refusal) else after)
            known = list(levels.items())
            for start in range(0, len(known), 1_000):
                shared.note(dict(known[start : start + 1_000]))
                shared.flush(30)

            def run() -> None:
                for each in ready:
                    if shared.peek_now(each, START_US) is not None:
                        raise RuntimeError("a budget without end refused")

            found = [Measured("Redis", "feedback_guard: a decision on ten copies", run, n, relay)]
            found += [Measured("Redis", name, run, n, relay) for name, run in rivals(through, items)]
            yield found
        finally:
            shared.close()


@contextmanager
def on_postgresql(url: str, n: int) -> Iterator[list[Measured]]:
    """A decision in the transaction that would record its verdict. `limits` keeps nothing in PostgreSQL."""
    parts = urlsplit(url)
    items, decide = work(n), settler()
    deciding: list[int] = []
    with Relay(parts.hostname or "127.0.0.1", parts.port or 5432) as relay:
        through = parts._replace(netloc=f"{parts.username or 'postgres'}@127.0.0.1:{relay.port}").geturl()

        def attempt(each: Work, began: int) -> Callable[[Transaction], None]:
            def job(tx: Transaction) -> None:
                settled = decide.settle(each.submission, [each.assessment], tx.budgets, tx.now_us())
                deciding.append(relay.trips - began)
                if settled.decision is not Decision.ACCEPT:
                    raise RuntimeError(f"a budget without end refused: {settled}")

            return job

        with Store.open(StorePolicy(url=through), clock=SystemClock()) as store:

            def one_by_one() -> None:
                for each in items:
                    lookups = decide.bill(each.submission, [each.assessment], START_US).lookups
                    store.submit(attempt(each, relay.trips), lookups).result()

            def together() -> None:
                futures = []
                for each in items:
                    lookups = decide.bill(each.submission, [each.assessment], START_US).lookups
                    futures.append(store.submit(attempt(each, relay.trips), lookups))
                for future in futures:
                    future.result()

            def to_decide() -> float:
                found = statistics.median(deciding)
                deciding.clear()
                return found

            one_by_one()  # the connection, and what is compiled once
            deciding.clear()
            yield [
                Measured("PostgreSQL", "feedback_guard: one at a time", one_by_one, n, relay, to_decide),
                Measured("PostgreSQL", "feedback_guard: as many as wait share a transaction", together, n, relay),
            ]


def run(*, rounds: int = 5, n: int = 2_000, n_remote: int = 300) -> dict[str, Any]:
    """Measure, rounds interleaved; medians."""
    results = _rounds(list(in_process(n)), rounds)
    with _redis() as url:
        if url is not None:
            with on_redis(url, n_remote) as measured:
                results += _rounds(measured, rounds)
    with _postgresql() as url:
        if url is not None:
            with on_postgresql(url, n_remote) as measured:
                results += _rounds(measured, rounds)
    return {"budgets": results}


def _rounds(measured: list[Measured], rounds: int) -> list[dict[str, Any]]:
    for each in measured:
        each.run()  # counters exist from now on, for everybody
        if each.trips_to_decide is not None:
            each.trips_to_decide()
    found: list[list[dict[str, float]]] = [[] for _ in measured]
    for _ in range(rounds):
        for place, each in enumerate(measured):
            found[place].append(each.once())
    return [
        {"where": each.where, "what": each.what, **{name: statistics.median(r[name] for r in runs) for name in runs[0]}}
        for each, runs in zip(measured, found, strict=True)
    ]


@contextmanager
def _redis() -> Iterator[str | None]:
    if shutil.which("redis-server") is None:
        yield None
        return
    from tests.redis import running

    with running() as server:
        yield server.url


@contextmanager
def _postgresql() -> Iterator[str | None]:
    from tests.postgres import binaries, server

    if binaries() is None:
        yield None
        return
    running = server()
    running.execute("DROP DATABASE IF EXISTS fg_bench WITH (FORCE)")
    running.execute("CREATE DATABASE fg_bench TEMPLATE template0")
    yield running.url("fg_bench")


def show(results: dict[str, Any], console: Console) -> None:
    """Print what was measured."""
    table = Table("ten facets", "", "CPU µs", "on the clock µs", "round trips", "until it is decided", box=None)
    for each in results["budgets"]:
        trips = f"{each['trips']:.2f}" if "trips" in each else ""
        deciding = f"{each['trips_to_decide']:.0f}" if "trips_to_decide" in each else ""
        table.add_row(each["where"], each["what"], f"{each['cpu_us']:.0f}", f"{each['wall_us']:.0f}", trips, deciding)
    console.print(table)
    missing = {"Redis", "PostgreSQL"} - {each["where"] for each in results["budgets"]}
    for name in sorted(missing):
        console.print(f"{name} was not measured: its server is not installed")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved repetitions; medians are shown")
    parser.add_argument("--decisions", type=int, default=2_000, help="for each figure, in process")
    parser.add_argument("--remote", type=int, default=300, help="the same, on servers")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    results = run(rounds=args.rounds, n=args.decisions, n_remote=args.remote)
    if args.json:
        print(json.dumps(results, indent=1))
    else:
        show(results, Console())


if __name__ == "__main__":
    main()
