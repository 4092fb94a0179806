"""Budgets that hold: what has no room there waits for a moderator instead of being refused.

They are about what is said, and about who is new: facets that are known only once a contribution was read. All of it
is charged in the transaction of the verdict, so that a crash leaves either both or neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from feedback_guard.assessment import Assessment
from feedback_guard.contribution import Contribution
from feedback_guard.limits.charging import budget_key
from feedback_guard.limits.interface import UNIT, Budget, BudgetRecord, Charge, Measure, Refusal, Spot, merged
from feedback_guard.limits.newcomers import POOL, Newcomers
from feedback_guard.limits.plan import Plan, budget_of
from feedback_guard.limits.support import is_lifted, support, wants_support
from feedback_guard.policy.limits import LimitPolicy
from feedback_guard.policy.routes import OnHold
from feedback_guard.submission import Submission
from feedback_guard.verdict import MAX_REASONS, Decision, Reason

_WORDS = {
    "family": "near copies of one text",
    "radius": "texts that lie so close together",
    "phrase": "contributions with one rare word",
    "pair": "contributions with one rare pair of words",
    "target": "contributions that teach the same",
}


@dataclass(slots=True)
class Screened:
    """Assessments after the budgets that hold.

    Parameters
    ----------
    assessments
        One for each contribution, in order; what found no room is held by now.
    held_by
        Names of the budgets that had none, one for each contribution that was held.
    taken, waiting
        Contributions of newcomers that their pool had room for, and those that it had none for.
    refusal
        Set where the policy refuses newcomers for whom there is no room.
    """

    assessments: list[Assessment]
    held_by: list[str]
    taken: int = 0
    waiting: int = 0
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Room:
    """Looks for room in the budgets that are about what is said and about who is new.

    Parameters
    ----------
    limits
        The policy's limits.
    newcomers
        Who is new; None leaves newcomers and supporters out.
    """

    limits: tuple[LimitPolicy, ...]
    newcomers: Newcomers | None = None
    _plans: tuple[Plan, Plan] = field(init=False, repr=False, compare=False)
    _near: tuple[tuple[Budget, LimitPolicy], ...] = field(init=False, repr=False, compare=False)
    _phrases: tuple[LimitPolicy, ...] = field(init=False, repr=False, compare=False)
    """Limits that supporters lift."""

    def __post_init__(self) -> None:
        plans = (
            Plan(limit for limit in self.limits if not limit.holds),
            Plan(each for each in self.limits if each.holds),
        )
        near = tuple((budget_of(limit), limit) for limit in self.limits if limit.radius is not None)
        object.__setattr__(self, "_plans", plans)
        object.__setattr__(self, "_near", near)
        object.__setattr__(self, "_phrases", tuple(limit for limit in self.limits if limit.supporters is not None))

    def lookups(self, submission: Submission, assessments: Sequence[Assessment], now_us: int) -> list[Charge]:
        """Every counter that a submission is likely to need, to be read at once."""
        found = [charge for hold in (False, True) for charge in self.charges(submission, assessments, hold=hold)]
        return found + self.newcomer_lookups(submission, now_us) if found else found

    def newcomer_lookups(self, submission: Submission, now_us: int) -> list[Charge]:
        """Every counter that says who is new."""
        if self.newcomers is None:
            return []
        return self.newcomers.lookups([item.contributor for item in submission.contributions], now_us)

    def charges(self, submission: Submission, assessments: Sequence[Assessment], *, hold: bool) -> list[Charge]:
        """What the accepted contributions cost the budgets that hold, or those that refuse."""
        pairs = zip(submission.contributions, assessments, strict=True)
        return [charge for item, each in pairs for charge in self._charges(submission, item, each, hold=hold)]

    def screen(
        self, submission: Submission, assessments: Sequence[Assessment], budgets: BudgetRecord, now_us: int
    ) -> Screened:
        """Charge the budgets that hold, and hold what they have no room for.

        A request that is kept whole is charged whole, or not at all; of one that passes anyway, each contribution.
        """
        screened = Screened(list(assessments), [])
        good = [place for place, each in enumerate(assessments) if each.weight > 0.0]
        whole = submission.on_hold is OnHold.HOLD and bool(good)
        for places in [good] if whole else [[place] for place in good]:
            self._screen(submission, places, screened, budgets, now_us)
            if screened.refusal is not None:
                break
        return screened

    def place_at_once(
        self, submission: Submission, assessments: Sequence[Assessment], budgets: BudgetRecord, now_us: int
    ) -> int | None:
        """Place contributions in embedding space, where nothing but what they cost can hold them.

        Returns
        -------
        int or None
            Contributions of newcomers among them. None if a lottery or a count of supporters is to be asked before they
            are charged, or some are held without being charged; then nothing was placed.
        """
        if self.newcomers is not None and self.newcomers.policy.pool is not None:
            return None
        some = list(zip(submission.contributions, assessments, strict=True))
        if any(each.content.beyond for each in assessments):
            return None
        new = self._new(submission, submission.contributions, budgets, now_us)
        if any(True for _ in self._supported(submission, some, new, budgets, now_us)):
            return None
        mark = budgets.placed()
        if self._place(some, budgets, now_us) is not None:
            budgets.take_back(mark)
            return None
        return sum([item.contributor in new for item in submission.contributions])

    def spots(self, assessments: Sequence[Assessment]) -> list[Spot]:
        """Where contributions will be placed in embedding space, if they are."""
        return [
            Spot(budget_key(budget, ""), limit.radius or 0.0, each.content.where)
            for budget, limit in self._near
            for each in assessments
            if each.content.where is not None
        ]

    def remember(
        self, submission: Submission, assessments: Sequence[Assessment], budgets: BudgetRecord, now_us: int
    ) -> None:
        """Note who was accepted: tenure begins with the first time."""
        if self.newcomers is None or submission.anonymous:
            return
        for item, each in zip(submission.contributions, assessments, strict=True):
            if each.decision is Decision.ACCEPT:
                self.newcomers.remember(budgets, item.contributor, now_us)

    def _screen(
        self, submission: Submission, places: Sequence[int], screened: Screened, budgets: BudgetRecord, now_us: int
    ) -> None:
        """Let some contributions pass together, or hold them together."""
        some = [(submission.contributions[place], screened.assessments[place]) for place in places]
        charges = [charge for item, each in some for charge in self._charges(submission, item, each, hold=True)]
        new = self._new(submission, [item for item, _ in some], budgets, now_us)
        self._count_supporters(submission, some, new, budgets, now_us)
        undrawn = False
        if self.newcomers is not None and self.newcomers.policy.pool is not None:
            for item, each in some:
                if item.contributor in new:
                    cost = round(each.weight * UNIT)
                    charges += self.newcomers.charges(item.contributor, cost, now_us)
                    undrawn |= not self.newcomers.ask(budgets, item.contributor, cost, now_us)
        reason, budget, campaign = self._verdict(some, charges, budgets, now_us, undrawn=undrawn)
        count = sum(item.contributor in new for item, _ in some)
        if reason is None:
            screened.taken += count
            return
        if budget == POOL:
            screened.waiting += count
            screened.refusal = self._refused(charges, now_us)
        for place in places:
            screened.held_by.append(budget)
            each = screened.assessments[place]
            screened.assessments[place] = replace(
                each,
                decision=Decision.QUARANTINE,
                weight=0.0,
                reasons=(reason, *each.reasons[: MAX_REASONS - 1]),
                campaign=each.campaign or campaign,
            )

    def _verdict(
        self,
        some: Sequence[tuple[Contribution, Assessment]],
        charges: Sequence[Charge],
        budgets: BudgetRecord,
        now_us: int,
        *,
        undrawn: bool,
    ) -> tuple[Reason | None, str, str | None]:
        """Charge; without room, say why, by which budget, and what to call all that it has no room for."""
        beyond = {name for _, each in some for name in each.content.beyond}
        for limit in self.limits if beyond else ():
            if limit.holds and limit.name in beyond:
                said = f"it holds more rare phrases than the budget {limit.name} counts"
                return Reason(f"limit:{limit.name}", said, facet=limit.facet), limit.name, None
        if undrawn:
            said = "new contributors share a pool, which a lottery deals out among them; this one was not drawn"
            return Reason(f"limit:{POOL}", said, facet=POOL), POOL, None
        mark = budgets.placed()
        crowded = self._place(some, budgets, now_us)
        if crowded is not None:
            budgets.take_back(mark)
            said = f"the budget {crowded} bounds how many {_WORDS['radius']} are learnt; it has no room"
            return Reason(f"limit:{crowded}", said, facet="radius"), crowded, None
        refusal = self._charge(merged(charges, of=len(some)), budgets, now_us)
        if refusal is None:
            return None, "", None
        budgets.take_back(mark)
        budget = refusal.charge.budget
        if budget.facet == POOL:
            said = "the pool that new contributors share has no room"
            return Reason(f"limit:{POOL}", said, facet=POOL), POOL, None
        said = (
            f"the budget {budget.name} bounds how many {_WORDS[budget.facet]} are learnt without a moderator; it has no"
            " room"
            if budget.facet in _WORDS
            else f"the budget {budget.name} bounds how much a {budget.facet.removeprefix('group:')} may teach; it has"
            " no room"
        )
        # All that one full counter holds is one decision for a moderator.
        campaign = f"{budget.name}-{budget_key(budget, refusal.charge.key)[:12]}"
        return Reason(f"limit:{budget.name}", said, facet=budget.facet), budget.name, campaign

    def _place(self, some: Sequence[tuple[Contribution, Assessment]], budgets: BudgetRecord, now_us: int) -> str | None:
        """Place each contribution in embedding space; the budget of the first that has no room around it."""
        for budget, limit in self._near:
            radius = limit.radius or 0.0
            for _, each in some:
                if each.content.where is None:
                    continue
                cost = UNIT if budget.measure is Measure.COUNT else round(each.weight * UNIT)
                if budgets.place(budget, radius, each.content.where, cost, now_us):
                    continue
                # Where many trusted texts lie, honest ones do, too, and the trusted set knows what belongs there.
                if limit.rare is None or each.content.n_trusted(radius) < limit.rare:
                    return budget.name
        return None

    def _charge(self, charges: Sequence[Charge], budgets: BudgetRecord, now_us: int) -> Refusal | None:
        """Charge all or none; phrases that have enough supporters need no room."""
        refusal = budgets.charge(charges, now_us)
        if refusal is None:
            return None
        by_name = {limit.name: limit for limit in self.limits if limit.supporters is not None}
        if refusal.charge.budget.name not in by_name:
            return refusal
        lifted = [
            charge
            for charge in charges
            if (limit := by_name.get(charge.budget.name)) is not None and is_lifted(limit, budgets, charge.key, now_us)
        ]
        return budgets.charge([charge for charge in charges if charge not in lifted], now_us) if lifted else refusal

    def _charges(
        self, submission: Submission, item: Contribution, assessment: Assessment, *, hold: bool
    ) -> list[Charge]:
        if assessment.weight <= 0.0:
            return []
        weight_micro = round(assessment.weight * UNIT)
        plan = self._plans[hold]
        charges = plan.of_sender(item, anonymous=submission.anonymous, weight_micro=weight_micro)
        return charges + plan.of_content(assessment.content.keys, weight_micro)

    def _new(
        self, submission: Submission, items: Sequence[Contribution], budgets: BudgetRecord, now_us: int
    ) -> frozenset[str]:
        """Which of them are new. All that is anonymous has budgets of its own, however many send it."""
        if self.newcomers is None or submission.anonymous:
            return frozenset()
        names = {item.contributor for item in items}
        return frozenset(name for name in names if not self.newcomers.established(budgets, name, now_us))

    def _count_supporters(
        self,
        submission: Submission,
        some: Sequence[tuple[Contribution, Assessment]],
        new: frozenset[str],
        budgets: BudgetRecord,
        now_us: int,
    ) -> None:
        for limit, key, contributor in self._supported(submission, some, new, budgets, now_us):
            support(limit, budgets, key, contributor, now_us)

    def _supported(
        self,
        submission: Submission,
        some: Sequence[tuple[Contribution, Assessment]],
        new: frozenset[str],
        budgets: BudgetRecord,
        now_us: int,
    ) -> Iterator[tuple[LimitPolicy, str, str]]:
        """Phrases for which a supporter counts now, each with its limit and with who it is."""
        if self.newcomers is None or submission.anonymous:
            return
        for item, each in some:
            if item.contributor in new:
                continue
            for limit in self._phrases:
                for key in each.content.keys.get(limit.name, ()):
                    if wants_support(limit, budgets, key, now_us):
                        yield limit, key, item.contributor

    def _refused(self, charges: Sequence[Charge], now_us: int) -> Refusal | None:
        """The refusal of newcomers, where the policy does not hold them; the next deal is another chance."""
        if self.newcomers is None or self.newcomers.policy.then == "hold":
            return None
        pool = next(charge for charge in charges if charge.budget.name == POOL)
        return Refusal(pool, self.newcomers.deal_us - now_us % self.newcomers.deal_us, 0)
