"""From an observation to a proposed verdict: pure, without network, disk or clock.

The way: signals -> evidence -> combination -> weight. Signals speak about one contribution. Evidence, what many
contributions teach together, joins as further findings before the combination, so that one bound covers both.
Budgets come later, in the transaction that records the verdict, because only there are they exact.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from feedback_guard.assessment import NOTHING, Assessment
from feedback_guard.contribution import Contribution, Kind
from feedback_guard.errors import SignalError
from feedback_guard.evidence.accumulator import Evidence
from feedback_guard.limits.contents import Contents
from feedback_guard.policy.signals import SignalsPolicy
from feedback_guard.signals.combine import combine
from feedback_guard.signals.interface import Condition, Finding, Observation, Signal
from feedback_guard.verdict import MAX_REASONS, Decision, Reason

log = logging.getLogger(__name__)


class Assessor:
    """Judges observations by the signals of one baseline under one policy.

    Parameters
    ----------
    policy
        How findings become a hold and a weight.
    signals
        The detectors, by name; empty without a baseline.
    labels
        The labels that the trusted set knows.
    fail_open
        Whether a contribution that cannot be scored passes.
    evidence
        What contributions teach together; None judges each by itself.
    contents
        Reads what is said in a contribution, for budgets; None where no budget asks.
    after_denial
        What becomes of later members of a campaign that a moderator denied.
    variants
        Names what near copies have in common; None where no budget asks.
    changed
        Whether the stream as a whole has left the trusted set, so that nothing is held for being unlike it alone.
    forgiven_weight
        What is then accepted for that reason teaches so much at most, 0..1.
    """

    def __init__(
        self,
        policy: SignalsPolicy,
        signals: Mapping[str, Signal],
        *,
        labels: frozenset[str],
        fail_open: bool,
        evidence: Evidence | None = None,
        contents: Contents | None = None,
        after_denial: Literal["hold", "reject"] = "hold",
        variants: Callable[[Observation], tuple[str, ...]] | None = None,
        changed: Callable[[], bool] = bool,
        forgiven_weight: float = 0.5,
    ) -> None:
        self._policy = policy
        self._shares = {name: share for name, share in policy.shares.items() if share > 0.0}
        self._signals = {name: signal for name, signal in signals.items() if name in self._shares}
        self._labels = labels
        self._fail_open = fail_open
        self._evidence = evidence
        self._contents = contents
        self._rejects = after_denial == "reject"
        self._variants = variants
        self._changed = changed
        self._forgiven_weight = forgiven_weight
        self._unlike = frozenset(name for name, signal in self._signals.items() if signal.only_unlike)

    @property
    def has_baseline(self) -> bool:
        """Whether there is anything to judge by."""
        return bool(self._signals)

    def assess(self, observation: Observation) -> Assessment:
        """Judge one observation. The detectors' state stays as it is."""
        if not self.has_baseline:
            return unjudged("there is no baseline: nothing was scored, the guard only observes")
        findings: list[Finding] = []
        for name, signal in self._signals.items():
            try:
                findings.append(signal.score(observation))
            except Exception as error:
                log.exception("the signal %s failed", name)
                cause = error if isinstance(error, SignalError) else type(error).__name__
                return self.failed(f"the signal {name} failed ({cause})")
        return self._assess(observation, findings)

    def assess_all(self, observations: Sequence[Observation]) -> list[Assessment]:
        """`assess` for each of several. One signal after the other is cheaper: what it needs is at hand then."""
        if len(observations) > 1 and self.has_baseline:
            try:
                found = [signal.score_all(observations) for signal in self._signals.values()]
            except Exception:  # noqa: BLE001 - told below, for the one that it is about
                log.debug("a signal failed on one of %d contributions", len(observations))
            else:
                return [self._assess(*each) for each in zip(observations, zip(*found, strict=True), strict=True)]
        return [self.assess(observation) for observation in observations]

    def _assess(self, observation: Observation, findings: Sequence[Finding]) -> Assessment:
        assessment = self._conclude(observation.contribution, findings)
        if self._evidence is not None:
            assessment = self._with_evidence(assessment, observation, self._evidence)
            name, following = assessment.campaign, self._evidence.following
            if self._rejects and name is not None and following.is_denied(name):
                denied = Reason("evidence", f"a moderator denied {name}, which it belongs to")
                reasons = (denied, *assessment.reasons[: MAX_REASONS - 1])
                assessment = replace(assessment, decision=Decision.REJECT, weight=0.0, reasons=reasons)
        content = NOTHING
        if self._contents is not None and assessment.weight > 0.0:  # whatever is accepted is charged for what it says
            try:
                content = self._contents.of(observation)
            except Exception as error:
                log.exception("what is said could not be read for the budgets")
                why = type(error).__name__
                assessment = self.failed(f"what is said could not be read for the budgets ({why})")
        variants = () if self._variants is None else self._variants(observation)
        return Assessment(
            assessment.decision,
            assessment.weight,
            assessment.suspicion,
            assessment.reasons,
            assessment.unscored,
            assessment.campaign,
            content,
            variants,
        )

    def _with_evidence(self, assessment: Assessment, observation: Observation, evidence: Evidence) -> Assessment:
        """Hold what belongs to a campaign, whatever it looks like by itself."""
        try:
            charge = evidence.charge(observation)
        except Exception as error:
            log.exception("the evidence failed")
            return self.failed(f"the evidence failed ({type(error).__name__})")
        if charge is None:
            return assessment
        reason = Reason("evidence", charge.message, charge.p_value, charge.facet)
        return replace(
            assessment,
            decision=Decision.QUARANTINE,
            weight=0.0,
            suspicion=max(assessment.suspicion, 1.0 - charge.p_value),
            reasons=(reason, *assessment.reasons[: MAX_REASONS - 1]),
            campaign=charge.campaign,
        )

    def failed(self, what: str) -> Assessment:
        """What becomes of a contribution that could not be scored: a hold, unless the policy fails open."""
        if self._fail_open:
            return Assessment(
                Decision.ACCEPT, 1.0, 1.0, (Reason("guard", f"{what}; passed because the policy fails open"),), True
            )
        return Assessment(Decision.QUARANTINE, 0.0, 1.0, (Reason("guard", f"could not be scored: {what}"),), True)

    def _conclude(self, contribution: Contribution, findings: Sequence[Finding]) -> Assessment:
        if all(finding.condition is not Condition.SCORED for finding in findings):
            said = "; ".join(f"{finding.signal}: {finding.message}" for finding in findings)
            return self.failed(f"no detector can judge a {contribution.kind} here ({said})")
        combined = combine(findings, self._shares)
        line = self._policy.false_hold_rate
        held = combined.p_value <= line
        weight = 0.0 if held else self._weight(combined.p_value)
        reasons = [
            Reason(finding.signal, finding.message, finding.p_value, finding.facet)
            for finding in combined.leading[:MAX_REASONS]
        ]
        if weight < self._forgiven_weight and self._changed():
            # Their p-values are of a stream that resembles the trusted set, and the drift alarm says that it does not.
            rest = combine([each for each in findings if each.signal not in self._unlike], self._shares).p_value
            if rest > line:
                weight = max(weight, min(self._forgiven_weight, self._weight(rest)))
                held, reasons = False, [*reasons[: MAX_REASONS - 1], _FORGIVEN]
        if contribution.kind is Kind.LABEL and contribution.label not in self._labels:
            reasons.append(Reason("disagreement", "the trusted set has never seen this label"))
            held = held or self._policy.unknown_label == "quarantine"
            weight = 0.0 if held else min(weight, self._policy.unknown_label_weight)
        leading = combined.leading[0]
        return Assessment(
            Decision.QUARANTINE if held else Decision.ACCEPT,
            weight,
            1.0 - combined.p_value,
            tuple(reasons),
            # near copies by many accounts are one campaign by themselves: a moderator decides on them as one
            campaign=leading.facet.replace(":", "-", 1)
            if held and leading.signal == "near_duplicate" and leading.facet
            else None,
        )

    def _weight(self, p_value: float) -> float:
        """Grow linearly from the hold line to `full_weight_at` times it, rounded to a millionth."""
        line = self._policy.false_hold_rate
        full = line * self._policy.full_weight_at
        if p_value >= full:
            return 1.0
        return round(max(0.0, (p_value - line) / (full - line)), 6)


_FORGIVEN = Reason(
    "guard",
    "it is unlike the trusted set, and so is the stream by now: the drift alarm stands, so that alone holds nothing",
)


def unjudged(why: str) -> Assessment:
    """An assessment where nothing could be judged and nothing may be stopped: observing without a baseline."""
    return Assessment(Decision.ACCEPT, 1.0, 0.0, (Reason("guard", why),), unscored=True)
