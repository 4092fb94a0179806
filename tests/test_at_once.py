"""Charging all budgets in one step gives, verdict by verdict and counter by counter, what step by step gives."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from feedback_guard.assessment import Assessment, Content
from feedback_guard.contribution import Contribution, Kind
from feedback_guard.limits.bill import Bill
from feedback_guard.limits.interface import UNIT, Budget, BudgetRecord, Charge, Measure, Refusal
from feedback_guard.limits.memory import MemoryBudgets
from feedback_guard.limits.newcomers import Newcomers
from feedback_guard.limits.probing import Probing
from feedback_guard.policy.limits import LimitPolicy
from feedback_guard.policy.newcomers import NewcomersPolicy
from feedback_guard.policy.probing import ProbingBudget, ProbingPolicy
from feedback_guard.policy.routes import OnHold
from feedback_guard.settle import Settled, Settler
from feedback_guard.submission import Submission
from feedback_guard.verdict import Decision, Reason

HOUR = 3_600_000_000
LIMITS = (
    LimitPolicy(name="rate", facet="contributor", measure="count", amount=12, per=24 * HOUR, burst=6),
    LimitPolicy(name="ever", facet="contributor", measure="weight", amount=6),
    LimitPolicy(name="office", facet="group:network", measure="count", amount=40, per=24 * HOUR),
    LimitPolicy(name="unnamed", facet="anonymous", measure="weight", amount=3, per=24 * HOUR),
    LimitPolicy(name="words", facet="phrase", measure="count", amount=12, supporters=2),
    LimitPolicy(name="lesson", facet="target", measure="weight", amount=2, per=24 * HOUR),
    LimitPolicy(name="near", facet="radius", measure="count", amount=5, radius=0.4, per=48 * HOUR),
)
PROBING = Probing(
    ProbingPolicy(held=ProbingBudget(amount=2, per=24 * HOUR), near_copies=ProbingBudget(amount=6, per=24 * HOUR))
)
PLACES = [np.asarray(row / np.linalg.norm(row), np.float32) for row in np.random.default_rng(1).normal(size=(9, 8))]
BAD = Reason("novelty", "far away")


class StepByStep(Settler):
    def _charge_at_once(
        self,
        submission: Submission,
        assessments: Sequence[Assessment],
        budgets: BudgetRecord,
        now_us: int,
        bill: Bill | None,
    ) -> int | None:
        return None


class Forgetful(Settler):
    """A bug that is to be found: what one step placed stays, though the charge found no room."""

    def _charge_at_once(
        self,
        submission: Submission,
        assessments: Sequence[Assessment],
        budgets: BudgetRecord,
        now_us: int,
        bill: Bill | None,
    ) -> int | None:
        kept = super()._charge_at_once
        real, budgets.take_back = budgets.take_back, lambda n: None  # type: ignore[method-assign]
        try:
            return kept(submission, assessments, budgets, now_us, bill)
        finally:
            budgets.take_back = real  # type: ignore[method-assign]


def stream(seed: int, n: int = 400) -> list[tuple[Submission, list[Assessment], int]]:
    rng, now, made = random.Random(seed), 0, []
    for number in range(n):
        now += rng.choice([0, 0, HOUR // 10, HOUR, 5 * HOUR, -HOUR])
        who = f"u{rng.randrange(9)}"
        items, proposals = [], []
        for place in range(rng.choice([1, 1, 2, 3])):
            groups = {"network": rng.choice("ab")} if rng.random() < 0.8 else {}
            items.append(Contribution(f"c{number}-{place}", now, who, Kind.LABEL, "x", "y", groups=groups))
            content = Content(
                {"words": tuple(rng.sample("abcdefgh", rng.randrange(3))), "lesson": (rng.choice("pq"),)},
                frozenset({"words"}) if rng.random() < 0.02 else frozenset(),
                rng.choice(PLACES),
            )
            chance = rng.random()
            variants = (f"0:{rng.randrange(12)}",)
            if chance < 0.85:
                weight = rng.choice([1.0, 1.0, 0.000_000_4])
                proposals.append(Assessment(Decision.ACCEPT, weight, 0.1, (), content=content, variants=variants))
            else:
                decision = Decision.REJECT if chance > 0.97 else Decision.QUARANTINE
                proposals.append(
                    Assessment(decision, 0.0, 0.99, (BAD,), unscored=chance < 0.88, content=content, variants=variants)
                )
        sent = Submission("r", rng.choice(list(OnHold)), tuple(items), anonymous=rng.random() < 0.15)
        made.append((sent, proposals, now))
    return made


def play(kind: type[Settler], seed: int, pool: float | None) -> tuple[list[Settled], MemoryBudgets]:
    newcomers = Newcomers(NewcomersPolicy(tenure="6h", pool=pool), b"secret")
    settler = kind(LIMITS, "sha256:p", "sha256:b", observed=False, newcomers=newcomers, probing=PROBING)
    budgets = MemoryBudgets()
    settled = []
    for number, (sent, proposals, now) in enumerate(stream(seed)):
        # With a bill, without one, and with one for other assessments, as where reputation changed them.
        made_for = [proposals, None, [replace(each) for each in proposals]][number % 3]
        bill = None if made_for is None else settler.bill(sent, made_for, now)
        settled.append(settler.settle(sent, proposals, budgets, now, bill))
    return settled, budgets


def differs(kind: type[Settler], seed: int, pool: float | None) -> bool:
    """Whether verdicts, counters or points are others than step by step."""
    (first, ours), (second, theirs) = play(kind, seed, pool), play(StepByStep, seed, pool)
    points = [
        {name: (each.n, each._about[: each.n].tolist()) for name, each in b._points.items()} for b in (ours, theirs)
    ]
    return first != second or ours._levels != theirs._levels or points[0] != points[1]


@pytest.mark.parametrize("pool", [None, 12.0], ids=["no pool", "a pool"])
@pytest.mark.parametrize("seed", range(12))
def test_one_step_and_many_come_to_the_same(seed: int, pool: float | None) -> None:
    assert not differs(Settler, seed, pool)


def test_the_streams_meet_every_end() -> None:
    decisions = [
        verdict.decision for seed in range(12) for each in play(Settler, seed, None)[0] for verdict in each.verdicts
    ]
    assert set(decisions) == set(Decision)
    held = {name for seed in range(12) for each in play(Settler, seed, None)[0] for name in each.held_by}
    assert held == {"words", "lesson", "near"}


def test_the_comparison_finds_what_is_not_taken_back() -> None:
    assert any(differs(Forgetful, seed, None) for seed in range(12))


def test_the_second_of_a_request_that_passes_anyway_sees_what_the_first_was_charged() -> None:
    limit = LimitPolicy(name="words", facet="phrase", measure="count", amount=4, supporters=2)
    said = Assessment(Decision.ACCEPT, 1.0, 0.1, (), content=Content({"words": ("zq",)}))
    supporters = Budget("words:supporters", "phrase", Measure.COUNT, 2 * UNIT, None, 0)
    supported = []
    for kind in (Settler, StepByStep):
        newcomers = Newcomers(NewcomersPolicy(tenure="6h"), b"secret")
        settler = kind((limit,), "sha256:p", "sha256:b", observed=False, newcomers=newcomers)
        budgets = MemoryBudgets()
        for at, n in ((0, 1), (7 * HOUR, 2)):
            items = tuple(Contribution(f"c{at}-{i}", at, "ada", Kind.LABEL, "x", "y") for i in range(n))
            settler.settle(Submission("r", OnHold.PASS, items), [said] * n, budgets, at)
        supported.append(budgets.used_micro(supporters, "zq"))
    # Half of the budget is used when the second is asked, and so ada counts.
    assert supported == [UNIT, UNIT]


def test_a_bill_has_every_counter_that_is_charged_or_asked_for() -> None:
    newcomers = Newcomers(NewcomersPolicy(tenure="6h"), b"secret")
    settler = Settler(LIMITS, "sha256:p", "sha256:b", observed=False, newcomers=newcomers, probing=PROBING)
    found = 0
    for sent, proposals, now in stream(1):
        budgets = MemoryBudgets()
        bill = settler.bill(sent, proposals, now)
        settler.settle(sent, proposals, budgets, now, bill)
        assert set(budgets._levels) <= set(bill.lookups)
        found += bool(bill.charges)
    assert found > 100


def test_where_all_has_room_budgets_are_charged_once() -> None:
    charged: list[int] = []

    class Counting(MemoryBudgets):
        def charge(self, charges: Sequence[Charge], now_us: int) -> Refusal | None:
            charged.append(len(charges))
            return super().charge(charges, now_us)

    sent, proposals, now = next(
        each
        for each in stream(0)
        if len(each[1]) == 1 and each[1][0].decision is Decision.ACCEPT and not each[0].anonymous
    )
    settler = Settler(LIMITS, "sha256:p", "sha256:b", observed=False, probing=PROBING)
    assert settler.settle(sent, proposals, Counting(), now).decision is Decision.ACCEPT
    assert len(charged) == 1
