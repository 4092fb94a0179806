"""The newcomers' pool: constant whatever their number, and dealt in proportion, whoever comes first."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from feedback_guard.limits.checks import over_admitted
from feedback_guard.limits.interface import UNIT, Budget, BudgetRecord, Measure
from feedback_guard.limits.memory import MemoryBudgets
from feedback_guard.limits.newcomers import Newcomers
from feedback_guard.policy.newcomers import NewcomersPolicy
from tests.limits.wrong_arithmetic import ARITHMETIC, Bug, Stale

DAY = 86_400_000_000
POLICY = NewcomersPolicy(pool=80, per=DAY, deals=8, each=1)
DEAL = DAY // 8


def offer(rule: Newcomers, budgets: MemoryBudgets, who: str, now_us: int) -> bool:
    """What the guard does with an accepted contribution of weight 1 by a newcomer."""
    drawn = rule.ask(budgets, who, UNIT, now_us)
    return drawn and budgets.charge(rule.charges(who, UNIT, now_us), now_us) is None


def deal_out(rule: Newcomers, hostile: int, honest: int, *, deals: int, hostile_first: bool = True) -> tuple[int, int]:
    """Weight that hostile and honest newcomers are given; every identity asks once in each deal, under a new name."""
    budgets, given = MemoryBudgets(), {"bad": 0, "good": 0}
    order: Sequence[tuple[str, int]] = [("bad", hostile), ("good", honest)]
    for deal in range(deals):
        for kind, n in order if hostile_first else order[::-1]:
            for i in range(n):
                given[kind] += offer(rule, budgets, f"{kind}-{deal}-{i}", deal * DEAL + i % DEAL)
    return given["bad"], given["good"]


class FirstCome(Newcomers):
    """A pool without a lottery."""

    def ask(self, budgets: BudgetRecord, contributor: str, weight_micro: int, now_us: int) -> bool:
        return True


class PoolEach(Newcomers):
    """A pool for each identity."""

    def charges(self, contributor: str, weight_micro: int, now_us: int) -> list:  # type: ignore[type-arg]
        return super().charges(contributor, weight_micro, now_us)[1:]


class ForgetsTheFlood(Newcomers):
    """Looks at the present deal alone, so that whoever comes first in it is drawn."""

    def ask(self, budgets: BudgetRecord, contributor: str, weight_micro: int, now_us: int) -> bool:
        deal = now_us // self.deal_us
        super().ask(budgets, contributor, weight_micro, now_us)
        most = budgets.used_micro(self._asked, str(deal))
        return self._ticket(deal, contributor) * most < 10 * UNIT * 2**64


def bound(deals: int) -> float:
    return POLICY.pool * (2 / POLICY.deals + deals / POLICY.deals) if POLICY.pool else 0.0


def faults(rule: Newcomers) -> set[str]:
    """Which promises a rule breaks."""
    found = set()
    for n in (1, 30, 1_000):
        if deal_out(rule, n, 0, deals=4)[0] > bound(4):
            found.add("constant")
    bad, good = deal_out(rule, 60, 20, deals=24)
    share = good / max(1, bad + good)
    # 20 of 80 ask honestly: a quarter, with a standard deviation of about 0.03 over so many deals
    if not 0.15 <= share <= 0.35:
        found.add("share")
    return found


def test_the_pool_is_constant_and_its_shares_are_fair() -> None:
    assert faults(Newcomers(POLICY, b"secret")) == set()


@pytest.mark.parametrize(
    ("mutant", "broken"), [(FirstCome, "share"), (PoolEach, "constant"), (ForgetsTheFlood, "share")]
)
def test_the_oracle_finds(mutant: type[Newcomers], broken: str) -> None:
    assert broken in faults(mutant(POLICY, b"secret"))


def test_a_hundred_thousand_identities_get_what_thirty_get() -> None:
    rule = Newcomers(POLICY, b"secret")
    few, *many = (deal_out(rule, n, 0, deals=1)[0] for n in (10, 30, 1_000, 10_000, 100_000))
    assert few == 10
    assert all(0 < each <= bound(1) for each in many)


EASY = NewcomersPolicy(pool=80, per=DAY, deals=8, each=1_000)
"""A pool of which the lottery lets everybody try."""


def over(budgets: MemoryBudgets, seed: int) -> str | None:
    """Newcomers ask whenever they like; an interval that holds more than the pool promises, by brute force."""
    rule, rng, given, now = Newcomers(EASY, b"secret"), random.Random(seed), [], 10 * DAY - DEAL // 9
    steps = [0, 1, DEAL // 700, DEAL // 200] if seed % 2 else [0, 0, 1, DEAL // 40, DEAL // 3, -DEAL // 2, 2 * DEAL]
    for n in range(250):
        now += rng.choice(steps) if n != 180 else 40 * DAY
        cost = rng.choice([UNIT, UNIT, UNIT // 3, 1])
        if budgets.charge(rule.charges(f"n{n}", cost, now), now) is None:
            given.append((now, cost))
    return over_admitted(Budget("pool", "pool", Measure.WEIGHT, 80 * UNIT, DAY, 2 * 80 * UNIT // 8), given)


@pytest.mark.parametrize("seed", range(6))
def test_no_interval_holds_more_than_the_pool(seed: int) -> None:
    assert over(MemoryBudgets(), seed) is None


@pytest.mark.parametrize("bug", ARITHMETIC)
def test_the_oracle_of_intervals_finds(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)
    assert any(over(MemoryBudgets(), seed) for seed in range(6))


def test_the_oracle_of_intervals_finds_what_reads_before_it_writes() -> None:
    assert any(over(Stale(), seed) for seed in range(6))


def test_coming_first_gains_nothing_once_the_flood_is_known() -> None:
    rule = Newcomers(POLICY, b"secret")
    first, last = (deal_out(rule, 60, 20, deals=32, hostile_first=order)[1] for order in (True, False))
    assert abs(first - last) <= 0.35 * max(first, last)


def test_where_there_is_room_everybody_is_drawn() -> None:
    assert deal_out(Newcomers(POLICY, b"secret"), 0, 8, deals=16) == (0, 128)


def test_asking_more_than_ones_part_gains_nothing() -> None:
    rule, budgets = Newcomers(POLICY, b"secret"), MemoryBudgets()
    assert sum(offer(rule, budgets, "eve", 0) for _ in range(50)) == 1


def test_names_cannot_be_chosen_without_the_key() -> None:
    names = [f"u{i}" for i in range(200)]
    draws = []
    for secret in (b"one", b"two"):
        rule, budgets = Newcomers(POLICY, secret), MemoryBudgets()
        for name in names:
            rule.ask(budgets, name, UNIT, 0)
        draws.append({name for name in names if rule.ask(budgets, name, UNIT, 1)})
    assert 0 < len(draws[0]) < 40
    assert draws[0] != draws[1]


class Doubts:
    """Reputation that is never good enough."""

    def established(self, contributor: str, now_us: int) -> bool:
        return False


def test_reputation_is_asked_besides_tenure() -> None:
    budgets = MemoryBudgets()
    plain, strict = Newcomers(POLICY, b"s"), Newcomers(POLICY, b"s", Doubts())
    plain.remember(budgets, "ada", 0)
    later = POLICY.tenure
    assert plain.established(budgets, "ada", later)
    assert not strict.established(budgets, "ada", later)
    assert not plain.established(budgets, "bob", later)


@pytest.mark.parametrize("seed", range(5))
def test_clocks_that_step_and_differ_refill_the_pool_by_one_burst_at_most(seed: int) -> None:
    rule, budgets, rng = Newcomers(POLICY, b"secret"), MemoryBudgets(), random.Random(seed)
    now, most, given = 0, 0, 0
    for i in range(2_000):
        now += rng.choice([0, 1_000_000, 60_000_000])
        seen = max(0, now + rng.choice([0, 0, -3_600_000_000, 3_600_000_000, -DAY]))
        most = max(most, seen)
        given += offer(rule, budgets, f"n{i}", seen) * UNIT
    pool = 80 * UNIT
    assert given <= 2 * pool // 8 + pool * most // DAY
