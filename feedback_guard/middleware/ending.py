"""How a request ends: the application answers, or the guard does for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from feedback_guard.middleware.answers import Answers, Asked
from feedback_guard.middleware.interface import Send
from feedback_guard.middleware.keeping import Keeper
from feedback_guard.middleware.pace import Pace
from feedback_guard.middleware.passage import Passage
from feedback_guard.middleware.repeats import Again, Repeats
from feedback_guard.middleware.replies import Reply
from feedback_guard.middleware.service import Service
from feedback_guard.policy.routes import RoutePolicy
from feedback_guard.store.states import Delivery
from feedback_guard.submission import Judgement

Step = Callable[[], Awaitable[None]]
"""What is to be done next, outside of every `except`."""
_Call = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Endings:
    """What the endings of all requests share."""

    service: Service
    repeats: Repeats
    pace: Pace


class Ending:
    """The end of one request.

    Parameters
    ----------
    shared
        What all requests share.
    route, answers
        Of the request.
    passage
        Leads into the application.
    send
        As the server gave it.
    since
        When the request was read, in seconds of the event loop's time.
    """

    def __init__(
        self, shared: Endings, route: RoutePolicy, answers: Answers, passage: Passage, send: Send, since: float
    ) -> None:
        self._shared = shared
        self._route = route
        self._answers = answers
        self._passage = passage
        self._send = send
        self._since = since

    def judged(self, judgement: Judgement, data: bytes, asked: Asked, *, repeatable: bool) -> Step:
        """Say what comes after a judgement that was recorded.

        Parameters
        ----------
        repeatable
            Whether the answer is kept, for whoever sends the same request again.
        """
        ident, verdicts, passage = judgement.submission, judgement.verdicts, self._passage
        goes = judgement.delivery is Delivery.DISPATCHING
        concealed = not judgement.observed and self._answers.conceals(judgement)
        if goes and not concealed:
            if not repeatable:
                return partial(passage.forward, data, verdicts, ident)
            keep = partial(self._shared.repeats.keep_foreign, ident)
            keeping = partial(Keeper, keep=keep, max_bytes=self._route.idempotency.max_answer_bytes)
            return partial(passage.forward, data, verdicts, ident, keeping)
        reply, call = self._answers.of(judgement, asked), None
        if goes:
            call = partial(passage.unseen, data, verdicts, ident, seconds=self._shared.service.deadline_seconds)
        return partial(self._acknowledge, reply, call, keep_for=ident if repeatable else "", concealed=concealed)

    def again(self, again: Again) -> Step:
        """Answer a repetition."""
        return partial(self._acknowledge, again.reply, concealed=self._answers.uniform)

    async def _acknowledge(
        self, reply: Reply, call: _Call | None = None, *, keep_for: str = "", concealed: bool
    ) -> None:
        """Answer for the application, when the answer is kept and its time has come."""
        # The application begins at once and is not waited for: how long it takes must not show.
        calling = self._shared.service.tasks.own(call(), name="acknowledged") if call is not None else None
        # What is too large to keep is made again from the template; a concealed one would be in flight until then.
        if keep_for and (concealed or len(reply.body) <= self._route.idempotency.max_answer_bytes):
            await self._shared.repeats.keep(keep_for, reply)
        if concealed:
            await self._shared.pace.hold_back(self._since, self._route.uniform)
        await reply.send(self._send)
        if calling is not None:
            # What stands around the guard, such as a database session, stays open for the application.
            await asyncio.shield(calling)
