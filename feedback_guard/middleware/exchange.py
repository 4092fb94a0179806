"""One request on its way through the guard. Everything that changes while it is handled lives here.

The order: what it teaches and who offers it, the judgement, the answer. The cheap checks
come first, and what is durable happens in tasks that a cancelled request cannot take with it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from feedback_guard.errors import ClaimLostError, ContributionError, GuardError, IdentityError, ReceiptError, StoreError
from feedback_guard.middleware.answers import Answers, Asked
from feedback_guard.middleware.body import Body, ClientLeftError, framed
from feedback_guard.middleware.ending import Ending, Endings, Step
from feedback_guard.middleware.envelope import Envelope
from feedback_guard.middleware.intake import Intake, Taken
from feedback_guard.middleware.interface import ASGIApp, JudgingGuard, Receive, Scope, Send
from feedback_guard.middleware.outcome import NOT_CALLED
from feedback_guard.middleware.passage import Passage
from feedback_guard.middleware.receipts import Receipts, problem_of
from feedback_guard.middleware.repeats import Admitted, Again, in_flight
from feedback_guard.middleware.replies import BadInputError, Reply, bad_input, unavailable
from feedback_guard.middleware.routes import Match
from feedback_guard.middleware.service import Service
from feedback_guard.middleware.traces import place_of
from feedback_guard.policy.routes import OnHold
from feedback_guard.store.states import Delivery
from feedback_guard.submission import Judgement, Submission
from feedback_guard.verdict import Decision

log = logging.getLogger(__name__)

_NOT_RECORDED: Final = "Nothing was recorded, and the application was not called. Try again later."


@dataclass(frozen=True, slots=True)
class Setup:
    """What all requests share; nothing in it changes."""

    app: ASGIApp
    guard: JudgingGuard
    intake: Intake
    receipts: Receipts
    answers: dict[str, Answers]
    service: Service
    endings: Endings


class Exchange:
    """One request to a guarded route.

    Parameters
    ----------
    setup
        What all requests share.
    match
        The route, and the path's parameters.
    scope, receive, send
        As the server gave them.
    """

    def __init__(self, setup: Setup, match: Match, scope: Scope, receive: Receive, send: Send) -> None:
        self._setup = setup
        self._guard = setup.guard
        self._route = match.route
        self._match = match
        self._scope = scope
        self._send = send
        self._body = Body(receive)
        self._passage = Passage(setup.app, setup.service, scope, send, self._body)
        self._enforcing = setup.guard.enforcing
        self._answers = setup.answers[match.route.name]

    async def run(self) -> None:
        """Handle the request."""
        step = await self._read()
        # Outside of every `except`: what the application raises is not to be chained to what the guard caught.
        await step()

    async def _read(self) -> Step:
        """Read the request and say what comes next."""
        try:
            taken = await self._setup.intake.take(self._match, self._scope, self._body)
        except ClientLeftError:
            self._count("aborted")
            return _nothing if self._enforcing else self._passage.untouched
        except BadInputError as error:
            return partial(self._refuse, error)
        except IdentityError as error:
            log.error("who sends a request to %s cannot be found out: %s", self._route.name, error)
            self._guard.metrics.failed("identity")
            return partial(self._fail, "identity")
        except Exception as error:  # noqa: BLE001 - the unforeseen must neither pass unread nor stop an observed app
            log.error("a request to %s could not be read: %s", self._route.name, place_of(error))
            self._guard.metrics.failed("extract")
            return partial(self._fail, "extract")
        if taken is None:
            self._count("passed")
            return partial(self._passage.untouched, judged=True)
        asked = Asked(taken.value, self._match.params, self._scope.get("query_string", b""), taken.contributions[0])
        return await self._judge(taken.data, self._submission(taken), asked)

    def _submission(self, taken: Taken) -> Submission:
        route, data = self._route, taken.data
        # The empty request says that there is one, and that nothing of it need be kept.
        may_be_held = self._enforcing and route.on_hold is OnHold.HOLD
        request, secret = b"", None
        if may_be_held:
            whole = Envelope.of(self._scope, framed(self._scope, len(data)), data)
            kept, secret = self._setup.service.credentials.part(whole)
            request = kept.to_bytes()
        return Submission(
            route=route.name,
            on_hold=route.on_hold,
            contributions=taken.contributions,
            request=request,
            anonymous=taken.principal.anonymous,
            conceal=self._enforcing and self._answers.uniform,
            credentials=secret if self._setup.service.credentials.keeps(route.name) else None,
            body_sha256=hashlib.sha256(data).hexdigest(),
        )

    async def _judge(self, data: bytes, submission: Submission, asked: Asked) -> Step:
        repeats, answers = self._setup.endings.repeats, self._answers
        since = asyncio.get_running_loop().time()
        ending = Ending(self._setup.endings, self._route, answers, self._passage, self._send, since)
        admitted: Admitted | Again | None = None
        try:
            await self._setup.service.ready(self._scope)
            submission = self._setup.receipts.hold(self._match, self._scope, asked.document, submission)
            if self._enforcing:
                admitted = await repeats.admit(self._route, self._scope, data, submission, answers, asked)
            if isinstance(admitted, Again):
                self._count(admitted.outcome)
                return ending.again(admitted)
            judgement = await self._ask(submission, admitted)
        except BadInputError as error:
            return partial(self._refuse, error)
        except ReceiptError as error:
            return self._unreceipted(error, ending, asked)
        except ContributionError as error:
            return partial(self._refuse, bad_input(422, "no_contribution", f"{error}.", route=self._route.name))
        except ClaimLostError:
            lost = in_flight(by_client=not isinstance(admitted, Admitted) or admitted.by_client)
            self._count(lost.outcome)
            return ending.again(lost)
        except StoreError as error:
            log.error("a request to %s could not be recorded: %s", self._route.name, error)
            return partial(self._fail, "store")
        except GuardError as error:
            log.error("a request to %s could not be judged: %s", self._route.name, error)
            return partial(self._fail, "assess")
        except Exception as error:  # noqa: BLE001 - as above
            log.error("a request to %s could not be judged: %s", self._route.name, place_of(error))
            self._guard.metrics.failed("assess")
            return partial(self._fail, "assess")
        self._count(_outcome(judgement))
        return ending.judged(judgement, data, asked, repeatable=admitted is not None)

    def _unreceipted(self, error: ReceiptError, ending: Ending, asked: Asked) -> Step:
        """Refuse what came without a good receipt; where answers are uniform, answer as if it had been received."""
        self._guard.metrics.receipt(self._route.name, error.reason.value)
        if self._enforcing and self._answers.uniform:
            self._count("bad_input")
            return ending.again(Again(self._answers.acknowledged(asked, self._guard.new_id()), "bad_input"))
        return partial(self._refuse, BadInputError(problem_of(error, self._route.name)))

    async def _ask(self, submission: Submission, admitted: Admitted | None) -> Judgement:
        """Have the submission judged; the judgement is finished, and closed, even if this request is cancelled."""
        service = self._setup.service
        judging = service.tasks.own(self._judged(submission, admitted), name="judge")
        try:
            return await asyncio.shield(judging)
        except asyncio.CancelledError:
            service.tasks.own(self._close(judging), name="close")
            raise

    async def _judged(self, submission: Submission, admitted: Admitted | None) -> Judgement:
        if admitted is None:
            return await self._guard.judge(submission)
        try:
            return await self._guard.judge(replace(submission, claim=admitted.claim))
        except Exception:
            await self._setup.endings.repeats.give_back(admitted.claim)
            raise

    async def _close(self, judging: asyncio.Task[Judgement]) -> None:
        try:
            judgement = await judging
        except Exception:  # noqa: BLE001 - whatever it was,
            return  # nothing was recorded, and nobody waits for an answer
        if judgement.delivery is Delivery.DISPATCHING:
            await self._setup.service.recorder.begin(judgement.submission, NOT_CALLED).wait()

    async def _refuse(self, error: BadInputError) -> None:
        self._count("bad_input")
        if self._enforcing:
            await self._answer(error.problem.reply())
        else:
            await self._passage.untouched()

    async def _fail(self, part: str) -> None:
        """Answer 503, or let an observed application have the request, counted."""
        if self._enforcing:
            self._count("unavailable")
            await self._answer(unavailable(_NOT_RECORDED))
        else:
            self._count("passed")
            self._guard.metrics.failed_open(part)
            await self._passage.untouched()

    async def _answer(self, reply: Reply) -> None:
        http_1 = str(self._scope.get("http_version", "1.1")).startswith("1")
        if self._body.complete or not http_1:
            await reply.send(self._send)
        else:
            # Whoever sends `Expect` waits for the answer, and sends no body after a refusal.
            expects = any(name == b"expect" for name, _ in self._scope["headers"])
            await reply.send_and_close(self._send, _nothing if expects else self._body.linger)

    def _count(self, outcome: str) -> None:
        self._guard.metrics.request(self._route.name, outcome)


async def _nothing() -> None:
    """A client that left gets no answer, and leaves nothing behind."""


def _outcome(judgement: Judgement) -> str:
    if judgement.delivery is Delivery.DISPATCHING:
        return "accepted" if judgement.decision is Decision.ACCEPT else "passed"
    return _OUTCOMES.get(judgement.decision, "refused")


_OUTCOMES: Final = {Decision.QUARANTINE: "held", Decision.LIMIT: "limited", Decision.REJECT: "refused"}
