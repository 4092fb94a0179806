"""Gives approved requests to the application, at most once.

A claim is durable before the application is called: whatever happens afterwards, the request is never given a second
time. What cannot be known stays `UNKNOWN`, for people to look at.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from feedback_guard.errors import GuardError
from feedback_guard.middleware.envelope import Envelope, EnvelopeError
from feedback_guard.middleware.interface import (
    PASSAGE,
    PASSAGE_KEY,
    STATE_KEY,
    ASGIApp,
    JudgingGuard,
    Message,
    Scope,
)
from feedback_guard.middleware.outcome import AnswerWatch, Outcome, Recorder
from feedback_guard.middleware.tasks import OwnedTasks, Wait, wait_for_event
from feedback_guard.middleware.traces import place_of
from feedback_guard.store.records import Claim
from feedback_guard.store.states import Delivery
from feedback_guard.verdict import Decision, Reason, Verdict

log = logging.getLogger(__name__)

POLL_SECONDS: Final = 1.0
"""Longest time before looking for what another process approved."""
DEADLINE_SECONDS: Final = 60.0
"""How long the application may take over a replayed request before its outcome is unknown."""
CONCURRENCY: Final = 8
"""Most replayed requests at a time in one process."""
_GRACE_SECONDS: Final = 1.0
_STOPPED: Final = Outcome(Delivery.UNKNOWN, {"cause": "the process stopped before the application had answered"})


class Entry:
    """Where a replayed request enters the application, and the state that its lifespan made."""

    def __init__(self, app: ASGIApp) -> None:
        self._wrapped = app
        self.outermost: ASGIApp | None = None
        self.lifespan_state: dict[str, Any] | None = None

    def note(self, scope: Scope) -> None:
        """Remember the outermost application, if this scope came through one."""
        app = scope.get("app")
        if app is not None and callable(app):
            self.outermost = app

    @property
    def app(self) -> ASGIApp:
        """The outermost application known: what stands between it and the guard is needed, such as authentication."""
        return self.outermost or self._wrapped

    def fresh_state(self) -> dict[str, Any]:
        """A request's own copy of the lifespan's state."""
        return dict(self.lifespan_state or {})


class Dispatcher:
    """Claims approved requests and gives them to the application.

    Parameters
    ----------
    guard
        Where they are claimed and recorded.
    entry
        Where they go.
    routes
        Names of the routes that this application serves.
    recorder
        Records outcomes.
    wait
        Waits for a decision in this process, or for the next poll.
    poll_seconds, deadline_seconds
        See `POLL_SECONDS` and `DEADLINE_SECONDS`.
    concurrency
        Most replayed requests at a time.
    """

    def __init__(
        self,
        guard: JudgingGuard,
        entry: Entry,
        routes: Sequence[str],
        recorder: Recorder,
        *,
        wait: Wait = wait_for_event,
        poll_seconds: float = POLL_SECONDS,
        deadline_seconds: float = DEADLINE_SECONDS,
        concurrency: int = CONCURRENCY,
    ) -> None:
        self._guard = guard
        self._entry = entry
        self._routes = tuple(routes)
        self._recorder = recorder
        self._wait = wait
        self._poll_seconds = poll_seconds
        self._deadline_seconds = deadline_seconds
        self._concurrency = concurrency
        self._deliveries = OwnedTasks()
        self._calls = OwnedTasks()
        self._loop: asyncio.Task[None] | None = None
        self._stopping = False

    def start(self) -> None:
        """Begin to look for approved requests."""
        if self._loop is None:
            self._stopping = False
            self._loop = asyncio.get_running_loop().create_task(
                self._run(), name="feedback_guard.dispatcher", context=contextvars.Context()
            )

    async def stop(self) -> None:
        """Claim nothing more, and wait until what was claimed has its outcome."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        self._stopping = True
        self._guard.decided.set()
        # The loop is not cancelled: between the claim's commit and the call, that would lose a claimed request.
        await asyncio.wait({loop}, timeout=self._poll_seconds + self._deadline_seconds)
        loop.cancel()
        await self._deliveries.drain(self._deadline_seconds + 2 * _GRACE_SECONDS)

    async def _run(self) -> None:
        while not self._stopping:
            decided = self._guard.decided
            decided.clear()
            free = self._concurrency - len(self._deliveries)
            claims = await self._claim(free) if free > 0 else []
            for claim in claims:
                self._deliveries.own(self.deliver(claim), name=f"replay.{claim.submission}")
            if len(claims) < max(free, 1):
                # `stop` sets the event too, so an end that comes in between is seen at once.
                await self._wait(decided, self._poll_seconds)

    async def _claim(self, limit: int) -> list[Claim]:
        try:
            return await self._guard.claim_approved(self._routes, limit)
        except GuardError as error:
            self._guard.metrics.failed("delivery")
            log.error("approved requests cannot be claimed; trying again: %s", error)
        except Exception as error:  # noqa: BLE001 - nothing else would ever deliver what moderators approve
            self._guard.metrics.failed("delivery")
            log.error("approved requests cannot be claimed; trying again: %s", place_of(error))
        return []

    async def deliver(self, claim: Claim) -> None:
        """Give one claimed request to the application and record what it did."""
        try:
            envelope = Envelope.from_bytes(claim.request)
            scope = self._scope(envelope, await self._verdicts(claim))
        except EnvelopeError as error:
            outcome = Outcome(Delivery.FAILED, {"cause": str(error)})
        else:
            try:
                outcome = await self._call(scope, envelope.body)
            except asyncio.CancelledError:
                self._recorder.begin(claim.submission, _STOPPED)
                raise
        await self._recorder.begin(claim.submission, outcome).wait()
        # A free place may be what the next approved request waits for.
        self._guard.decided.set()

    async def _call(self, scope: Scope, body: bytes) -> Outcome:
        watch = AnswerWatch(_discard)
        answered = asyncio.Event()
        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            if pending:
                return pending.pop()
            # There is no client that could leave: the disconnect comes when all is said.
            await answered.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            await watch.send(message)
            if watch.complete:
                answered.set()

        async def run() -> None:
            await self._entry.app(scope, receive, send)

        call = self._calls.own(run(), name="replay.call")
        try:
            await asyncio.wait({call}, timeout=self._deadline_seconds)
        except asyncio.CancelledError:
            call.cancel()
            raise
        if not call.done():
            call.cancel()
            # An application that ignores its cancellation is left to itself; its reference is kept.
            await asyncio.wait({call}, timeout=_GRACE_SECONDS)
            return watch.outcome(cause=f"the application did not return within {self._deadline_seconds:g} s")
        if call.cancelled():
            return watch.outcome(asyncio.CancelledError())
        error = call.exception()
        if error is not None:
            log.error("the application raised on a replayed request: %s", place_of(error))
        return watch.outcome(error)

    async def _verdicts(self, claim: Claim) -> list[Verdict]:
        """The verdicts as the application is to see them now: approved."""
        try:
            stored = await asyncio.to_thread(self._guard.store.submission, claim.submission)
        except GuardError as error:
            log.warning("the verdicts of %s cannot be read: %s", claim.submission, error)
            return []
        if stored is None:
            return []
        return [approved(item.verdict) for item in stored.contributions]

    def _scope(self, envelope: Envelope, verdicts: list[Verdict]) -> Scope:
        scope = envelope.scope()
        scope["state"] = {**self._entry.fresh_state(), STATE_KEY: verdicts}
        scope[PASSAGE_KEY] = PASSAGE
        if self._entry.outermost is not None:
            scope["app"] = self._entry.outermost
        return scope


def approved(verdict: Verdict) -> Verdict:
    """Return a held verdict as it stands after a moderator's approval; what spoke against it stays readable."""
    reason = Reason("review", "a moderator approved it")
    return replace(verdict, decision=Decision.ACCEPT, weight=1.0, reasons=(*verdict.reasons, reason))


async def _discard(_: Message) -> None:
    """Nobody is there to read the answer to a replayed request."""
