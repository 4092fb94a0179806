"""Two guards on one store with Redis in front: what one finds full, the other refuses before it costs anything."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from feedback_guard.clock import ManualClock
from feedback_guard.embedding.hashing import UnsafeHashingEmbedder
from feedback_guard.embedding.interface import Vectors
from feedback_guard.guard import Guard
from feedback_guard.verdict import Decision
from tests.guards import START_US, labelled, make_policy, submit
from tests.redis import Server, section
from tests.redis import redis_key as redis_key
from tests.redis import redis_of_module as redis_of_module
from tests.redis import redis_server as redis_server

LIMIT = {"name": "ever", "facet": "contributor", "measure": "count", "amount": 3}

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("redis_key")]


class Counting(UnsafeHashingEmbedder):
    """Says how many texts it was given."""

    texts = 0

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.texts += len(texts)
        return super().encode(texts)


@pytest.mark.parametrize("working", [True, False])
def test_what_one_worker_finds_full_another_refuses_early(redis_server: Server, tmp_path: Path, working: bool) -> None:
    where = section(redis_server) if working else section(redis_server, url="redis://127.0.0.1:1")
    policy = make_policy(tmp_path, limits=[LIMIT], redis=where, signals={"false_hold_rate": 0.001})
    models = Counting(), Counting()

    async def main() -> None:
        first, second = (Guard.from_policy(policy, clock=ManualClock(START_US), embedder=model) for model in models)
        try:
            await first.start()
            await second.start()
            items = list(labelled(6, seed=3, who="mallory"))
            for item in items[:3]:
                assert (await first.judge(submit(item))).decision is not Decision.LIMIT
            assert first._shared is not None
            assert first._shared.flush()
            before = models[1].texts
            for item in items[3:5]:
                assert (await second.judge(submit(item))).decision is Decision.LIMIT
            # With Redis not even the first is embedded; without it the store finds out, and this worker remembers.
            assert (models[1].texts == before) is working
            page = second.metrics.render()[0].decode()
            assert ('feedback_guard_redis_lookups_total{outcome="refused"}' in page) is working
        finally:
            await first.stop()
            await second.stop()

    asyncio.run(main())
