"""A guard without model and database: what it decides is written down by the test, what it is asked is kept."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from feedback_guard.clock import ManualClock
from feedback_guard.errors import FencedError, GuardError, TransitionError
from feedback_guard.limits.interface import Refusal
from feedback_guard.metrics import Metrics
from feedback_guard.policy.routes import OnHold
from feedback_guard.policy.schema import Policy
from feedback_guard.store.database import Store
from feedback_guard.store.records import Claim, Sealed, StoredContribution, StoredSubmission
from feedback_guard.store.repeats import Claim as RepeatClaim
from feedback_guard.store.repeats import Found, KeptAnswer, RepeatKey
from feedback_guard.store.states import OUTCOMES, Delivery, Learning, check_delivery
from feedback_guard.submission import Judgement, Submission
from feedback_guard.verdict import Decision, Verdict
from feedback_guard.votes import ReceiptBook
from tests.patience import PATIENCE_SECONDS

EXTRACT = "{kind: 'label', input: input, label: label}"
FEEDBACK = {"input": "where is my card?", "label": "card_arrival"}
NOW_US = 1_772_000_000_000_000


def make_policy(
    routes: Sequence[Mapping[str, Any]] = ({"name": "feedback", "path": "/feedback", "extract": EXTRACT},),
    **parts: Any,
) -> Policy:
    """A policy with one route; anonymous contributions are taken unless the test says otherwise."""
    parts.setdefault("identity", {"missing": "anonymous"})
    return Policy.model_validate({"routes": [dict(route) for route in routes], **parts})


class CountingMetrics(Metrics):
    """The real metrics, with a list of what was counted."""

    def __init__(self, routes: Sequence[str]) -> None:
        super().__init__(routes=routes)
        self.requests: list[tuple[str, str]] = []
        self.opened: list[str] = []
        self.failures: list[str] = []
        self.upstream: list[str] = []

    def request(self, route: str, outcome: str) -> None:
        super().request(route, outcome)
        self.requests.append((route, outcome))

    def failed_open(self, part: str) -> None:
        super().failed_open(part)
        self.opened.append(part)

    def failed(self, part: str) -> None:
        super().failed(part)
        self.failures.append(part)

    def upstream_failed(self, kind: str) -> None:
        super().upstream_failed(kind)
        self.upstream.append(kind)


@dataclass
class Kept:
    """One submission and what became of it."""

    submission: Submission
    verdicts: tuple[Verdict, ...]
    delivery: Delivery
    detail: dict[str, JsonValue] = field(default_factory=dict)
    history: list[Delivery] = field(default_factory=list)
    fence: int = 0
    sealed: Sealed | None = None


class FakeStore:
    """Reads submissions back."""

    def __init__(self, kept: dict[str, Kept]) -> None:
        self._kept = kept

    def submission(self, submission_id: str) -> StoredSubmission | None:
        kept = self._kept.get(submission_id)
        if kept is None:
            return None
        return StoredSubmission(
            submission_id,
            kept.submission.route,
            NOW_US,
            kept.delivery,
            1,
            tuple(
                StoredContribution(item, submission_id, verdict, Learning.APPROVED, b"")
                for item, verdict in zip(kept.submission.contributions, kept.verdicts, strict=True)
            ),
            kept.submission.request,
        )


class NoRepeats:
    """No key is known here: tests of repetitions use the real guard."""

    async def claim(self, key: RepeatKey) -> Found:
        raise AssertionError(f"a test that uses keys needs a real guard: {key}")

    async def look(self, key: RepeatKey) -> Found:
        raise AssertionError(f"a test that uses keys needs a real guard: {key}")

    async def release(self, claim: RepeatClaim) -> None:
        raise AssertionError(f"a test that uses keys needs a real guard: {claim}")

    async def keep(self, submission: str, answer: KeptAnswer) -> None:
        raise AssertionError(f"a test that uses keys needs a real guard: {submission}, {answer}")

    async def forget(self, submission: str) -> None:
        raise AssertionError(f"a test that uses keys needs a real guard: {submission}")


def no_store() -> Store:
    raise AssertionError("a test that uses up receipts needs a real guard")


class FakeGuard:
    """Same methods as the guard; states move only as the real machine allows."""

    def __init__(self, policy: Policy | None = None, *, enforcing: bool = True) -> None:
        self.policy = policy or make_policy()
        self.clock = ManualClock(NOW_US)
        self.metrics = CountingMetrics([route.name for route in self.policy.routes])
        self.enforcing = enforcing
        self.decided = asyncio.Event()
        self.kept: dict[str, Kept] = {}
        self.store = FakeStore(self.kept)
        self.repeats = NoRepeats()
        self.receipts = ReceiptBook(self.policy, no_store, self.clock)
        self.worker = "w-test"
        self.starts = self.stops = self.claims = self.lease_us = 0
        self.again: list[tuple[str, bool]] = []
        self.running = False
        self.decide_on: Callable[[Submission], Decision] = lambda _: Decision.ACCEPT
        self.refusal: Refusal | None = None
        self.start_error: GuardError | None = None
        self.judge_error: BaseException | None = None
        self.delivery_errors: list[GuardError] = []
        self.claim_errors: list[BaseException] = []
        self.judging = asyncio.Event()
        self.go_on: asyncio.Event | None = None
        """When set by a test, `judge` waits for it after it has recorded."""
        self.changed = threading.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ids = itertools.count(1)

    async def start(self) -> None:
        if self.start_error is not None:
            raise self.start_error
        self._loop = asyncio.get_running_loop()
        if not self.running:
            self.starts += 1
        self.running = True

    async def stop(self) -> None:
        if self.running:
            self.stops += 1
        self.running = False

    def new_id(self) -> str:
        return f"id-{next(self._ids)}"

    async def judge(self, submission: Submission) -> Judgement:
        if not self.running:
            await self.start()
        await asyncio.sleep(0)
        if self.judge_error is not None:
            raise self.judge_error
        decision = self.decide_on(submission)
        delivery = self._delivery(submission, decision)
        verdicts = tuple(
            Verdict(
                item.id,
                decision,
                1.0 if decision is Decision.ACCEPT else 0.0,
                0.25,
                (),
                "sha256:policy",
                None,
                retry_after_us=2_500_000 if decision is Decision.LIMIT else None,
                observed=not self.enforcing,
            )
            for item in submission.contributions
        )
        ident = f"s-{len(self.kept) + 1}"
        kept = Kept(submission, verdicts, delivery, history=[delivery])
        kept.sealed = Sealed("none", submission.credentials) if submission.credentials is not None else None
        self.kept[ident] = kept
        self._tell()
        self.judging.set()
        if self.go_on is not None:
            await self.go_on.wait()
        return Judgement(ident, verdicts, decision, delivery, not self.enforcing, self.refusal)

    def _delivery(self, submission: Submission, decision: Decision) -> Delivery:
        if submission.request is None:
            return Delivery.NONE
        if not self.enforcing or decision is Decision.ACCEPT:
            return Delivery.DISPATCHING
        if decision is Decision.QUARANTINE:
            return Delivery.HELD if submission.on_hold is OnHold.HOLD else Delivery.DISPATCHING
        return Delivery.REFUSED

    async def record_delivery(
        self,
        submission_id: str,
        to: Delivery,
        detail: Mapping[str, JsonValue],
        *,
        fence: int = 0,
        again: bool = False,
    ) -> None:
        await asyncio.sleep(0)
        if self.delivery_errors:
            raise self.delivery_errors.pop(0)
        kept = self.kept[submission_id]
        if fence != kept.fence:
            raise FencedError(f"claim {fence} of {submission_id} is over")
        self.again.append((submission_id, again))
        self._move(submission_id, to)
        self.kept[submission_id].detail = dict(detail)
        self._tell()

    def unseal(self, claim: Claim) -> bytes | None:
        return claim.sealed.data if claim.sealed is not None else None

    async def release(self, submission_id: str, fence: int, reason: str) -> None:
        await asyncio.sleep(0)
        kept = self.kept[submission_id]
        if fence != kept.fence:
            raise FencedError(f"claim {fence} of {submission_id} is over")
        self._move(submission_id, Delivery.APPROVED)
        kept.detail = {"cause": reason}
        self._tell()

    async def claim_approved(self, routes: Sequence[str], limit: int = 10, *, lease_us: int = 0) -> list[Claim]:
        self.claims += 1
        self.lease_us = lease_us
        await asyncio.sleep(0)
        if self.claim_errors:
            raise self.claim_errors.pop(0)
        claims: list[Claim] = []
        for ident, kept in self.kept.items():
            if kept.delivery is Delivery.APPROVED and kept.submission.route in routes and len(claims) < limit:
                self._move(ident, Delivery.DISPATCHING)
                kept.fence += 1
                request = kept.submission.request or b""
                claims.append(Claim(ident, kept.submission.route, request, kept.fence, kept.fence, kept.sealed))
        return claims

    def approve(self, submission_id: str) -> None:
        """Approve, from any thread; refused like a second moderator's click."""
        self._move(submission_id, Delivery.APPROVED)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.decided.set)

    def _move(self, submission_id: str, to: Delivery) -> None:
        kept = self.kept.get(submission_id)
        if kept is None:
            raise TransitionError(f"there is no {submission_id}")
        check_delivery(kept.delivery, to)
        kept.delivery = to
        kept.history.append(to)

    def _tell(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def wait_until(self, condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
        """Block until something recorded makes the condition true."""
        with self.changed:
            if not self.changed.wait_for(condition, seconds):
                states = {ident: kept.delivery for ident, kept in self.kept.items()}
                raise AssertionError(f"never came true; states: {states}, requests: {self.metrics.requests}")

    def settled(self, submission_id: str = "s-1") -> Kept:
        """Block until a submission has its outcome."""
        self.wait_until(lambda: submission_id in self.kept and self.kept[submission_id].delivery in OUTCOMES)
        return self.kept[submission_id]

    @property
    def only(self) -> Kept:
        """The one submission that there is."""
        (kept,) = self.kept.values()
        return kept
