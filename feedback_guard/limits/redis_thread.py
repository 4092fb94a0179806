"""The thread that owns the connection to Redis.

It takes all that waits at once, so that many requests share one round trip. After some failures in a row Redis is
skipped; the thread tries it again by itself.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final

from feedback_guard.errors import GuardError
from feedback_guard.limits.breaker import Breaker
from feedback_guard.limits.copies import SORTED_CHARS, Copies
from feedback_guard.limits.gcra import Level
from feedback_guard.limits.redis_client import errors

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

Lookup = tuple[list[str], Future[list[object]]]
"""Names of copies, and what will be their content."""
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


class RedisThread:
    """Reads and writes copies. Any thread may use it; no method raises, whatever Redis does.

    Parameters
    ----------
    client
        The connection; nothing else may use it.
    copies
        Names and writes copies.
    breaker
        Says when Redis is skipped.
    timeout_seconds
        How long an answer may take.
    remember_ms
        How long Redis keeps a copy.
    on_skipped
        Told True when Redis begins to be skipped, False when it works again.
    """

    def __init__(
        self,
        client: Redis,
        copies: Copies,
        breaker: Breaker,
        *,
        timeout_seconds: float,
        remember_ms: int,
        on_skipped: Callable[[bool], None],
    ) -> None:
        self._client = client
        self._copies = copies
        self._breaker = breaker
        self._timeout = timeout_seconds
        self._remember_ms = remember_ms
        self._on_skipped = on_skipped
        self._errors = errors()
        self._changed = threading.Condition()
        self._lookups: OrderedDict[int, Lookup] = OrderedDict()
        self._notes: OrderedDict[str, Level] = OrderedDict()
        self._asked = 0
        self._writing = False
        self._closing = False
        self._owner = os.getpid()
        self._thread = threading.Thread(target=self._run, name="feedback_guard.redis", daemon=True)
        self._thread.start()

    @property
    def usable(self) -> bool:
        """False while Redis is skipped, and in a process that was forked from the one with the thread."""
        return not self._breaker.open and os.getpid() == self._owner

    def ask(self, names: list[str]) -> Future[list[object]] | None:
        """Have copies read; None if too many lookups wait, or it is closed."""
        future: Future[list[object]] = Future()
        with self._changed:
            if self._closing or len(self._lookups) >= MAX_WAITING:
                return None
            self._asked += 1
            self._lookups[self._asked] = names, future
            self._changed.notify_all()
        return future

    def note(self, levels: Mapping[str, Level]) -> None:
        """Have copies written of levels that were committed; returns at once."""
        if not levels or not self.usable:
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

    def failed(self, why: str) -> None:
        """Count a failure; after some in a row Redis is skipped."""
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
                self.failed(type(error).__name__)
                for _, future in lookups:
                    future.set_exception(GuardError("Redis did not answer"))
            except BaseException:
                log.exception("the thread that talks to Redis failed")
                self.failed("an error of ours")
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

    def _next(self) -> tuple[list[Lookup], dict[str, Level]] | None:
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
            taken: list[Lookup] = []
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

    def _exchange(self, lookups: list[Lookup], notes: Mapping[str, Level]) -> None:
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
