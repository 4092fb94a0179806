"""From proposals to verdicts, where the budgets are: inside the transaction, or in `replay`'s memory.

A submission passes whole or not at all. Attempts are charged for everything that was judged; weight only for what is
accepted, so that a refused contribution never uses up influence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from feedback_guard.assessment import Assessment
from feedback_guard.contribution import Contribution
from feedback_guard.limits.bill import Bill
from feedback_guard.limits.charging import counters_of
from feedback_guard.limits.interface import UNIT, Budget, BudgetRecord, Charge, Measure, Refusal, merged
from feedback_guard.limits.newcomers import POOL, Newcomers
from feedback_guard.limits.plan import Plan, budget_of
from feedback_guard.limits.probing import NAMES, Probing
from feedback_guard.policy.limits import LimitPolicy
from feedback_guard.policy.routes import OnHold
from feedback_guard.room import Room, Screened
from feedback_guard.submission import Submission
from feedback_guard.verdict import Decision, Reason, Verdict


@dataclass(frozen=True, slots=True)
class Settled:
    """Final verdicts of a submission.

    Parameters
    ----------
    verdicts
        One for each contribution, in order.
    refusal
        The budget that refused it, if one did.
    held_by
        Names of budgets that held a contribution, one for each that was.
    taken, waiting
        Contributions of newcomers that their pool had room for, and those that it had none for.
    turned_away
        Whether it was refused before anything of it was judged: the detectors do not follow it.
    """

    verdicts: tuple[Verdict, ...]
    refusal: Refusal | None
    held_by: tuple[str, ...] = ()
    taken: int = 0
    waiting: int = 0
    turned_away: bool = False

    @property
    def decision(self) -> Decision:
        """The worst decision; it decides what happens to the request."""
        return max((verdict.decision for verdict in self.verdicts), key=lambda decision: decision.severity)


@dataclass(frozen=True, slots=True)
class Settler:
    """Turns assessments into verdicts under one policy.

    Parameters
    ----------
    limits
        The policy's budgets.
    policy, baseline
        Digests that every verdict names.
    observed
        True when the guard only observes.
    newcomers
        Who is new, and what all that are new may teach; None makes no difference.
    probing
        What searching for the boundary costs.
    """

    limits: tuple[LimitPolicy, ...]
    policy: str
    baseline: str | None
    observed: bool
    newcomers: Newcomers | None = None
    probing: Probing = field(default_factory=Probing)
    room: Room = field(init=False, repr=False, compare=False)
    """The budgets that hold."""
    _plan: Plan = field(init=False, repr=False, compare=False)
    _refusing: Plan = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "room", Room(self.limits, self.newcomers))
        object.__setattr__(self, "_plan", Plan(self.limits))
        object.__setattr__(self, "_refusing", Plan(limit for limit in self.limits if not limit.holds))

    @property
    def forgettable(self) -> list[Budget]:
        """Budgets some of whose counters say nothing any more after a while."""
        own = [budget_of(limit) for limit in self.limits if limit.per is not None or limit.facet == "radius"]
        return own if self.newcomers is None else [*own, *self.newcomers.forgettable]

    def bill(self, submission: Submission, assessments: Sequence[Assessment], now_us: int) -> Bill:
        """What settling will charge if all goes well, and every counter that it is likely to need."""
        if not _all_accepted(submission, assessments):
            probing = self.probing.lookups(submission, assessments)
            lookups = [*self.early(submission), *probing, *self.room.lookups(submission, assessments, now_us)]
            return Bill(assessments, (), (), counters_of(lookups))
        charges = self._all(submission, assessments)
        counters = counters_of(charges)
        others = [*self.probing.held(submission), *self.room.newcomer_lookups(submission, now_us)]
        return Bill(assessments, charges, counters, [*counters, *counters_of(others)], self.room.spots(assessments))

    def attempts(self, submission: Submission) -> list[Charge]:
        """What judging a submission costs, whatever the verdict."""
        return merged(
            [
                charge
                for item in submission.contributions
                for charge in self._plan.of_sender(item, anonymous=submission.anonymous, attempts=1)
            ],
            of=len(submission.contributions),
        )

    def early(self, submission: Submission) -> list[Charge]:
        """What must have room before anything costly is done: the least weight there is, and the attempts."""
        return [*self._least(submission), *self.probing.early(submission), *self.attempts(submission)]

    def _least(self, submission: Submission) -> list[Charge]:
        """The least that teaching costs who sends: a micro-unit of weight each, where that is refused without room."""
        return merged(
            [
                charge
                for item in submission.contributions
                for charge in self._refusing.of_sender(item, anonymous=submission.anonymous, weight_micro=1)
            ],
            of=len(submission.contributions),
        )

    def settle(
        self,
        submission: Submission,
        assessments: Sequence[Assessment],
        budgets: BudgetRecord,
        now_us: int,
        bill: Bill | None = None,
    ) -> Settled:
        """Charge the budgets and return the final verdicts.

        Whoever has no room for the least that a contribution costs is turned away here as well as before anything
        costly is done: what a process remembers of budgets saves work, and decides nothing.

        Parameters
        ----------
        submission
            What was offered.
        assessments
            One for each contribution, in order.
        budgets
            Charged here; nothing is charged for a submission whose attempts find no room.
        now_us
            The time of the charge.
        bill
            As `bill` made it before, if it did; another one for other assessments is of no use, and does no harm.
        """
        taken = self._charge_at_once(submission, assessments, budgets, now_us, bill)
        if taken is not None:
            return self._passed(submission, Screened(list(assessments), [], taken), budgets, now_us)
        settled = assessments
        if submission.on_hold is OnHold.HOLD or any(each.decision is Decision.REJECT for each in assessments):
            settled = _hold_together(assessments)
        # Budgets that refuse are asked first: whoever has used up her own may not use up what others share.
        n = len(submission.contributions)
        charges = merged(self.room.charges(submission, settled, hold=False), of=n)
        full = budgets.peek(charges, now_us)
        refusal = None
        if full is not None or any(each.weight * UNIT < 1.0 for each in settled):  # else the least has room, too
            refusal = budgets.peek(self._least(submission), now_us)
        if refusal is None and (told := self.probing.early(submission)):
            refusal = budgets.peek(told, now_us)
        refusal = refusal or budgets.charge(self.attempts(submission), now_us)
        if refusal is not None:
            return self.turn_away(submission, refusal, budgets, now_us)
        refusal = self.probing.charge(submission, assessments, budgets, now_us) or full
        if refusal is not None:
            return self.limited(submission, settled, refusal)
        screened = self.room.screen(submission, settled, budgets, now_us)
        if screened.held_by:
            charges = merged(self.room.charges(submission, screened.assessments, hold=False), of=n)
        refusal = screened.refusal or budgets.charge(charges, now_us)
        if refusal is not None:
            return replace(self.limited(submission, settled, refusal), waiting=screened.waiting)
        return self._passed(submission, screened, budgets, now_us)

    def _charge_at_once(
        self,
        submission: Submission,
        assessments: Sequence[Assessment],
        budgets: BudgetRecord,
        now_us: int,
        bill: Bill | None,
    ) -> int | None:
        """Charge all budgets in one step, where all is accepted and has room: the usual case.

        Returns
        -------
        int or None
            Contributions of newcomers among them. None if something stands in the way; then nothing was charged, and
            `settle` finds out step by step what it is.
        """
        if not _all_accepted(submission, assessments):
            return None
        if budgets.peek(self.probing.held(submission), now_us) is not None:
            return None
        mark = budgets.placed()
        taken = self.room.place_at_once(submission, assessments, budgets, now_us)
        if taken is None:
            return None
        if bill is not None and bill.is_for(assessments):
            refusal = budgets.charge_counters(bill.charges, bill.counters, now_us)
        else:
            refusal = budgets.charge(self._all(submission, assessments), now_us)
        if refusal is None:
            return taken
        budgets.take_back(mark)
        return None

    def _all(self, submission: Submission, assessments: Sequence[Assessment]) -> list[Charge]:
        """Every charge of a submission of which everything is accepted."""
        return [
            *self.attempts(submission),
            *self.probing.near(submission, assessments),
            *self.room.charges(submission, assessments, hold=True),
            *self.room.charges(submission, assessments, hold=False),
        ]

    def _passed(self, submission: Submission, screened: Screened, budgets: BudgetRecord, now_us: int) -> Settled:
        """Make the verdicts of a submission that no budget refuses."""
        self.room.remember(submission, screened.assessments, budgets, now_us)
        return Settled(
            tuple(
                self._verdict(item, assessment)
                for item, assessment in zip(submission.contributions, screened.assessments, strict=True)
            ),
            None,
            tuple(screened.held_by),
            screened.taken,
            screened.waiting,
        )

    def turn_away(self, submission: Submission, refusal: Refusal, budgets: BudgetRecord, now_us: int) -> Settled:
        """Make verdicts of a submission that is refused before anything of it is judged."""
        if concealed(submission, refusal):
            # To a client that must not learn of it, a refused contribution counts like any other.
            refusal = budgets.charge(self.attempts(submission), now_us) or refusal
        limited = self.limited(submission, [None] * len(submission.contributions), refusal)
        return replace(limited, turned_away=True)

    def limited(self, submission: Submission, assessments: Sequence[Assessment | None], refusal: Refusal) -> Settled:
        """Make verdicts of a submission that a budget has no room for."""
        budget = refusal.charge.budget
        kind = "how often" if budget.measure.value == "count" else "how much"
        reason = Reason(
            f"limit:{budget.name}",
            "new contributors share a pool, which a lottery deals out among them; there was no room for this one"
            if budget.name == POOL
            else "variants of one text, and answers that something is held, are bounded: they may be a search for what "
            "passes; there was no room for another"
            if budget.name in NAMES
            else f"the budget {budget.name} bounds {kind} a {budget.facet.removeprefix('group:')} may teach; it has no"
            " room",
            facet=budget.facet,
        )
        verdicts = []
        for item, assessment in zip(submission.contributions, assessments, strict=True):
            base = Assessment(Decision.LIMIT, 0.0, assessment.suspicion if assessment else 0.0, ())
            reasons = (reason, *(assessment.reasons if assessment else ()))
            verdict = self._verdict(item, replace(base, reasons=reasons))
            verdicts.append(replace(verdict, retry_after_us=refusal.retry_after_us))
        return Settled(tuple(verdicts), refusal)

    def _verdict(self, item: Contribution, assessment: Assessment) -> Verdict:
        return Verdict(
            id=item.id,
            decision=assessment.decision,
            weight=assessment.weight,
            suspicion=min(1.0, max(0.0, assessment.suspicion)),
            reasons=assessment.reasons,
            policy=self.policy,
            baseline=self.baseline,
            campaign=assessment.campaign,
            observed=self.observed,
            unscored=assessment.unscored,
        )


def _all_accepted(submission: Submission, assessments: Sequence[Assessment]) -> bool:
    """Whether all is accepted with some weight, and finds room or does not as a whole."""
    if len(assessments) > 1 and submission.on_hold is not OnHold.HOLD:
        return False
    return all(each.decision is Decision.ACCEPT and each.weight * UNIT >= 1.0 for each in assessments)


def concealed(submission: Submission, refusal: Refusal | None) -> bool:
    """Whether the client must not learn of a refusal.

    How often somebody sent something, he knows. What a budget of weight has left depends on what was accepted
    before, and what one of told answers has left on what was held, so a refusal by one would tell.
    """
    return submission.conceal and refusal is not None and refusal.charge.budget.measure is not Measure.COUNT


def _hold_together(assessments: Sequence[Assessment]) -> list[Assessment]:
    """One request cannot reach the application in parts: if one contribution is held or rejected, all of them are."""
    if all(assessment.decision is Decision.ACCEPT for assessment in assessments):
        return list(assessments)
    if any(assessment.decision is Decision.REJECT for assessment in assessments):
        beside = Reason("guard", "came in one request with a contribution that is rejected")
        return [
            item
            if item.decision is Decision.REJECT
            else replace(item, decision=Decision.REJECT, weight=0.0, reasons=(*item.reasons, beside))
            for item in assessments
        ]
    companion = Reason("guard", "came in one request with a contribution that is held")
    return [
        replace(item, decision=Decision.QUARANTINE, weight=0.0, reasons=(*item.reasons, companion))
        if item.decision is Decision.ACCEPT
        else item
        for item in assessments
    ]
