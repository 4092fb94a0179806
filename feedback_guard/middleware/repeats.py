"""Lets each request be judged once, however often it comes.

Of parallel deliveries one has the right to be judged. With a key the others are told that it is in flight (409, as in
draft-ietf-httpapi-idempotency-key-header). Without one they wait for its answer, since a client that sent no key
takes no conflict; those for whom it does not come in time are told to come back (503 with Retry-After, on which the
retries of common HTTP clients act).
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final

from feedback_guard import settings
from feedback_guard.clock import MICROSECONDS
from feedback_guard.errors import GuardError
from feedback_guard.middleware.answers import Answers, Asked
from feedback_guard.middleware.interface import JudgingGuard, Scope
from feedback_guard.middleware.keeping import NOT_NOW, again, kept
from feedback_guard.middleware.keys import ticket_of
from feedback_guard.middleware.replies import Problem, Reply, bad_input, refused, settled
from feedback_guard.middleware.tasks import OwnedTasks, Wait
from feedback_guard.policy.routes import OnHold, RoutePolicy
from feedback_guard.store.records import StoredSubmission
from feedback_guard.store.repeats import Claim, Found, KeptAnswer, RepeatKey, Seen
from feedback_guard.store.states import Delivery
from feedback_guard.submission import Submission
from feedback_guard.verdict import Decision

log = logging.getLogger(__name__)

RETRY_AFTER_SECONDS: Final = 1
"""What a repetition is told to wait while the first request is being handled, in seconds."""
FIRST_PAUSE_SECONDS: Final = 0.02
"""Time before somebody else's request in flight is looked at again; it grows."""
LONGEST_PAUSE_SECONDS: Final = 0.5
"""Longest time between two looks."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """The right to have a request judged.

    Parameters
    ----------
    by_client
        True if the client sent the key.
    """

    claim: Claim
    by_client: bool


@dataclass(frozen=True, slots=True)
class Again:
    """The answer to a repetition, and the outcome that it is counted as."""

    reply: Reply
    outcome: str


class Repeats:
    """Admits requests to judgement.

    Parameters
    ----------
    guard
        Has the keys.
    tasks
        Keep alive what a cancelled request must not leave half done.
    wait
        How to wait between two looks.
    """

    def __init__(self, guard: JudgingGuard, tasks: OwnedTasks, wait: Wait) -> None:
        self._guard = guard
        self._tasks = tasks
        self._wait = wait
        self._watches: dict[str, asyncio.Task[Found]] = {}
        self._waiting = 0

    async def admit(
        self, route: RoutePolicy, scope: Scope, data: bytes, submission: Submission, answers: Answers, asked: Asked
    ) -> Admitted | Again | None:
        """Ask for the right to have a request judged.

        Returns
        -------
        Admitted, Again or None
            The right; the answer if there is one already, or will be; None if the request is not recognised by
            anything.

        Raises
        ------
        BadInputError
            400 for a bad key, 422 for one that was used for another request.
        StoreError
            If the store cannot say; then the request is not admitted.
        """
        ticket = ticket_of(route, scope, data, submission, application=self._guard.policy.application)
        if ticket is None:
            return None
        until = asyncio.get_running_loop().time() + route.duplicates.wait / MICROSECONDS
        while True:
            found = await self._claim(ticket.key)
            if found.seen is Seen.IN_FLIGHT and not ticket.by_client:
                found = await self._watch(ticket.key, until)
            if found.claim is not None:
                return Admitted(found.claim, ticket.by_client)
            if found.seen is Seen.OTHER:
                raise bad_input(422, "key_reused", "This Idempotency-Key was used for another request; send a new one.")
            if found.seen is Seen.IN_FLIGHT:
                return in_flight(ticket.by_client)
            if found.answer is not None:
                return Again(again(found.answer), "repeated")
            if found.seen is Seen.SETTLED:
                reply = await self._settled(found, route, answers, asked)
                if reply is not None:
                    return Again(reply, "repeated")
                # The application was never called: nothing speaks against a fresh start.
                await self._guard.repeats.forget(found.submission)

    async def keep(self, submission: str, reply: Reply) -> None:
        """Keep an answer of the guard's own. It goes out even if it cannot be kept; a repetition gets it made anew."""
        await self._keeping(submission, kept(reply), reply.status)

    async def keep_foreign(self, submission: str, answer: KeptAnswer | None, status: int) -> None:
        """Keep what the application answered; what it did not do may be asked again."""
        await self._keeping(submission, answer, status, forget=status in NOT_NOW)

    async def give_back(self, claim: Claim) -> None:
        """Give a claim back that came to nothing. If that fails, its lease ends it."""
        try:
            await self._guard.repeats.release(claim)
        except GuardError as error:
            log.warning("a claim is left to its lease: %s", error)

    async def _keeping(self, submission: str, answer: KeptAnswer | None, status: int, *, forget: bool = False) -> None:
        book = self._guard.repeats
        try:
            if forget:
                await book.forget(submission)
            elif answer is not None:
                await book.keep(submission, answer)
        except GuardError as error:
            self._guard.metrics.failed("store")
            log.error("the answer %d to %s is not kept for repetitions: %s", status, submission, error)

    async def _claim(self, key: RepeatKey) -> Found:
        claiming = self._tasks.own(self._guard.repeats.claim(key), name="claim")
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            self._tasks.own(self._abandon(claiming), name="claim.abandon")
            raise

    async def _abandon(self, claiming: asyncio.Task[Found]) -> None:
        try:
            found = await claiming
        except Exception:  # noqa: BLE001 - nobody has it, and nobody waits for it
            return
        if found.claim is not None:
            await self.give_back(found.claim)

    async def _watch(self, key: RepeatKey, until: float) -> Found:
        """Wait until a request is no longer in flight; one look serves all that wait for the same one."""
        left = until - asyncio.get_running_loop().time()
        if left <= 0 or self._waiting >= settings.MAX_REPEATS_WAITING:
            return Found(Seen.IN_FLIGHT)
        watch = self._watches.get(key.scope_sha256)
        if watch is None or watch.done():
            watch = self._watches[key.scope_sha256] = self._tasks.own(self._look(key), name="watch")
        self._waiting += 1
        try:
            await asyncio.wait({watch}, timeout=left)
        finally:
            self._waiting -= 1
        ended = watch.done() and not watch.cancelled()  # the end of the application cancels it
        return watch.result() if ended else Found(Seen.IN_FLIGHT)

    async def _look(self, key: RepeatKey) -> Found:
        never, pause = asyncio.Event(), FIRST_PAUSE_SECONDS
        loop = asyncio.get_running_loop()
        until = loop.time() + settings.MAX_REPEAT_WAIT_US / MICROSECONDS
        try:
            while True:
                await self._wait(never, pause)
                pause = min(1.5 * pause, LONGEST_PAUSE_SECONDS)
                found = await self._guard.repeats.look(key)
                if found.seen is not Seen.IN_FLIGHT or loop.time() >= until or not self._waiting:
                    return found
        except GuardError as error:
            log.error("a request in flight cannot be looked at: %s", error)
            return Found(Seen.IN_FLIGHT)
        finally:
            self._watches.pop(key.scope_sha256, None)

    async def _settled(self, found: Found, route: RoutePolicy, answers: Answers, asked: Asked) -> Reply | None:
        """Make the answer to a request whose own was not kept; None if it may be judged again."""
        stored = await asyncio.to_thread(self._guard.store.submission, found.submission)
        if stored is None:
            return None
        decision = worst(stored)
        held = decision is Decision.QUARANTINE and route.on_hold is OnHold.HOLD
        if held or answers.uniform:
            first = stored.contributions[0].contribution
            return answers.acknowledged(replace(asked, first=first), stored.id)
        if decision is Decision.LIMIT:
            return None
        if decision is Decision.REJECT:
            return refused(stored.id)
        if stored.delivery is Delivery.UNKNOWN:
            return Problem(
                500,
                "outcome_unknown",
                "The application was given this request once, and nobody can tell what it did. It is not given again.",
                extra={"id": stored.id},
            ).reply()
        status = stored.detail.get("status")
        if not isinstance(status, int):
            return None if stored.delivery is Delivery.FAILED else settled(200, stored.id)
        return settled(status, stored.id)


def in_flight(by_client: bool) -> Again:
    """Answer a repetition whose first request is being handled."""
    status = HTTPStatus.CONFLICT if by_client else HTTPStatus.SERVICE_UNAVAILABLE
    what = "A request with this Idempotency-Key" if by_client else "The same request"
    problem = Problem(
        int(status),
        "in_flight",
        f"{what} is being handled. Try again in {RETRY_AFTER_SECONDS} s for its answer.",
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )
    return Again(problem.reply(), "in_flight")


def worst(stored: StoredSubmission) -> Decision:
    """Return the decision on a whole submission, as it was made."""
    return max((item.verdict.decision for item in stored.contributions), key=lambda decision: decision.severity)
