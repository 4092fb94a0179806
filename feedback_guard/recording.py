"""From verdicts to the record: what is kept of a submission, what becomes of its request, and what is counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from feedback_guard.embedding.pack import pack
from feedback_guard.errors import CredentialError
from feedback_guard.keyring import Keyring
from feedback_guard.metrics import Metrics
from feedback_guard.policy.routes import OnHold
from feedback_guard.settle import Settled
from feedback_guard.signals.interface import Observation
from feedback_guard.store.records import Judged, NewSubmission, Sealed
from feedback_guard.store.states import Delivery, Learning
from feedback_guard.submission import Submission
from feedback_guard.verdict import Decision

_LEARNING: Final = {
    Decision.ACCEPT: Learning.ACCEPTED,
    Decision.QUARANTINE: Learning.HELD,
    Decision.LIMIT: Learning.LIMITED,
    Decision.REJECT: Learning.REJECTED,
}


@dataclass(frozen=True, slots=True)
class Recording:
    """How one guard's process keeps what it judged.

    Parameters
    ----------
    enforcing
        Whether verdicts have effects; without, everything is learnt and given to the application.
    worker
        Names the process, so that what it was dispatching is found when it is lost.
    application
        Names the application that held requests are for.
    keyring
        Encrypts kept credentials; None if there are no keys.
    """

    enforcing: bool
    worker: str
    application: str
    keyring: Keyring | None

    def delivery(self, submission: Submission, decision: Decision) -> Delivery:
        """What becomes of the request."""
        if submission.request is None:
            return Delivery.NONE
        if not self.enforcing or decision is Decision.ACCEPT:
            return Delivery.DISPATCHING
        if decision is Decision.QUARANTINE:
            return Delivery.HELD if submission.on_hold is OnHold.HOLD else Delivery.DISPATCHING
        return Delivery.REFUSED

    def of(
        self,
        ident: str,
        submission: Submission,
        settled: Settled,
        delivery: Delivery,
        observations: Mapping[str, Observation],
        at_us: int,
    ) -> NewSubmission:
        """The record of a submission. A request and its credentials are kept only if it is held.

        Raises
        ------
        CredentialError
            If credentials are to be kept and there is no key.
        """
        judged = tuple(
            Judged(
                contribution=item,
                verdict=verdict,
                learning=_LEARNING[verdict.decision] if self.enforcing else Learning.ACCEPTED,
                vectors=pack(observations[item.id].vectors) if item.id in observations else b"",
            )
            for item, verdict in zip(submission.contributions, settled.verdicts, strict=True)
        )
        held = delivery is Delivery.HELD
        return NewSubmission(
            id=ident,
            route=submission.route,
            at_us=at_us,
            delivery=delivery,
            judged=judged,
            request=submission.request if held else None,
            worker=self.worker if delivery is Delivery.DISPATCHING else "",
            anonymous=submission.anonymous,
            sealed=self._seal(ident, submission) if held else None,
            body_sha256=submission.body_sha256,
            application=self.application if held else None,
        )

    def _seal(self, ident: str, submission: Submission) -> Sealed | None:
        if submission.credentials is None:
            return None
        if self.keyring is None:
            raise CredentialError("there is no key to encrypt credentials with, so they cannot be kept")
        return self.keyring.seal(submission.credentials, bound_to=ident)


def count(metrics: Metrics, submission: Submission, settled: Settled, *, has_baseline: bool) -> None:
    """Count what was decided.

    Parameters
    ----------
    has_baseline
        Whether there is anything to score by; without, that nothing was scored is no failure.
    """
    for item, verdict in zip(submission.contributions, settled.verdicts, strict=True):
        metrics.judged(submission.route, item.kind.value, verdict.decision.value)
        metrics.suspicion(verdict.suspicion)
        if verdict.unscored and has_baseline:
            metrics.failed("scoring")
            if verdict.decision is Decision.ACCEPT:
                metrics.failed_open("scoring")
    if settled.refusal is not None:
        metrics.refused_by_budget(settled.refusal.charge.budget.name)
    for budget in settled.held_by:
        metrics.refused_by_budget(budget)
    metrics.newcomers(settled.taken, settled.waiting)
