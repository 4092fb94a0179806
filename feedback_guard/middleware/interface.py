"""What the middleware needs from its two sides: the ASGI shapes, and the guard."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, Final, Protocol

from pydantic import JsonValue

from feedback_guard.clock import Clock
from feedback_guard.policy.schema import Policy
from feedback_guard.receipts.signer import ReceiptSigner
from feedback_guard.receipts.verifier import Verifier
from feedback_guard.store.records import Claim, StoredSubmission
from feedback_guard.store.repeats import Claim as RepeatClaim
from feedback_guard.store.repeats import Found, KeptAnswer, RepeatKey
from feedback_guard.store.states import Delivery
from feedback_guard.submission import Judgement, Submission

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

ExtractorCallable = Callable[[JsonValue, Scope], "list[dict[str, Any]] | dict[str, Any] | None"]
"""From the body (JSON, or a form as a dictionary) and the scope (with `path_params`) to one contribution, several, or
none."""

STATE_KEY: Final = "feedback_guard"
"""Where the verdicts stand in `scope["state"]`, and so in `request.state`."""
PASSAGE_KEY: Final = "feedback_guard.passage"
"""Where `PASSAGE` stands in a scope."""
PASSAGE: Final = object()
"""Marks a scope that a guard has judged already. A client can send text, never this object."""


class RequestMetrics(Protocol):
    """What the middleware counts."""

    def request(self, route: str, outcome: str) -> None:
        """Count a request to a guarded route by its outcome."""

    def receipt(self, route: str, outcome: str, count: int = 1) -> None:
        """Count receipts by their outcome."""

    def failed(self, part: str) -> None:
        """Count a failure of a part of the guard."""

    def upstream_failed(self, kind: str) -> None:
        """Count a failure of the application behind a gateway."""

    def failed_open(self, part: str) -> None:
        """Count a request that passed unjudged because a part of the guard failed."""


class SubmissionReader(Protocol):
    """Where a recorded submission is read again."""

    def submission(self, submission_id: str, /) -> StoredSubmission | None:
        """The submission, or None if there is none of that name."""


class RepeatKeeper(Protocol):
    """The part of `feedback_guard.repeats.RepeatBook` that the middleware uses."""

    async def claim(self, key: RepeatKey, /) -> Found:
        """Take a key if nobody has it, or say what is known of it."""

    async def look(self, key: RepeatKey, /) -> Found:
        """What is known of a key."""

    async def release(self, claim: RepeatClaim, /) -> None:
        """Give back a claim that came to nothing."""

    async def keep(self, submission: str, answer: KeptAnswer, /) -> None:
        """Keep the answer to a submission's request."""

    async def forget(self, submission: str, /) -> None:
        """Let a submission's request be judged again."""


class ReceiptKeeper(Protocol):
    """The part of `feedback_guard.votes.ReceiptBook` that the middleware uses."""

    @property
    def signer(self) -> ReceiptSigner:
        """Signs with the newest key."""

    @property
    def verifier(self) -> Verifier:
        """Believes all keys."""

    async def serve(self, key_sha256: str, output: bytes, /) -> None:
        """Keep the digest of a streamed answer."""


class JudgingGuard(Protocol):
    """The part of `feedback_guard.Guard` that the middleware uses."""

    @property
    def policy(self) -> Policy:
        """What the operator decided."""

    @property
    def clock(self) -> Clock:
        """Where the time comes from."""

    @property
    def metrics(self) -> RequestMetrics:
        """Where requests are counted."""

    @property
    def store(self) -> SubmissionReader:
        """Where submissions are read."""

    @property
    def repeats(self) -> RepeatKeeper:
        """Who has the keys of requests that may come again."""

    @property
    def receipts(self) -> ReceiptKeeper:
        """The keys of receipts."""

    @property
    def enforcing(self) -> bool:
        """Whether the guard acts; otherwise it only observes."""

    @property
    def decided(self) -> asyncio.Event:
        """Set when a decision was made in this process."""

    async def start(self) -> None:
        """Load the model and open the store; idempotent."""

    async def stop(self) -> None:
        """Let go of them; idempotent."""

    async def judge(self, submission: Submission, /) -> Judgement:
        """Judge and record a submission."""

    async def record_delivery(
        self,
        submission_id: str,
        to: Delivery,
        detail: Mapping[str, JsonValue],
        /,
        *,
        fence: int = 0,
        again: bool = False,
    ) -> None:
        """Record what the application did with a request, under the claim that it was called under."""

    async def claim_approved(self, routes: Sequence[str], limit: int = 10, *, lease_us: int = ...) -> list[Claim]:
        """Claim approved requests for this process, for a time."""

    def unseal(self, claim: Claim, /) -> bytes | None:
        """Decrypt the credentials that are kept for a claimed request."""

    async def release(self, submission_id: str, fence: int, reason: str, /) -> None:
        """Give a claim back under which the application was not called."""

    def new_id(self) -> str:
        """Make an identifier."""
