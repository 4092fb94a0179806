"""Gives approved requests to the application, at most once for each time that somebody lets them through.

A claim is durable before the application is called, and good for a time that covers the call. If the call would begin
too late, after a pause of this process for instance, it is not made, and the claim is given back. The application is
told the claim's number. What cannot be known becomes `UNKNOWN`, for people to look at.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from feedback_guard.clock import MICROSECONDS
from feedback_guard.errors import CredentialError, GuardError
from feedback_guard.middleware.alone import Alone
from feedback_guard.middleware.credentials import Credentials
from feedback_guard.middleware.entry import Entry
from feedback_guard.middleware.envelope import Envelope, EnvelopeError
from feedback_guard.middleware.interface import JudgingGuard, Scope
from feedback_guard.middleware.outcome import STOPPED, Outcome, Recorder
from feedback_guard.middleware.replayed import Replay
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
START_SECONDS: Final = 10.0
"""How long after a claim the application may still be called; later the claim is given back."""
RECORD_SECONDS: Final = 15.0
"""How long a claim outlasts the call that is made under it, for the outcome to be recorded."""
NO_LEAVE: Final = frozenset({401, 403})
"""Statuses by which the application says that it wants other credentials."""
_GRACE_SECONDS: Final = 1.0


class _NotCalledError(Exception):
    """The application was not called under this claim, and the claim is given back; says why."""


_TOO_LATE: Final = "the process was too slow to call the application"
_ENDED: Final = "the process stopped before it called the application"
_UNREADABLE: Final = "its record could not be read"


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
    credentials
        What the requests prove themselves with.
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
        credentials: Credentials,
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
        self._credentials = credentials
        self._wait = wait
        self._poll_seconds = poll_seconds
        self._deadline_seconds = deadline_seconds
        self._concurrency = concurrency
        lease_seconds = START_SECONDS + deadline_seconds + 2 * _GRACE_SECONDS + RECORD_SECONDS
        self._lease_us = round(lease_seconds * MICROSECONDS)
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
            # Looked at before the claim is made: the lease cannot have begun earlier.
            begin_by = self._guard.clock.monotonic() + START_SECONDS
            claims = await self._claim(free) if free > 0 else []
            for claim in claims:
                delivery = self._deliveries.own(self.deliver(claim, begin_by), name=f"replay.{claim.submission}")
                delivery.add_done_callback(self._left)  # behind what takes it off the deliveries
            if len(claims) < max(free, 1):
                # `stop` sets the event too, so an end that comes in between is seen at once.
                await self._wait(decided, self._poll_seconds)

    def _left(self, delivery: asyncio.Task[bool]) -> None:
        """A place is free, which the next approved request may be waiting for; what was given back can wait."""
        if delivery.cancelled():
            return
        error = delivery.exception()
        if error is not None:
            log.error("a replay failed: %s", place_of(error))
        elif delivery.result():
            self._guard.decided.set()

    async def _claim(self, limit: int) -> list[Claim]:
        try:
            return await self._guard.claim_approved(self._routes, limit, lease_us=self._lease_us)
        except GuardError as error:
            self._guard.metrics.failed("delivery")
            log.error("approved requests cannot be claimed; trying again: %s", error)
        except Exception as error:  # noqa: BLE001 - nothing else would ever deliver what moderators approve
            self._guard.metrics.failed("delivery")
            log.error("approved requests cannot be claimed; trying again: %s", place_of(error))
        return []

    async def deliver(self, claim: Claim, begin_by: float) -> bool:
        """Give one claimed request to the application and record what it did; false if it was given back instead.

        Parameters
        ----------
        claim
            Of this process.
        begin_by
            By the monotonic clock; later the application is not called.
        """
        prepared: tuple[Scope, bytes] | Outcome | None = None
        try:
            prepared = await self._prepare(claim)
            outcome = prepared if isinstance(prepared, Outcome) else await self._call(*prepared, begin_by)
        except _NotCalledError as error:
            await self._give_back(claim, str(error))
            return False
        except asyncio.CancelledError:
            if prepared is None:
                self._calls.own(self._give_back(claim, _ENDED), name="replay.give_back")
            else:
                self._recorder.begin(claim.submission, STOPPED, fence=claim.fence)
            raise
        await self._recorder.begin(claim.submission, outcome, fence=claim.fence).wait()
        return True

    async def _prepare(self, claim: Claim) -> tuple[Scope, bytes] | Outcome:
        """Scope and body of a claimed request, or why there are none."""
        try:
            envelope = Envelope.from_bytes(claim.request)
        except EnvelopeError as error:
            return Outcome(Delivery.FAILED, {"cause": str(error)})
        try:
            stored = await asyncio.to_thread(self._guard.store.submission, claim.submission)
        except GuardError as error:
            log.warning("the record of %s cannot be read: %s", claim.submission, error)
            stored = None
        if stored is None:
            raise _NotCalledError(_UNREADABLE)
        first = stored.contributions[0].contribution
        replay = Replay(
            submission=claim.submission,
            route=claim.route,
            contributor=None if stored.anonymous else first.contributor,
            groups=dict(first.groups),
            fence=claim.fence,
            attempt=claim.attempt,
            stripped=envelope.stripped,
        )
        try:
            envelope = await self._credentials.prove(replay, envelope, partial(self._guard.unseal, claim))
        except CredentialError as error:
            log.warning("%s has no credentials: %s", claim.submission, error)
            return Outcome(Delivery.NEEDS_CREDENTIALS, {"cause": str(error)})
        verdicts = [approved(item.verdict) for item in stored.contributions]
        told = replace(replay, stripped=envelope.stripped)
        return self._entry.scope(envelope, verdicts, told), envelope.body

    async def _give_back(self, claim: Claim, reason: str) -> None:
        log.warning("%s is not given to the application now: %s", claim.submission, reason)
        try:
            await self._guard.release(claim.submission, claim.fence, reason)
        except GuardError as error:
            # Then its lease runs out, or has: nothing is done twice.
            log.warning("the claim of %s could not be given back: %s", claim.submission, error)

    async def _call(self, scope: Scope, body: bytes, begin_by: float) -> Outcome:
        alone = Alone(body)
        watch = alone.watch

        async def run() -> None:
            # Nothing is awaited between this look and the call.
            if self._guard.clock.monotonic() > begin_by:
                raise _NotCalledError(_TOO_LATE)
            await self._entry.app(scope, alone.receive, alone.send)

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
            return _replayed(watch.outcome(cause=f"the application did not return within {self._deadline_seconds:g} s"))
        if call.cancelled():
            return _replayed(watch.outcome(asyncio.CancelledError()))
        error = call.exception()
        if isinstance(error, _NotCalledError):
            raise error
        if error is not None:
            log.error("the application raised on a replayed request: %s", place_of(error))
        return _replayed(watch.outcome(error))


def _replayed(outcome: Outcome) -> Outcome:
    """Tell an application that wants other credentials from one that does not want the request."""
    if outcome.delivery is Delivery.FAILED and outcome.detail.get("status") in NO_LEAVE:
        return replace(outcome, delivery=Delivery.NEEDS_CREDENTIALS)
    return outcome


def approved(verdict: Verdict) -> Verdict:
    """Return a held verdict as it stands after a moderator's approval; what spoke against it stays readable."""
    reason = Reason("review", "a moderator approved it")
    return replace(verdict, decision=Decision.ACCEPT, weight=1.0, reasons=(*verdict.reasons, reason))
