"""What a request that carries no contribution leaves behind: nothing that only a garbage collection could free.

A collection walks through all that a guard has in memory, a baseline and an index among it, so garbage that needs one
costs every request more than reading it does.
"""

from __future__ import annotations

import asyncio
import gc

import pytest

from benchmarks.passing import CASES, ROUTES, Case, cost_us
from feedback_guard import FeedbackGuardMiddleware, Guard
from feedback_guard.policy.schema import Policy

REQUESTS = 50


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_request_that_passes_leaves_no_garbage(case: Case) -> None:
    from benchmarks.fronts import application

    policy = Policy.model_validate({"routes": ROUTES, "baseline": {"path": "none"}})
    app = FeedbackGuardMiddleware(application, guard=Guard.from_policy(policy))

    async def garbage() -> int:
        await cost_us(app, case, REQUESTS)
        gc.collect()
        gc.disable()
        try:
            await cost_us(app, case, REQUESTS)
            return gc.collect()
        finally:
            gc.enable()

    assert asyncio.run(garbage()) < REQUESTS, "not one piece for each request"
