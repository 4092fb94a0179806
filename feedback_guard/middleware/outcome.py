"""What the application did with a request: seen by watching what it sends, and recorded whatever becomes of the client.

==========================================================  =====================================================
the application                                             state
==========================================================  =====================================================
answered with a status below 400                            `DELIVERED`
answered with a status of 400 or above                      `FAILED`
raised before its answer was complete, or after a 5xx       `UNKNOWN`
returned without an answer                                  `UNKNOWN`
was cancelled, or did not return in time, before its answer `UNKNOWN`
hangs, or stops in its answer, and a client waits           `UNKNOWN`, until it answers after all (see `silence`)
was never called, because the request was cancelled before  `FAILED`
said so itself (`OUTCOME_KEY`), as the gateway does         what it said
==========================================================  =====================================================

A raised exception says that something went wrong, not what had been done by then: hence `UNKNOWN`, even where a
framework turned it into a 500 on the way. What goes wrong after a complete answer, in a background task, is noted
beside the answer's state. A client that leaves in the middle of an answer does not change what the application did.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from feedback_guard.errors import GuardError, StoreError, TransitionError
from feedback_guard.middleware.interface import JudgingGuard, Message, Send
from feedback_guard.middleware.tasks import OwnedTasks, Wait
from feedback_guard.store.states import Delivery

log = logging.getLogger(__name__)

RETRY_SECONDS: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Time between attempts to record an outcome; the last one repeats until the process stops."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A state, what is known beside it, and whether a further attempt could end better."""

    delivery: Delivery
    detail: Mapping[str, JsonValue]

    @property
    def again(self) -> bool:
        """Whether it may be tried again where that does no harm: it is unknown, or the application was not able."""
        return self.delivery is Delivery.UNKNOWN or (
            self.delivery is Delivery.FAILED and _may_pass(self.detail.get("status"))
        )


OUTCOME_KEY: Final = "feedback_guard.outcome"
"""Where an application that knows more than its status says puts an `Outcome`, in `http.response.start`."""
_NOT_NOW: Final = frozenset({408, 425, 429})
NOT_CALLED: Final = Outcome(Delivery.FAILED, {"cause": "the request was cancelled before the application was called"})
STOPPED: Final = Outcome(Delivery.UNKNOWN, {"cause": "the process stopped before the application had answered"})


def _may_pass(status: JsonValue) -> bool:
    """Whether a status says "not now" rather than "no"."""
    return isinstance(status, int) and (status >= 500 or status in _NOT_NOW)


class AnswerWatch:
    """Stands between the application and `send`, and remembers what went by; nothing is buffered or changed.

    Parameters
    ----------
    send
        Where the messages go.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None
        self.complete = False
        self.n_sent = 0
        """Messages so far."""
        self._client_left = False
        self._known: Outcome | None = None

    async def send(self, message: Message) -> None:
        """Pass one message on."""
        kind = message["type"]
        self.n_sent += 1
        if kind == "http.response.start":
            self.status = message["status"]
            self._known = message.get(OUTCOME_KEY)
        elif kind == "http.response.pathsend" or (
            kind in {"http.response.body", "http.response.zerocopysend"} and not message.get("more_body", False)
        ):
            self.complete = True
        try:
            await self._send(message)
        except OSError:
            self._client_left = True  # how a server of ASGI 2.4 and above says so
            raise

    def outcome(self, error: BaseException | None = None, *, cause: str = "") -> Outcome:
        """Say what the application did.

        Parameters
        ----------
        error
            What it raised; None if it returned.
        cause
            A further remark.
        """
        detail: dict[str, JsonValue] = {}
        if self.status is not None:
            detail["status"] = self.status
            if not self.complete:
                detail["complete"] = False
        if self._client_left:
            detail["client"] = "left"
        if error is not None:
            detail["raised"] = type(error).__name__
        if cause:
            detail["cause"] = cause
        if self._known is not None:
            return Outcome(self._known.delivery, {**detail, **self._known.detail})
        if self.status is None:
            return Outcome(Delivery.UNKNOWN, {"cause": "the application did not answer"} | detail)
        if (error is not None or cause) and not self._client_left and (not self.complete or self.status >= 500):
            return Outcome(Delivery.UNKNOWN, detail)
        return Outcome(Delivery.DELIVERED if self.status < 400 else Delivery.FAILED, detail)


class Recorder:
    """Records outcomes, and tries again while the store does not take them.

    Parameters
    ----------
    guard
        Where they are recorded.
    tasks
        Keeps the attempts alive.
    wait
        How to wait between attempts.
    """

    def __init__(self, guard: JudgingGuard, tasks: OwnedTasks, wait: Wait) -> None:
        self._guard = guard
        self._tasks = tasks
        self._wait = wait
        self.stopping = asyncio.Event()

    def begin(self, submission: str, outcome: Outcome, *, fence: int = 0) -> asyncio.Event:
        """Begin to record; the event is set after the first attempt, whether it succeeded or not.

        The caller may wait for the event, and may be cancelled while it waits; the record is made all the same.

        Parameters
        ----------
        submission, outcome
            What became of what.
        fence
            The claim under which the application was called; 0 if it was called at once.
        """
        tried = asyncio.Event()
        self._tasks.own(self._record(submission, outcome, fence, tried), name=f"outcome.{submission}")
        return tried

    async def _record(self, submission: str, outcome: Outcome, fence: int, tried: asyncio.Event) -> None:
        attempt = 0
        try:
            while True:
                try:
                    await self._guard.record_delivery(
                        submission, outcome.delivery, outcome.detail, fence=fence, again=outcome.again
                    )
                except TransitionError as error:
                    log.warning("the outcome %s of %s came too late: %s", outcome.delivery, submission, error)
                    return
                except GuardError as error:
                    self._guard.metrics.failed("store" if isinstance(error, StoreError) else "delivery")
                    log.error("the outcome of %s is not recorded yet: %s", submission, error)
                else:
                    return
                tried.set()
                if self.stopping.is_set():
                    log.error("%s stays open: the store did not take its outcome before the end", submission)
                    return
                await self._wait(self.stopping, RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)])
                attempt += 1
        finally:
            tried.set()
