"""Contributors named by a Python function of the application's."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from feedback_guard.clock import MICROSECONDS
from feedback_guard.errors import IdentityError
from feedback_guard.middleware.interface import Scope
from feedback_guard.middleware.principal import Principal, as_name
from feedback_guard.middleware.tasks import OwnedTasks
from feedback_guard.middleware.traces import place_of
from feedback_guard.policy.identity import CallablePolicy

log = logging.getLogger(__name__)

Named = str | int | Mapping[str, Any] | None
IdentifyCallable = Callable[[dict[str, Any]], Named | Awaitable[Named]]
"""From the scope to a name, or a dictionary of `contributor` and `groups`, or None for the next source."""

THREADS: Final = 8
"""Most calls of a function that is not asynchronous at a time; the threads are its own, so that a function that hangs
takes none from anybody else."""


class Called:
    """Names contributors by a function, bounded in time.

    Parameters
    ----------
    policy
        How long it may take, and which groups it may return.
    function
        The function. One that is not asynchronous is called in a thread, since it may wait for a database.
    """

    def __init__(self, policy: CallablePolicy, function: IdentifyCallable) -> None:
        self._seconds = policy.deadline / MICROSECONDS
        self._groups = frozenset(policy.groups)
        self._function = function
        call = getattr(function, "__call__", function)  # noqa: B004 - an object may have an asynchronous __call__
        self._asynchronous = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
        self._threads: ThreadPoolExecutor | None = None
        self._calls = OwnedTasks()

    async def find(self, scope: Scope) -> Principal | None:
        """The contributor that the function names; None if it names nobody.

        Raises
        ------
        IdentityError
            If it raises, takes too long, or returns something else.
        BadInputError
            401 if the name cannot be kept.
        """
        task = self._calls.own(self._call(dict(scope)), name="identify")
        try:
            await asyncio.wait({task}, timeout=self._seconds)
        finally:
            if not task.done():
                task.cancel()
        if not task.done():
            raise IdentityError(f"the function that identifies did not return within {self._seconds:g} s")
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:
            # Where it failed, but not the message: it may repeat what a client sent.
            raise IdentityError(f"the function that identifies raised {place_of(error)}")
        return self._principal(task.result())

    async def _call(self, scope: dict[str, Any]) -> Named:
        if not self._asynchronous:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="feedback_guard.identify")
            context = contextvars.copy_context()
            loop = asyncio.get_running_loop()
            found: Any = await loop.run_in_executor(self._threads, lambda: context.run(self._ask, scope))
        else:
            found = self._function(scope)
        if inspect.isawaitable(found):
            found = await found
        return found  # type: ignore[no-any-return]

    def _ask(self, scope: dict[str, Any]) -> Any:
        try:
            return self._function(scope)
        except StopIteration as error:
            # A future cannot carry it: whoever waits would wait until the deadline.
            raise RuntimeError("StopIteration") from error

    def _principal(self, found: Named) -> Principal | None:
        if found is None:
            return None
        value, groups = (found.get("contributor"), found.get("groups")) if isinstance(found, Mapping) else (found, None)
        name = as_name(value)
        if name is None:
            raise IdentityError(
                f"the function that identifies returned {type(found).__name__}; it returns a text that is not empty, a "
                "dictionary of contributor and groups, or None"
            )
        return Principal(name, self._checked(groups))

    def _checked(self, groups: Any) -> dict[str, str]:
        if groups is None:
            return {}
        if not isinstance(groups, Mapping):
            raise IdentityError("the function that identifies returned groups that are no dictionary")
        found: dict[str, str] = {}
        for name, value in groups.items():
            text = as_name(value)
            if name not in self._groups:
                raise IdentityError("the function that identifies returned a group that identity.callable.groups lacks")
            if text is None:
                raise IdentityError("the function that identifies returned a group that is not a text")
            found[name] = text
        return found
