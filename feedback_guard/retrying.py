"""What a policy says about trying again."""

from __future__ import annotations

from collections.abc import Callable

from feedback_guard.policy.schema import Policy
from feedback_guard.store.retries import Retries


def retries_of(policy: Policy, randomness: Callable[[], float]) -> Retries | None:
    """When requests to the policy's idempotent routes are retried; None if it has none."""
    routes = frozenset(route.name for route in policy.routes if route.idempotent)
    if not routes:
        return None
    bounds = policy.replay
    return Retries(
        routes=routes,
        attempts=bounds.attempts,
        first_us=bounds.first_wait,
        longest_us=bounds.longest_wait,
        within_us=bounds.within,
        random=randomness,
    )
