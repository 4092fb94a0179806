"""Coroutines that can go on together write together, and are told together.

A batch of vectors wakes many coroutines at once. If each handed its job to the writer by itself, the first would get a
transaction of its own and the others would wait for it; so the jobs of one turn of an event loop are handed over at its
end. Likewise a commit wakes the loop once, not once for every job.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from feedback_guard.errors import StoreError
from feedback_guard.limits.interface import Spot
from feedback_guard.store.writer import Ask

T = TypeVar("T")


class Gathering:
    """The jobs of one event loop.

    Parameters
    ----------
    loop
        Where `run` is awaited.
    submit
        Hands jobs over, as `Writer.submit_all` does.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, submit: Callable[[Sequence[Ask]], Sequence[Future[Any] | StoreError]]
    ) -> None:
        # Whoever remembers loops may forget one that nobody uses any more; this is no reason to keep it.
        self._loop = weakref.ref(loop)
        self._submit = submit
        self._jobs: list[tuple[Ask, asyncio.Future[Any]]] = []
        self._done: deque[tuple[Future[Any], asyncio.Future[Any]]] = deque()
        self._telling = False
        self._lock = threading.Lock()

    async def run(
        self,
        job: Callable[[Any], T],
        lookups: Sequence[str] = (),
        spots: Sequence[Spot] = (),
        *,
        outcome_of: str = "",
    ) -> T:
        """Have a job done; what it is likely to need is told as to `Store.submit`.

        A caller that is cancelled leaves; the job is done all the same.
        """
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[T] = loop.create_future()
        self._jobs.append((Ask(job, lookups, spots, outcome_of), waiter))
        if len(self._jobs) == 1:
            loop.call_soon(self._send)  # behind everything that can go on already
        return await waiter

    def _send(self) -> None:
        jobs, self._jobs = self._jobs, []
        try:
            futures = self._submit([ask for ask, _ in jobs])
        except Exception as error:  # noqa: BLE001 - it is for whoever waits
            for _, waiter in jobs:
                if not waiter.done():
                    waiter.set_exception(error)
            return
        for future, (_, waiter) in zip(futures, jobs, strict=True):
            if not isinstance(future, StoreError):
                future.add_done_callback(lambda done, waiter=waiter: self._note(done, waiter))  # type: ignore[misc]
            elif not waiter.done():
                waiter.set_exception(future)

    def _note(self, done: Future[Any], waiter: asyncio.Future[Any]) -> None:
        with self._lock:
            self._done.append((done, waiter))
            if self._telling:
                return
            self._telling = True
        loop = self._loop()
        try:
            if loop is not None:
                loop.call_soon_threadsafe(self._tell)
        except RuntimeError:
            return  # the loop was closed: nobody waits any more

    def _tell(self) -> None:
        with self._lock:
            done, self._done = self._done, deque()
            self._telling = False
        for future, waiter in done:
            if waiter.done():
                continue
            error = future.exception()
            if error is not None:
                waiter.set_exception(error)
            else:
                waiter.set_result(future.result())
