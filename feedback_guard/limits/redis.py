"""Redis in front of the store's budgets: what one process learns of a full budget, all of them know.

Redis keeps copies of levels that the store committed, and nothing else. Whoever asks gets the copies and does the same
arithmetic with them as always; so Redis refuses what the store would refuse, and whatever it does not know, or forgot,
the store decides in the transaction that records the verdict. It computes nothing and asks no clock of its own: a copy
carries the store's time. Only how long a copy is remembered goes by the clock of Redis.

One thread owns the connection (`redis_thread`). Nobody waits for it longer than `timeout`, whatever the network does.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from feedback_guard.clock import MICROSECONDS
from feedback_guard.errors import GuardError
from feedback_guard.limits.breaker import Breaker
from feedback_guard.limits.charging import charge_levels, counters_of
from feedback_guard.limits.copies import Copies
from feedback_guard.limits.gcra import Level
from feedback_guard.limits.interface import Charge, Refusal
from feedback_guard.limits.redis_client import connect, secret_of
from feedback_guard.limits.redis_thread import RedisThread
from feedback_guard.policy.redis import RedisPolicy

Outcome = Literal["refused", "room", "unknown", "failed", "skipped"]
"""How a lookup ended: with a refusal, with copies that leave room, without copies, without an answer, or not asked."""


class SharedLevels:
    """Copies of levels in Redis. Any thread may use it; no method raises, whatever Redis does.

    Parameters
    ----------
    policy
        Where Redis is, and its bounds.
    place
        Names the store: its copies are never taken for another one's.
    on_outcome
        Told how each lookup ended.
    on_skipped
        Told True when Redis begins to be skipped, False when it works again.

    Raises
    ------
    UsageError
        If redis-py is not installed.
    CredentialError
        If a secret is not there or too short.
    """

    def __init__(
        self,
        policy: RedisPolicy,
        place: str,
        *,
        on_outcome: Callable[[Outcome], None] = lambda _: None,
        on_skipped: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._timeout = policy.timeout / MICROSECONDS
        self._on_outcome = on_outcome
        self._breaker = Breaker(
            failures=policy.failures, pause_seconds=policy.pause / MICROSECONDS, monotonic=time.monotonic
        )
        client = connect(policy)
        self._copies = Copies(secret_of(policy), place)
        self._thread = RedisThread(
            client,
            self._copies,
            self._breaker,
            timeout_seconds=self._timeout,
            remember_ms=max(1, policy.remember // 1_000),
            on_skipped=on_skipped,
        )

    @property
    def skipped(self) -> bool:
        """Whether Redis is left alone at present."""
        return self._breaker.open

    async def peek(self, charges: Sequence[Charge], now_us: int) -> Refusal | None:
        """A refusal that the store would give too; None says only that none is known. Takes `timeout` at most."""
        if (asked := self._ask(charges)) is None:
            return None
        counters, names, future = asked
        try:
            async with asyncio.timeout(self._timeout):
                found = await asyncio.wrap_future(future)
        except TimeoutError:
            self._late()
            return None
        except GuardError:
            self._on_outcome("failed")
            return None
        return self._decide(charges, counters, names, found, now_us)

    def peek_now(self, charges: Sequence[Charge], now_us: int) -> Refusal | None:
        """`peek` for threads."""
        if (asked := self._ask(charges)) is None:
            return None
        counters, names, future = asked
        try:
            found = future.result(self._timeout)
        except FutureTimeoutError:
            self._late()
            return None
        except GuardError:
            self._on_outcome("failed")
            return None
        return self._decide(charges, counters, names, found, now_us)

    def note(self, levels: Mapping[str, Level]) -> None:
        """Have copies written of levels that were committed; returns at once."""
        self._thread.note(levels)

    def flush(self, seconds: float = 5.0) -> bool:
        """Wait until everything noted is written or given up; False if that takes too long."""
        return self._thread.flush(seconds)

    def close(self) -> None:
        """End the thread and the connection. It may be called twice."""
        self._thread.close()

    def _ask(self, charges: Sequence[Charge]) -> tuple[list[str], list[str], Future[list[object]]] | None:
        if not charges:
            return None
        if self._thread.usable:
            counters = counters_of(charges)
            names = [self._copies.name(counter) for counter in dict.fromkeys(counters)]
            if (future := self._thread.ask(names)) is not None:
                return counters, names, future
        self._on_outcome("skipped")
        return None

    def _decide(
        self, charges: Sequence[Charge], counters: list[str], names: list[str], found: list[object], now_us: int
    ) -> Refusal | None:
        levels: dict[str, Level] = {}
        for counter, name, data in zip(dict.fromkeys(counters), names, found, strict=True):
            if (level := self._copies.read(name, data)) is not None:
                levels[counter] = level
        if not levels:
            self._on_outcome("unknown")
            return None
        outcome = charge_levels(charges, counters, levels, now_us)
        refusal = outcome if isinstance(outcome, Refusal) else None
        self._on_outcome("room" if refusal is None else "refused")
        return refusal

    def _late(self) -> None:
        self._on_outcome("failed")
        self._thread.failed("no answer within the timeout")


def place_of(store_url: str) -> str:
    """What tells a store from others: two deployments that share a Redis must not read each other's budgets.

    Examples
    --------
    >>> place_of("postgresql://guard:secret@db.example/feedback")
    'postgresql://db.example/feedback'
    """
    if store_url.startswith("sqlite:///"):
        return f"sqlite://{socket.gethostname()}{Path(store_url.removeprefix('sqlite:///')).absolute()}"
    parts = urlsplit(store_url)
    return f"{parts.scheme}://{(parts.netloc or '').rpartition('@')[2]}{parts.path}"
