"""Budgets on searching for the boundary: charged with the verdict, and refused without regard to what it would be.

Each answer that depends on the detectors tells at most one bit (accepted or held). Who has a direction to search in
finds the boundary along it by halving, about ten answers for one part in a thousand; in all of a space of d dimensions
it takes on the order of d * log2(1 / precision). So what is bounded is how many *held* answers a contributor gets,
since nobody learns where the boundary is from acceptances alone, and how many near copies of one text she has judged.

Near copies share a key (`variants`).

References
----------
Lowd, D., Meek, C. (2005). Adversarial learning. KDD.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from feedback_guard.assessment import Assessment
from feedback_guard.contribution import Contribution
from feedback_guard.limits.interface import UNIT, Budget, BudgetStore, Charge, Measure, Refusal, merged
from feedback_guard.policy.probing import ProbingBudget, ProbingPolicy
from feedback_guard.submission import Submission
from feedback_guard.verdict import Decision

HELD: Final = "probing-held"
NEAR_COPIES: Final = "probing-near-copies"
NAMES: Final = (HELD, NEAR_COPIES)
"""What the budgets are called in reasons, answers and metrics."""


@dataclass(frozen=True, slots=True)
class Probing:
    """The budgets of one policy.

    Parameters
    ----------
    policy
        How much of what.
    """

    policy: ProbingPolicy = field(default_factory=ProbingPolicy)
    _budgets: tuple[Budget | None, Budget | None] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        held, near = self.policy.held, self.policy.near_copies
        budgets = (
            None if held is None else _budget(HELD, held, Measure.TOLD),
            None if near is None else _budget(NEAR_COPIES, near, Measure.COUNT),
        )
        object.__setattr__(self, "_budgets", budgets)

    def early(self, submission: Submission) -> list[Charge]:
        """What must have room before anything costly is done."""
        return self.held(submission)

    def lookups(self, submission: Submission, assessments: Sequence[Assessment]) -> list[Charge]:
        """Every counter that is needed."""
        return [*self.held(submission), *self.near(submission, assessments)]

    def charge(
        self, submission: Submission, assessments: Sequence[Assessment], budgets: BudgetStore, now_us: int
    ) -> Refusal | None:
        """Charge what judging a submission tells, or say what has no room.

        There must be room for a held answer even if it is none; otherwise the limit would tell which it is.

        Parameters
        ----------
        assessments
            As the detectors proposed them. What could not be scored is held, too, and tells nothing.
        """
        near, held = self.near(submission, assessments), self.held(submission)
        both = [*near, *held]
        told = any(each.decision is not Decision.ACCEPT and not each.unscored for each in assessments)
        if told:
            return budgets.charge(both, now_us)
        return budgets.peek(both, now_us) or budgets.charge(near, now_us)

    def held(self, submission: Submission) -> list[Charge]:
        """One held answer for each contributor: there must be room for it, whatever the answer is."""
        budget = self._budgets[0]
        if budget is None:
            return []
        names = {_name(item, anonymous=submission.anonymous) for item in submission.contributions}
        return [Charge(budget, name, UNIT) for name in sorted(names)]

    def near(self, submission: Submission, assessments: Sequence[Assessment]) -> list[Charge]:
        """What near copies cost who had them judged."""
        budget = self._budgets[1]
        if budget is None:
            return []
        return merged(
            Charge(budget, f"{len(key)}:{key}{name}", UNIT)
            for item, each in zip(submission.contributions, assessments, strict=True)
            for name in (_name(item, anonymous=submission.anonymous),)
            for key in each.variants
        )


def _budget(name: str, policy: ProbingBudget, measure: Measure) -> Budget:
    burst = policy.amount if policy.burst is None else policy.burst
    return Budget(name, "contributor", measure, policy.amount * UNIT, policy.per, burst * UNIT)


def _name(item: Contribution, *, anonymous: bool) -> str:
    """Whose budget it is. Those without a name share one in each network, so that one of them cannot stop them all."""
    if not anonymous:
        return f"id:{item.contributor}"
    return f"anonymous:{item.groups.get('network', '')}"
