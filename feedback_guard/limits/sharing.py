"""Between the store and Redis: who is told of what was committed."""

from __future__ import annotations

from feedback_guard.limits.redis import SharedLevels, place_of
from feedback_guard.metrics import Metrics
from feedback_guard.policy.schema import Policy
from feedback_guard.store.database import Store


def share_levels(policy: Policy, store: Store, metrics: Metrics) -> SharedLevels | None:
    """Begin to share what the store commits; None if the policy has no `redis`.

    Raises
    ------
    GuardError
        If a secret or redis-py is missing. Redis itself need not be there.
    """
    if policy.redis is None:
        return None
    metrics.redis_skipped(False)
    shared = SharedLevels(
        policy.redis, place_of(policy.store.url), on_outcome=metrics.redis_lookup, on_skipped=metrics.redis_skipped
    )
    store.tell_levels(shared.note)
    return shared
