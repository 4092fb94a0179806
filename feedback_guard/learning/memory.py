"""The guard's own state: the baseline, and what the ledger says happened since.

It has one owner, and it is a fold: the same baseline and the same ledger give the same state, in every process that
shares a store and after every restart. Nothing here reads a clock; time is the time of the events.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from feedback_guard.errors import BaselineError
from feedback_guard.evidence.accumulator import Evidence
from feedback_guard.evidence.baseline import Baseline
from feedback_guard.evidence.drift import DriftDetector, DriftStatus, Seen
from feedback_guard.evidence.entries import Charge
from feedback_guard.evidence.facets import Background
from feedback_guard.evidence.kinds.gather import Kinds
from feedback_guard.evidence.probes import PROBES, Probes
from feedback_guard.evidence.teaching import TeachingStatus
from feedback_guard.learning.staging import Staging
from feedback_guard.policy.schema import Policy
from feedback_guard.signals.disagreement import Disagreement
from feedback_guard.signals.interface import Observation, Signal
from feedback_guard.signals.registry import SIGNALS
from feedback_guard.verdict import Decision

MEASURED_EVERY = 100
"""Contributions until the pair of learners is compared on the trusted probes again: that takes milliseconds."""

log = logging.getLogger(__name__)


class Memory:
    """Detectors that follow the ledger.

    Parameters
    ----------
    policy
        Which signals are on, how long staging takes, how rare a false drift alarm must be.
    baseline
        What is normal; None leaves the guard without detectors.

    Raises
    ------
    BaselineError
        If the baseline lacks a signal that the policy asks for.
    """

    def __init__(self, policy: Policy, baseline: Baseline | None) -> None:
        self.seq = 0
        self.baseline = baseline.digest if baseline is not None else ""
        """Digest of the baseline; empty without one."""
        self.alarm_seq = 0
        """The ledger entry that raised the drift alarm; 0 while none stands."""
        self._forgives_from = policy.drift.forgives_from
        self._measured_at = 0
        self._taught: TeachingStatus | None = None
        self._suspected: list[int] = []
        self.signals: Mapping[str, Signal] = {}
        self.drift: DriftDetector | None = None
        self.evidence: Evidence | None = None
        self._staging = Staging[tuple[Callable[[], object], ...]](policy.staging.mature_after)
        if baseline is None:
            return
        wanted = [name for name, share in policy.signals.shares.items() if share > 0.0]
        missing = [name for name in wanted if name not in baseline.states]
        if missing:
            raise BaselineError(
                f"the baseline has no {missing[0]}, which the policy asks for; build it again with this version, "
                f"or set signals.{missing[0]}.share to 0"
            )
        self.signals = {name: SIGNALS[name].from_state(baseline.states[name]) for name in wanted}
        self.drift = DriftDetector.from_state(baseline.drift, expected_run_length=policy.drift.expected_run_length)
        if policy.evidence.enabled:
            reader = self.signals.get(Disagreement.name) or Disagreement.from_state(baseline.states[Disagreement.name])
            if isinstance(reader, Disagreement):
                background = Background.from_state(baseline.evidence)
                rate, kinds = policy.evidence.false_campaign_rate, Kinds.from_state(baseline.evidence)
                self.evidence = Evidence(background, reader, rate, kinds=kinds)
                self.evidence.teaching.probes = Probes.from_arrays(baseline.evidence.arrays, PROBES)

    def look(self, observations: Sequence[Observation]) -> list[Seen | None]:
        """What can be seen in contributions before they are folded in: cheaper for several at once."""
        return list(self.drift.look(observations)) if self.drift is not None else [None] * len(observations)

    def judged(
        self,
        observation: Observation,
        decision: Decision,
        at_us: int,
        campaign: str | None = None,
        *,
        baseline: str | None = None,
        seen: Seen | None = None,
    ) -> None:
        """Fold in that a contribution was judged.

        Parameters
        ----------
        campaign
            The one that the verdict gave it to.
        baseline
            Digest of the baseline that it was judged by; None for this one. The drift alarm is about the stream since
            this baseline is in use: what came before has nothing to say about it.
        seen
            What `look` gave for it; None looks now.
        """
        for signal in self.signals.values():
            signal.witness(observation)
        if self.drift is not None and baseline in (None, self.baseline):
            before = self.drift.alarm
            self.drift.witness(observation, seen)
            if self.drift.alarm and not before:
                self.alarm_seq = self.seq
        if self.evidence is not None:
            self.evidence.witness(observation, decision, at_us, campaign)
        if decision is Decision.ACCEPT:
            self._stage(observation, at_us)
        self.advance(at_us)

    def approved(self, observation: Observation, at_us: int) -> None:
        """Fold in that a moderator let a contribution through."""
        if self.evidence is not None:
            self.evidence.approved(observation)
        self._stage(observation, at_us)
        self.advance(at_us)

    def withdrawn(self, ident: str, at_us: int) -> None:
        """Fold in that an accepted contribution is held again, or that a moderator refused it."""
        self._staging.withdraw(ident)
        if self.evidence is not None:
            self.evidence.withdrawn(ident)
        self.advance(at_us)

    def take_pulled(self) -> list[Charge]:
        """Accepted contributions that turned out to belong to a campaign since the last call."""
        return [] if self.evidence is None else self.evidence.following.take_pulled()

    def ruled(self, campaign: str, ruled: str) -> None:
        """Fold in how moderators decided on a campaign: `denied`, `approved`, or not whole."""
        if self.evidence is not None:
            self.evidence.following.rule(campaign, denied=ruled == "denied")

    def acknowledged(self, baseline: str) -> None:
        """Fold in that somebody acknowledged the drift alarm of a baseline."""
        if self.drift is not None and baseline == self.baseline:
            self.drift.acknowledge()
            self.alarm_seq = 0

    def advance(self, now_us: int) -> None:
        """Learn from what has become mature."""
        for lessons in self._staging.mature(now_us):
            for learn in lessons:
                learn()

    def _stage(self, observation: Observation, at_us: int) -> None:
        """Let what detectors will learn from an accepted contribution wait until it is mature."""
        lessons = [signal.later(observation) for signal in self.signals.values()]
        self._staging.add(observation.contribution.id, at_us, tuple(each for each in lessons if each is not None))

    def changed(self) -> bool:
        """Whether the stream has left the trusted set, in the hands of many: being unlike it then holds nothing."""
        drift, least = self.drift, self._forgives_from
        return drift is not None and drift.alarm and 0 < least <= drift.crowd

    @property
    def teaching(self) -> TeachingStatus | None:
        """What the stream teaches; None without evidence.

        Its divergence is measured anew after every `MEASURED_EVERY` contributions, and when a suspicion begins or ends.
        """
        if self.evidence is None:
            return None
        teaching, n_seen = self.evidence.teaching, self.evidence.n_seen
        suspected = teaching.parting.suspected
        due = self._taught is None or n_seen >= self._measured_at or suspected != self._suspected
        if due:
            self._measured_at, self._suspected = n_seen + MEASURED_EVERY, suspected
        self._taught = teaching.status(0, divergence=None if due or self._taught is None else self._taught.divergence)
        return self._taught

    @property
    def status(self) -> DriftStatus | None:
        """How far the stream has moved from the baseline; None without one."""
        return self.drift.status if self.drift is not None else None
