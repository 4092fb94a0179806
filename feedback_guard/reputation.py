"""Weights multiplied by reputation, between assessment and budgets; and what is staked when something is accepted.

The assessor proposes a weight, the limiter multiplies it by min(1, reputation) of whoever contributes, then budgets are
charged. The middleware, the gateway and `replay` do the same, with another `Bank`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Self

from feedback_guard.assessment import Assessment
from feedback_guard.evidence.baseline import Baseline
from feedback_guard.learning.audit import AuditSet, belief_in
from feedback_guard.learning.audit_files import load
from feedback_guard.limits.bankroll import MICRO, PICO
from feedback_guard.limits.reputation import UNKNOWN_BELIEF, Bank, Earned, Probe, Stake, Terms, identity_of
from feedback_guard.policy.schema import Policy
from feedback_guard.settle import Settled
from feedback_guard.signals.disagreement import Disagreement
from feedback_guard.signals.interface import Observation
from feedback_guard.submission import Submission
from feedback_guard.terms import terms_of
from feedback_guard.verdict import Decision, Reason


@dataclass(frozen=True, slots=True)
class Reading:
    """What a contribution is measured against: whether it is right, and an audit item."""

    belief: int = UNKNOWN_BELIEF
    probe: Probe | None = None


class Limiter:
    """Multiplies weights by reputation, and stakes what is accepted.

    Parameters
    ----------
    terms
        The operator's constants.
    mature_after_us
        Microseconds between acceptance and audit.
    audit
        The audit set; None where only moderators measure.
    reader
        The anchored model; None where nothing was fitted.
    least
        Balance from which one is established, in pico-units.
    """

    def __init__(
        self,
        terms: Terms,
        mature_after_us: int,
        *,
        audit: AuditSet | None = None,
        reader: Disagreement | None = None,
        least: int = PICO,
    ) -> None:
        self.terms = terms
        self.standing = Earned(least)
        """Who is established by reputation."""
        self._mature_after_us = mature_after_us
        self._audit = audit
        self._reader = reader

    @classmethod
    def of(cls, policy: Policy, baseline: Baseline | None, *, fingerprint: str) -> Self | None:
        """The limiter that a policy asks for; None if it asks for none.

        Raises
        ------
        BaselineError
            If the audit set is missing, altered, or of another model.
        """
        about = policy.reputation
        if not about.enabled:
            return None
        audit = None
        if about.audit is not None:
            audit = load(Path(about.audit), fingerprint=fingerprint, digest=about.audit_digest)
        state = baseline.states.get(Disagreement.name) if baseline is not None else None
        reader = Disagreement.from_state(state) if state is not None else None
        least = int(Fraction(str(about.established_at)) * PICO)
        return cls(terms_of(about), policy.staging.mature_after, audit=audit, reader=reader, least=least)

    def read(self, observation: Observation) -> Reading:
        """What a contribution will be measured against. Pure, and without the store."""
        return Reading(
            belief=UNKNOWN_BELIEF if self._reader is None else belief_in(self._reader, observation),
            probe=None if self._audit is None else self._audit.probe(observation),
        )

    def shade(self, bank: Bank, submission: Submission, assessments: Sequence[Assessment]) -> list[Assessment]:
        """Multiply the proposed weights by the reputation of whoever contributes, with a reason."""
        return [
            self._shaded(bank, identity_of(item.contributor, anonymous=submission.anonymous), assessment)
            if assessment.weight > 0.0
            else assessment
            for item, assessment in zip(submission.contributions, assessments, strict=True)
        ]

    def _shaded(self, bank: Bank, identity: str, assessment: Assessment) -> Assessment:
        influence = bank.account(identity).influence
        weight = self.terms.weight_micro(round(assessment.weight * MICRO), influence) / MICRO
        if weight >= assessment.weight:
            return assessment
        share = max(self.terms.floor, influence) / PICO
        why = Reason(
            "reputation",
            f"its contributor has earned {share:.3%} of full weight by measured improvement so far",
            facet="contributor",
        )
        return replace(assessment, weight=weight, reasons=(*assessment.reasons, why))

    def stake(
        self,
        bank: Bank,
        submission: Submission,
        assessments: Sequence[Assessment],
        settled: Settled,
        readings: Mapping[str, Reading],
        at_us: int,
    ) -> None:
        """Stake what was accepted, and note what is held for the moderator's decision.

        Parameters
        ----------
        assessments
            As they were before `shade`.
        settled
            What became of them. Nothing is staked for what a budget refused.
        readings
            By contribution; one that could not be scored has none, and is measured against the unknown.
        """
        for item, assessment, verdict in zip(submission.contributions, assessments, settled.verdicts, strict=True):
            if verdict.decision not in (Decision.ACCEPT, Decision.QUARANTINE):
                continue
            identity = identity_of(item.contributor, anonymous=submission.anonymous)
            accepted = verdict.decision is Decision.ACCEPT
            account = bank.open(identity, item.id, at_us) if accepted else bank.account(identity)
            reading = readings.get(item.id, Reading())
            bank.add(
                Stake(
                    contribution=item.id,
                    identity=identity,
                    base_micro=round(assessment.weight * MICRO) if accepted else 0,
                    influence=account.influence,
                    mature_us=at_us + self._mature_after_us,
                    belief=reading.belief,
                    probe=reading.probe if accepted else None,
                )
            )
