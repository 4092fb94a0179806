"""One guard serves one application: what a moderator approves goes to an application by the name of its route alone.

Two applications behind one guard would be given each other's requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import weakref
from collections.abc import Iterator
from typing import Final

from feedback_guard.errors import UsageError
from feedback_guard.middleware.interface import JudgingGuard

_living: Final[weakref.WeakKeyDictionary[JudgingGuard, asyncio.AbstractEventLoop]] = weakref.WeakKeyDictionary()
_around: Final[contextvars.ContextVar[tuple[int, ...]]] = contextvars.ContextVar("feedback_guard_lives", default=())


@contextlib.contextmanager
def one_life(guard: JudgingGuard) -> Iterator[None]:
    """Mark that a guard lives with an application, from the beginning of its lifespan to the end.

    A further middleware of the same guard within that application lives with it.

    Raises
    ------
    UsageError
        If the guard lives with another application already.
    """
    if id(guard) in _around.get():
        yield
        return
    there = _living.get(guard)
    if there is not None and not there.is_closed():
        raise UsageError(
            "this guard serves another application in this process already; each would be given what was held for the "
            "other. Make a guard for each application, with a store of its own or other names of routes, or put one "
            "guard around both"
        )
    _living[guard] = asyncio.get_running_loop()
    token = _around.set((*_around.get(), id(guard)))
    try:
        yield
    finally:
        _living.pop(guard, None)
        with contextlib.suppress(ValueError):
            _around.reset(token)  # a server may end a lifespan in another context than it began in
