"""Steps that outlive the request that began them.

A client that leaves, and a request that is cancelled, leave none of them half done.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

_GRACE_SECONDS: Final = 1.0
"""How long a cancelled step, and what it begins, such as the record of an outcome, is waited for."""

Wait = Callable[[asyncio.Event, float], Awaitable[None]]
"""Waits until the event is set, but so many seconds at most."""


async def wait_for_event(event: asyncio.Event, seconds: float) -> None:
    """Wait until the event is set, or until the time is over.

    Parameters
    ----------
    event
        What to wait for.
    seconds
        At most so long.
    """
    # Not `asyncio.wait_for`: before Python 3.12 it drops the cancellation of a task whose event is set at that moment,
    # and then a loop around this, and the program that ends it, would go on for ever.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            try:
                await event.wait()
            except RuntimeError:
                # An event belongs to the loop that first waited for it, and tests run one guard in several loops.
                await asyncio.Event().wait()


class OwnedTasks:
    """Tasks with a strong reference: the event loop alone keeps only a weak one."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def own(
        self, work: Coroutine[Any, Any, T], *, name: str, context: contextvars.Context | None = None
    ) -> asyncio.Task[T]:
        """Start a step and keep it until it ends.

        Parameters
        ----------
        work
            The step.
        name
            Of the task, for debuggers.
        context
            Context variables; by default a copy of the caller's. A task that serves no single request needs an empty
            one, or it would speak in the name of whoever happened to start it.
        """
        task = asyncio.get_running_loop().create_task(work, name=f"feedback_guard.{name}", context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def drain(self, seconds: float) -> None:
        """Wait for the steps that run now; cancel what is left after so many seconds, and wait for what that begins."""
        tasks = self._others()
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=seconds)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=_GRACE_SECONDS)
        begun = self._others() - late
        if begun:
            await asyncio.wait(begun, timeout=_GRACE_SECONDS)

    def _others(self) -> set[asyncio.Task[Any]]:
        return self._tasks - {asyncio.current_task()}
