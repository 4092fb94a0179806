"""Redis in front of the store's budgets: what one process learns of a full budget, all of them know.

Redis keeps copies of levels that the store committed, and nothing else. Whoever asks gets the copies and does the same
arithmetic with them as always; so Redis refuses what the store would refuse, and whatever it does not know, or forgot,
the store decides in the transaction that records the verdict. It computes nothing and asks no clock of its own: a copy
carries the store's time. Only how long a copy is remembered goes by the clock of Redis.

One thread owns the connection. It takes all that waits at once, so that many requests share one round trip, and nobody
waits for it longer than `timeout`, whatever the network does. After some failures in a row Redis is skipped; the thread
tries it again by itself.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from feedback_guard.clock import MICROSECONDS
from feedback_guard.errors import CredentialError, GuardError, UsageError
from feedback_guard.limits.breaker import Breaker
from feedback_guard.limits.charging import budget_key, charge_levels
from feedback_guard.limits.copies import SORTED_CHARS, Copies
from feedback_guard.limits.gcra import Level
from feedback_guard.limits.interface import Charge, Refusal
from feedback_guard.policy.redis import RedisPolicy
from feedback_guard.secrets_read import read_secret

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

Outcome = Literal["refused", "room", "unknown", "failed", "skipped"]
"""How a lookup ended: with a refusal, with copies that leave room, without copies, without an answer, or not asked."""
MIN_KEY_CHARS: Final = 16
"""Shortest key, in characters."""
MAX_WAITING: Final = 1_024
"""Most lookups that wait; further ones go without."""
MAX_NOTES: Final = 10_000
"""Most copies that wait to be written; the oldest are dropped."""
_LOOKUPS_AT_ONCE: Final = 128
_NOTES_AT_ONCE: Final = 512

NOTE: Final = f"""
for i, name in ipairs(KEYS) do
  local old, new = redis.call('GET', name), ARGV[i + 1]
  if not old or #old ~= #new or string.sub(old, 1, {SORTED_CHARS}) < string.sub(new, 1, {SORTED_CHARS}) then
    redis.call('SET', name, new, 'PX', ARGV[1])
  elseif old == new then
    redis.call('PEXPIRE', name, ARGV[1])
  end
