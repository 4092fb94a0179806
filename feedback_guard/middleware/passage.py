"""One request on its way into the application, and the answer on its way out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from feedback_guard.middleware.alone import Alone
from feedback_guard.middleware.body import Body, framed
from feedback_guard.middleware.interface import PASSAGE, PASSAGE_KEY, STATE_KEY, ASGIApp, Message, Scope, Send
from feedback_guard.middleware.keeping import Keeper
from feedback_guard.middleware.outcome import STOPPED, AnswerWatch
from feedback_guard.middleware.service import Service
from feedback_guard.middleware.traces import place_of
from feedback_guard.verdict import Verdict

log = logging.getLogger(__name__)

_OWN_KEYS: Final[frozenset[Any]] = frozenset({"headers", PASSAGE_KEY})
_GRACE_SECONDS: Final = 1.0


class Passage:
    """Gives one request to the application, once.

    Parameters
    ----------
    app
        The application.
    service
        Records what it did.
    scope, send
        As the server gave them.
    body
        Whatever was read of the body, and the rest.
    """

    def __init__(self, app: ASGIApp, service: Service, scope: Scope, send: Send, body: Body) -> None:
        self._app = app
        self._service = service
        self._scope = scope
        self._send = send
        self._body = body

    async def forward(
        self,
        data: bytes,
        verdicts: Sequence[Verdict],
        submission: str = "",
        keeping: Callable[[Send], Keeper] | None = None,
    ) -> None:
        """Give the judged request to the application, and record what it did.

        Parameters
        ----------
        data
            The whole body.
        verdicts
            For the application to read.
        submission
            Where the outcome is recorded; empty if nothing was judged.
        keeping
            Makes what keeps the answer for repetitions, where that is wanted.
        """
        scope = self._judged(data, verdicts)
        send: Send = partial(self._send_revealing, scope)
        keeper = keeping(send) if keeping is not None else None
        watch = AnswerWatch(keeper.send if keeper is not None else send)
        listening = self._service.silences.listen(submission, watch) if submission else None
        try:
            try:
                await self._app(scope, self._body.replay(), watch.send)
            finally:
                if keeper is not None:
                    await keeper.finish()
        except BaseException as error:
            if listening is not None:
                recorded = listening.end(watch.outcome(error))
                if isinstance(error, Exception):
                    await recorded.wait()
            raise
        else:
            if listening is not None:
                await listening.end(watch.outcome()).wait()
        finally:
            self._reveal(scope)

    async def unseen(self, data: bytes, verdicts: Sequence[Verdict], submission: str, *, seconds: float) -> None:
        """Give the judged request to the application, and record what it did; nobody sees its answer.

        Parameters
        ----------
        data, verdicts, submission
            As above.
        seconds
            How long the application may take: there is no client that could lose its patience.
        """
        scope, recorder = self._judged(data, verdicts), self._service.recorder
        # The client has its answer already and may be gone.
        alone = Alone(data)
        watch = alone.watch

        async def run() -> None:
            await self._app(scope, alone.receive, alone.send)

        call = self._service.tasks.own(run(), name=f"unseen.{submission}")
        try:
            await asyncio.wait({call}, timeout=seconds)
            if not call.done():
                call.cancel()
                await asyncio.wait({call}, timeout=_GRACE_SECONDS)
                outcome = watch.outcome(cause=f"the application did not return within {seconds:g} s")
            elif call.cancelled():
                outcome = watch.outcome(asyncio.CancelledError())
            else:
                error = call.exception()
                if error is not None:
                    log.error("the application raised on a request that was acknowledged: %s", place_of(error))
                outcome = watch.outcome(error)
        except asyncio.CancelledError:
            call.cancel()
            recorder.begin(submission, STOPPED)
            raise
        finally:
            self._reveal(scope)
        await recorder.begin(submission, outcome).wait()

    async def untouched(self, *, judged: bool = False) -> None:
        """Give the application what came, as it came; there is no verdict on it, but a place where it would stand.

        Parameters
        ----------
        judged
            Whether it was read and carries no contribution: then a guard further in need not read it again.
        """
        scope = self._child([])
        if judged:
            scope[PASSAGE_KEY] = PASSAGE
        try:
            await self._app(scope, self._body.replay(), partial(self._send_revealing, scope))
        finally:
            self._reveal(scope)

    def _judged(self, data: bytes, verdicts: Sequence[Verdict]) -> Scope:
        """Make the scope that the application gets: the guard lets it pass, and the body has the length it has."""
        scope = self._child(list(verdicts))
        scope["headers"] = framed(self._scope, len(data))
        scope[PASSAGE_KEY] = PASSAGE
        return scope

    def _child(self, verdicts: list[Verdict]) -> Scope:
        """Copy the scope, with the verdicts in a state that belongs to this request alone."""
        scope: Scope = dict(self._scope)
        state = scope.get("state")
        if state is None or state is self._service.entry.lifespan_state:
            # Not every server copies the lifespan's state for each request; verdicts must not meet in a shared one.
            state = dict(state or {})
            scope["state"] = state
        state[STATE_KEY] = verdicts
        return scope

    async def _send_revealing(self, scope: Scope, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._reveal(scope)
        await self._send(message)

    def _reveal(self, scope: Scope) -> None:
        """Show middleware further out what routing put into the scope, as if there were no copy."""
        for name, value in scope.items():
            if name not in _OWN_KEYS and self._scope.get(name) is not value:
                self._scope[name] = value
