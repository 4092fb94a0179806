"""What `doctor` says of Redis: whether it answers in time, takes what is written, and forgets it again."""

from __future__ import annotations

import secrets
import statistics
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from feedback_guard.clock import MICROSECONDS
from feedback_guard.diagnosis import Diagnosis, Health
from feedback_guard.errors import GuardError
from feedback_guard.limits.copies import Copies
from feedback_guard.limits.gcra import Level
from feedback_guard.limits.redis_client import connect, secret_of
from feedback_guard.limits.redis_thread import NOTE
from feedback_guard.policy.schema import Policy

_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_TRIALS = 9


def diagnose_redis(policy: Policy) -> Iterator[Diagnosis]:
    """Connect, write a copy that ends in a second, read it back; nothing for a policy without `redis`."""
    if policy.redis is None:
        return
    try:
        copies, client = Copies(secret_of(policy.redis), "doctor"), connect(policy.redis)
    except GuardError as error:
        yield Diagnosis("redis", Health.FAILURE, str(error))
        return
    from redis.exceptions import RedisError

    name = copies.name(secrets.token_hex(8))
    copy = copies.write(name, Level(1, 0, 0, 0))
    took: list[float] = []
    try:
        with client:
            client.ping()
            client.eval(NOTE, 1, name, "1000", copy)
            for _ in range(_TRIALS):
                began = time.monotonic()
                found = client.mget([name])
                took.append(time.monotonic() - began)
    except (RedisError, OSError) as error:
        said = " ".join(str(error).split())[:200]
        message = f"it does not work ({type(error).__name__}: {said}); budgets are decided by the store alone"
        yield Diagnosis("redis", Health.FAILURE, message)
        return
    if copies.read(name, found[0]) is None:
        yield Diagnosis(
            "redis", Health.FAILURE, "what was written is not read back: does it evict, or is it a replica?"
        )
        return
    median_us = statistics.median(took) * MICROSECONDS
    yield Diagnosis("redis", Health.OK, f"works; a lookup takes {median_us:.0f} us of at most {policy.redis.timeout}")
    if median_us > policy.redis.timeout / 4:
        yield Diagnosis("redis", Health.WARNING, "redis.timeout is less than four times that; it will be skipped often")
    parts = urlsplit(policy.redis.url)
    if parts.scheme == "redis" and parts.hostname not in _LOCAL:
        yield Diagnosis("redis", Health.WARNING, "redis.url is neither rediss:// nor of this host: it has no TLS")