end
"""
"""Writes copies, unless a later one is there: processes commit in one order and write here in another."""


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
        self._policy = policy
        self._timeout = policy.timeout / MICROSECONDS
        self._remember_ms = max(1, policy.remember // 1_000)
        self._client = connect(policy)
        self._copies = Copies(secret_of(policy), place)
        self._on_outcome = on_outcome
        self._on_skipped = on_skipped
        self._breaker = Breaker(
            failures=policy.failures, pause_seconds=policy.pause / MICROSECONDS, monotonic=time.monotonic
        )
        self._errors = _redis_errors()
        self._changed = threading.Condition()
        self._lookups: OrderedDict[int, tuple[list[str], Future[list[object]]]] = OrderedDict()
        self._notes: OrderedDict[str, Level] = OrderedDict()
        self._asked = 0
        self._writing = False
        self._closing = False
        self._owner = os.getpid()
        self._thread = threading.Thread(target=self._run, name="feedback_guard.redis", daemon=True)
        self._thread.start()

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
        if not levels or self._breaker.open or os.getpid() != self._owner:
            return
        with self._changed:
            for counter, level in levels.items():
                self._notes[counter] = level
                self._notes.move_to_end(counter)
            while len(self._notes) > MAX_NOTES:
                self._notes.popitem(last=False)
            self._changed.notify_all()

    def flush(self, seconds: float = 5.0) -> bool:
        """Wait until everything noted is written or given up; False if that takes too long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._notes and not self._writing, seconds)

    def close(self) -> None:
        """End the thread and the connection. It may be called twice."""
        if os.getpid() != self._owner:
            return
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        # A name server that does not answer may keep the thread; it ends with the process.
        self._thread.join(1.0 + 2 * self._timeout)

    def _ask(self, charges: Sequence[Charge]) -> tuple[list[str], list[str], Future[list[object]]] | None:
        if not charges:
            return None
        if self._breaker.open or os.getpid() != self._owner:
            self._on_outcome("skipped")
            return None
        counters = [budget_key(charge.budget, charge.key) for charge in charges]
        names = [self._copies.name(counter) for counter in dict.fromkeys(counters)]
        future: Future[list[object]] = Future()
        with self._changed:
            if self._closing or len(self._lookups) >= MAX_WAITING:
                self._on_outcome("skipped")
                return None
            self._asked += 1
            self._lookups[self._asked] = names, future
            self._changed.notify_all()
        return counters, names, future

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
        self._failed("no answer within the timeout")

    def _failed(self, why: str) -> None:
        if self._breaker.failed():
            log.warning("Redis is skipped, and budgets are decided by the store alone: %s", why)
            self._on_skipped(True)

    def _run(self) -> None:
        while (work := self._next()) is not None:
            lookups, notes = work
            try:
                if self._breaker.open:
                    self._client.ping()
                else:
                    self._exchange(lookups, notes)
            except self._errors as error:
                self._client.connection_pool.disconnect()
                self._failed(type(error).__name__)
                for _, future in lookups:
                    future.set_exception(GuardError("Redis did not answer"))
            except BaseException:
                log.exception("the thread that talks to Redis failed")
                self._failed("an error of ours")
                for _, future in lookups:
                    if not future.done():
                        future.set_exception(GuardError("Redis was not asked"))
            else:
                if self._breaker.worked():
                    log.warning("Redis answers again")
                    self._on_skipped(False)
            with self._changed:
                self._writing = False
                self._changed.notify_all()
        self._client.close()

    def _next(self) -> tuple[list[tuple[list[str], Future[list[object]]]], dict[str, Level]] | None:
        """Wait for work, or while Redis is skipped for the time to try it; None at the end."""
        with self._changed:
            while True:
                if self._closing:
                    self._drop("it is closed")
                    return None
                if self._breaker.open:
                    self._drop("it is skipped")
                    wait = self._breaker.wait
                    if wait == 0.0:
                        return [], {}
                    self._changed.wait(wait)
                    continue
                if self._lookups or self._notes:
                    break
                self._changed.wait()
            taken: list[tuple[list[str], Future[list[object]]]] = []
            while self._lookups and len(taken) < _LOOKUPS_AT_ONCE:
                _, (names, future) = self._lookups.popitem(last=False)
                if future.set_running_or_notify_cancel():
                    taken.append((names, future))
            notes = dict(self._notes.popitem(last=False) for _ in range(min(len(self._notes), _NOTES_AT_ONCE)))
            self._writing = True
            return taken, notes

    def _drop(self, why: str) -> None:
        while self._lookups:
            _, (_, future) = self._lookups.popitem()
            if future.set_running_or_notify_cancel():
                future.set_exception(GuardError(f"Redis was not asked: {why}"))
        self._notes.clear()
        self._changed.notify_all()

    def _exchange(self, lookups: list[tuple[list[str], Future[list[object]]]], notes: Mapping[str, Level]) -> None:
        """One round trip: all that is asked, and all that is to be written."""
        pipeline = self._client.pipeline(transaction=False)
        for names, _ in lookups:
            pipeline.mget(names)
        if notes:
            named = {self._copies.name(counter): level for counter, level in notes.items()}
            copies = [self._copies.write(name, level) for name, level in named.items()]
            pipeline.eval(NOTE, len(named), *named, self._remember_ms, *copies)
        if not lookups and not notes:
            return
        answers = pipeline.execute()
        for (_, future), answer in zip(lookups, answers, strict=False):
            future.set_result(answer)


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


def connect(policy: RedisPolicy) -> Redis:
    """A client for one connection, with bounded waits and no retries. Nothing is connected yet.

    Raises
    ------
    UsageError
        If redis-py is not installed.
    CredentialError
        If the password is not there.
    """
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError:
        raise UsageError("the policy has a section redis: pip install 'feedback-guard[redis]'") from None
    seconds = policy.timeout / MICROSECONDS
    options: dict[str, Any] = {
        "username": policy.username,
        "password": None if policy.password is None else read_secret(policy.password, "redis.password"),
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }
    parts = urlsplit(policy.url)
    if parts.scheme == "unix":
        return redis.Redis(unix_socket_path=parts.path, **options)
    if parts.scheme == "rediss":
        options |= {"ssl": True, "ssl_ca_certs": policy.ca_file}
    number = parts.path.strip("/")
    return redis.Redis(host=parts.hostname or "", port=parts.port or 6379, db=int(number or 0), **options)


def secret_of(policy: RedisPolicy) -> bytes:
    """The key that names and copies are made with.

    Raises
    ------
    CredentialError
        If it is not there, or too short.
    """
    secret = read_secret(policy.key, "redis.key")
    if len(secret) < MIN_KEY_CHARS:
        raise CredentialError(f"redis.key has fewer than {MIN_KEY_CHARS} characters; `openssl rand -hex 32` makes one")
    return secret.encode()


def _redis_errors() -> tuple[type[Exception], ...]:
    from redis.exceptions import RedisError

    return RedisError, OSError, ValueError
