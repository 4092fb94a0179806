"""How often a decision over ten budgets waits for a server: once."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from benchmarks.budgets import LIMITS, charges, settler, work
from benchmarks.relay import Relay
from feedback_guard.clock import SystemClock
from feedback_guard.limits.redis import SharedLevels
from feedback_guard.policy.redis import RedisPolicy
from feedback_guard.policy.store import StorePolicy
from feedback_guard.store.database import Store, Transaction
from feedback_guard.verdict import Decision
from tests import redis as servers
from tests.patience import PATIENCE_SECONDS


def test_the_work_is_ten_counters() -> None:
    decide = settler()
    assert all(len({(c.budget.name, c.key) for c in charges(decide, each)}) == len(LIMITS) + 1 for each in work(50))


@pytest.mark.redis
def test_one_round_trip_on_redis(redis_server: servers.Server, redis_key: None) -> None:
    decide, (each, other) = settler(), work(2)
    with Relay("127.0.0.1", redis_server.port) as relay:
        section = servers.section(redis_server) | {"url": f"redis://127.0.0.1:{relay.port}/0"}
        shared = SharedLevels(RedisPolicy.model_validate(section), "here")
        try:
            shared.peek_now(charges(decide, other), 0)  # connects, and says hello
            before = relay.trips
            assert shared.peek_now(charges(decide, each), 0) is None
            assert relay.trips == before + 1
        finally:
            shared.close()


@pytest.mark.postgres
def test_one_round_trip_until_it_is_decided_on_postgresql(postgres_store_url: str) -> None:
    decide, each = settler(), work(1)[0]
    parts = urlsplit(postgres_store_url)
    with Relay("127.0.0.1", parts.port or 0) as relay:
        url = parts._replace(netloc=f"{parts.username}@127.0.0.1:{relay.port}").geturl()

        def job(tx: Transaction) -> tuple[Decision, int]:
            settled = decide.settle(each.submission, [each.assessment], tx.budgets, tx.now_us())
            tx.append("noted", "test", {}, tx.now_us())
            return settled.decision, relay.trips

        with Store.open(StorePolicy(url=url), clock=SystemClock()) as store:
            lookups = decide.bill(each.submission, [each.assessment], 0).lookups
            store.submit(job, lookups).result(PATIENCE_SECONDS)  # connects
            decided, all_told = list[int](), list[int]()
            for _ in range(5):
                before = relay.trips
                decision, after = store.submit(job, lookups).result(PATIENCE_SECONDS)
                assert decision is Decision.ACCEPT
                decided.append(after - before)
                all_told.append(relay.trips - before)
            # On a busy machine what is sent at once may come through in two pieces; so none needs more than the least.
            assert min(decided) == 1
            # ... and the budgets, the ledger and the commit.
            assert min(all_told) == 4
            assert store.balance(charges(decide, each)[0].budget, charges(decide, each)[0].key, 0).remaining_micro
