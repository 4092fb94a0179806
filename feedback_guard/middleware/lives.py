"""One guard serves one application: what was held for it goes to the application that its policy names, whoever asks.

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
        If the guard lives with another application already, or one that would be given the same requests does.
    """
    if id(guard) in _around.get():
        yield
        return
    around = set(_around.get())
    for other, loop in list(_living.items()):
        if id(other) not in around and not loop.is_closed() and (other is guard or _claim_alike(guard, other)):
            raise UsageError(
                f"{'this guard' if other is guard else 'a guard with this store and application'} serves another "
                "application in this process already; each would be given what was held for the other. Make a guard "
                "for each application, with an `application` of its own in the policy (they may share a store), or put "
                "one guard around both"
            )
    _living[guard] = asyncio.get_running_loop()
    token = _around.set((*_around.get(), id(guard)))
    try:
        yield
    finally:
        _living.pop(guard, None)
        with contextlib.suppress(ValueError):
            _around.reset(token)  # a server may end a lifespan in another context than it began in


def _claim_alike(one: JudgingGuard, other: JudgingGuard) -> bool:
    """Whether both would claim the same held requests."""
    return (one.policy.store.url, one.policy.application_name) == (
        other.policy.store.url,
        other.policy.application_name,
    ) and not {route.name for route in one.policy.routes}.isdisjoint(route.name for route in other.policy.routes)
