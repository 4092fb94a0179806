"""Work in a thread, which nobody can call back, and errors that nobody waits for any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


async def to_its_end(work: Callable[[], T]) -> T:
    """Work in a thread. Who is cancelled meanwhile is so only when it has ended, and can take down what it made.

    A thread cannot be stopped: a model that it loads would come to be when nobody is there any more to end it.

    Examples
    --------
    >>> asyncio.run(to_its_end(lambda: 6 * 7))
    42
    """
    # A future and no task, so that a loop that ends, and cancels all its tasks, waits for it as well.
    done = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        await asyncio.wait([done])
        heard(done)
        raise


def heard(done: asyncio.Future[Any]) -> None:
    """Have nobody told of an error that nobody waited for; for `Future.add_done_callback`, too."""
    if not done.cancelled():
        done.exception()
