"""The influence limiter against an oracle in rationals: what was really done to predictions, whatever accounts say."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback_guard.errors import LimitError
from feedback_guard.limits import reputation
from feedback_guard.limits.bankroll import MICRO, PICO, Account, Move, endowment, measure, mixed, posterior
from feedback_guard.limits.reputation import Measured, Probe, Ruling, Stake, Terms, identity_of, rule
from feedback_guard.limits.reputation_memory import MemoryBank

PRIOR = 3 * PICO // 5
RIGHT, WRONG = 9 * MICRO, MICRO // 9
"""Likelihood ratios of a contribution that agrees with what was vetted, and of one that does not."""


@dataclass
class World:
    """Identities that teach, and an oracle that watches the predictions only."""

    terms: Terms
    bank: MemoryBank = field(init=False)
    harm: dict[str, Fraction] = field(default_factory=lambda: defaultdict(Fraction))
    faults: list[str] = field(default_factory=list)
    _n: int = 0

    def __post_init__(self) -> None:
        self.bank = MemoryBank(self.terms)

    def accept(self, who: str, item: str, ratio: int, *, base: int = MICRO, at: int = 0) -> str:
        self._n += 1
        ident = f"c{self._n:06}"
        influence = self.bank.open(who, ident, at).influence
        self.bank.add(Stake(ident, who, base, influence, at, probe=Probe(item, PRIOR, ratio)))
        return ident

    def audit(self, now: int = 0) -> list[Measured]:
        """Audit what is due, watching each prediction before and after, in rationals."""
        done = []
        while self.bank._due and self.bank._due[0][0] <= now:
            ident = self.bank._due[0][1]
            probe = self.bank.stakes[ident].probe
            assert probe is not None
            before = self.bank.belief(probe)
            first = self.bank.audit_due(-1)
            assert first == []
            stake = self.bank.stakes[ident]
            left = Fraction(min(PICO, self.bank.accounts[stake.identity].balance), PICO)
            measured = self._one(ident)
            if Fraction(measured.weight_micro or 0) > stake.base_micro * left:
                self.faults.append(f"{ident} teaches with {measured.weight_micro}, and {float(left)} was left")
            after = self.bank.belief(probe)
            if not 0 <= after <= PICO:
                self.faults.append(f"a prediction of {after}")
            self.harm[measured.stake.identity] += _loss(after) - _loss(before)
            done.append(measured)
        self._look({each.stake.identity for each in done})
        return done

    def teach(self, who: str, item: str, ratio: int) -> Measured:
        self.accept(who, item, ratio)
        return self.audit()[-1]

    def _one(self, ident: str) -> Measured:
        import heapq

        heapq.heappop(self.bank._due)
        return reputation.audit(self.bank, self.bank.stakes[ident], self.terms)

    def _look(self, identities: Iterable[str]) -> None:
        for who in identities:
            account, first = self.bank.accounts[who], Fraction(self.bank.accounts[who].endowment, PICO)
            if account.balance < 0:
                self.faults.append(f"{who} has {account.balance}")
            if self.harm[who] > first:
                self.faults.append(f"{who} did {float(self.harm[who])} net damage, with {float(first)} to begin with")
            if account.lost > account.endowment + account.gained:
                self.faults.append(f"{who} lost more than it had")

    def findings(self) -> list[str]:
        """All that is wrong, with the damage of all identities together."""
        total = sum((max(Fraction(0), harm) for harm in self.harm.values()), Fraction(0))
        if total > Fraction(self.terms.damage, PICO):
            self.faults.append(f"{float(total)} net damage in all")
        return self.faults


def _loss(belief: int) -> Fraction:
    return (1 - Fraction(belief, PICO)) ** 2


def earn_then_burn(world: World) -> None:
    for n in range(120):
        world.teach("mole", f"i{n}", RIGHT)
    for n in range(400):
        world.teach("mole", f"i{n % 150}", WRONG)


def free_ride_then_burn(world: World) -> None:
    for n in range(60):
        world.teach("honest", f"i{n % 4}", RIGHT)
    for n in range(300):
        world.teach("parrot", f"i{n % 4}", RIGHT)
    for n in range(300):
        world.teach("parrot", f"i{n % 4}", WRONG)


def pump(world: World) -> None:
    """One name spoils, the other repairs and earns by it, then the second spoils."""
    for n in range(200):
        world.teach(f"spoiler{n}", "i", WRONG)
        world.teach("repairer", "i", RIGHT)
    for n in range(200):
        world.teach("repairer", f"j{n % 5}", WRONG)


def whitewash(world: World) -> None:
    """A new name as soon as the old one is spent."""
    for n in range(400):
        for k in range(3):
            world.teach(f"name{n}", f"i{k}", WRONG)


def all_at_once(world: World) -> None:
    """Many contributions before the first is measured: the same reputation is not spent twice."""
    for n in range(100):
        world.teach("sleeper", f"i{n}", RIGHT)
    for n in range(300):
        world.accept("sleeper", f"k{n % 40}", WRONG)
    world.audit()


def burn(world: World) -> None:
    for n in range(600):
        world.teach("arsonist", f"i{n % 30}", WRONG)


STRATEGIES: dict[str, Callable[[World], None]] = {
    "earn then burn": earn_then_burn,
    "free ride, then burn": free_ride_then_burn,
    "spoil and repair": pump,
    "a new name each time": whitewash,
    "all at once": all_at_once,
    "burn": burn,
}


def terms(identities: int = 50, damage: float = 1.0, most: int = 4) -> Terms:
    return Terms(identities, round(damage * PICO), most * PICO)


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES.keys())
def test_no_strategy_does_more_net_damage_than_it_was_endowed_with(strategy: Callable[[World], None]) -> None:
    world = World(terms())
    strategy(world)
    assert world.findings() == []
    assert world.bank.accounts


@settings(max_examples=60, deadline=None)
@given(
    moves=st.lists(
        st.tuples(
            st.sampled_from("abcdef"),
            st.sampled_from("xyz"),
            st.integers(0, 40 * MICRO),
            st.integers(0, MICRO),
            st.integers(0, 6),
        ),
        max_size=60,
    ),
    identities=st.integers(1, 6),
    damage=st.integers(1, 3 * PICO),
)
def test_whatever_is_taught_in_whatever_order(
    moves: list[tuple[str, str, int, int, int]], identities: int, damage: int
) -> None:
    world = World(Terms(identities, min(damage, identities * PICO), 2 * PICO))
    for who, item, ratio, base, wait in moves:
        world.accept(who, item, ratio, base=base, at=world._n + wait)
        world.audit(world._n)
    world.audit(1_000)
    assert world.findings() == []
    for account in world.bank.accounts.values():
        assert account.balance == account.endowment + account.gained - account.lost
        assert 0 <= account.balance <= max(2 * PICO, account.endowment)


def spoilers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], None]]:
    def against_the_first_prediction() -> None:
        def wrong(account: Account, stake: int, *, before: int, raw: int, happened: bool, most: int) -> object:
            del before
            return measure(account, stake, before=PRIOR, raw=raw, happened=happened, most=most)

        monkeypatch.setattr(reputation, "measure", wrong)

    def below_zero() -> None:
        monkeypatch.setattr(Account, "__post_init__", lambda _: None)
        monkeypatch.setattr(Account, "influence", property(lambda _: PICO))

    def not_capped_at_one() -> None:
        monkeypatch.setattr(Account, "influence", property(lambda account: account.balance))

        def wrong(account: Account, stake: int, *, before: int, raw: int, happened: bool, most: int) -> object:
            del stake
            return measure(account, account.balance, before=before, raw=raw, happened=happened, most=most)

        monkeypatch.setattr(reputation, "measure", wrong)

    def half_a_loss() -> None:
        def wrong(account: Account, stake: int, *, before: int, raw: int, happened: bool, most: int) -> object:
            move = measure(account, stake, before=before, raw=raw, happened=happened, most=most)
            charged = move.credited if move.credited > 0 else move.credited // 2
            return Move(move.stake, move.improvement, charged, move.forfeited)

        monkeypatch.setattr(reputation, "measure", wrong)

    def spent_twice() -> None:
        def wrong(bank: MemoryBank, stake: Stake, terms: Terms) -> Measured:
            measured = right(bank, stake, terms)
            return replace(measured, weight_micro=terms.weight_micro(stake.base_micro, stake.influence))

        right = reputation.audit
        monkeypatch.setattr(reputation, "audit", wrong)

    return {
        "the same reputation spent twice": spent_twice,
        "gains against the first prediction": against_the_first_prediction,
        "reputation below zero": below_zero,
        "influence not capped at 1": not_capped_at_one,
        "half a loss charged": half_a_loss,
    }


@pytest.mark.parametrize(
    "mutant",
    [
        "the same reputation spent twice",
        "gains against the first prediction",
        "reputation below zero",
        "influence not capped at 1",
        "half a loss charged",
    ],
)
def test_the_oracle_sees_planted_bugs(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spoilers(monkeypatch)[mutant]()
    found = []
    for strategy in STRATEGIES.values():
        world = World(terms())
        try:
            strategy(world)
        except LimitError as error:
            found.append(str(error))
        found += world.findings()
    assert found, f"nothing noticed the planted bug: {mutant}"


@pytest.mark.parametrize("n", [1, 2, 10, 100, 1_000, 10_000, 100_000])
@pytest.mark.parametrize("identities", [1, 7, 1_000])
def test_any_number_of_names_together_has_at_most_the_constant(n: int, identities: int) -> None:
    total = sum(endowment(number, identities=identities, damage=PICO) for number in range(n))
    assert total <= PICO
    # the first of them, as many as were expected, have half of it, up to rounding
    if n >= identities:
        assert total >= PICO // 2 - n


@pytest.mark.parametrize("n", [1, 10, 100, 1_000, 10_000, 100_000])
def test_sybils_together_do_at_most_the_constant_in_damage(n: int) -> None:
    """Each new name spends all that it begins with; predictions are watched in rationals up to a thousand names."""
    world = World(terms(identities=1_000))
    if n <= 1_000:
        for number in range(n):
            world.accept(f"s{number}", f"i{number % 50}", 0)
        world.audit()
        assert world.findings() == []
        return
    for number in range(n):
        world.accept(f"s{number}", f"i{number % 50}", 0)
    world.bank.audit_due(0)
    harm = sum((_loss(belief) - _loss(PRIOR) for belief in world.bank.beliefs.values()), Fraction(0))
    assert 0 < harm <= 1


def test_whoever_repeats_what_is_known_earns_next_to_nothing() -> None:
    world = World(terms(identities=2))
    for n in range(400):
        world.teach("pioneer", f"i{n % 40}", RIGHT)
    pioneer = world.bank.accounts["pioneer"]
    assert pioneer.gained > 10 * pioneer.endowment
    for n in range(400):
        world.teach("parrot", f"i{n % 40}", RIGHT)
    parrot = world.bank.accounts["parrot"]
    assert parrot.gained < pioneer.gained // 50


def test_a_newcomer_forfeits_about_the_logarithm_of_the_endowment() -> None:
    """log(1 / R0) units of information until full weight, neither much less nor much more."""
    for identities in (10, 1_000, 100_000):
        world = World(terms(identities=identities))
        n = 0
        while world.bank.account("honest").balance < PICO:
            world.teach("honest", f"i{n}", RIGHT)
            n += 1
        account = world.bank.accounts["honest"]
        shown = (account.forfeited + account.gained) / PICO
        price = math.log(PICO / account.endowment)
        assert price <= shown <= price / math.log(2) + 1


def test_a_ruling_earns_by_surprise_and_costs_when_denied() -> None:
    bank = MemoryBank(terms())
    for who, belief, ruling in (
        ("told what all know", 99, "approved"),
        ("told something new", 10, "approved"),
        ("was wrong", 10, "denied"),
        ("was wrong about what the model misread, too", 80, "denied"),
    ):
        bank.open(who, who, 0)
        bank.add(Stake(who, who, 0, 0, 0, belief=belief * PICO // 100))
        rule(bank, bank.stakes[who], ruling, None, bank.terms)  # type: ignore[arg-type]
    grown = {who: account.balance / account.endowment for who, account in bank.accounts.items()}
    assert 1.0 <= grown["told what all know"] < 1.001
    assert grown["told something new"] > 1.5
    assert grown["was wrong"] < 0.25
    assert grown["was wrong"] < grown["was wrong about what the model misread, too"] < 1.0


def test_a_changed_mind_takes_back_what_the_first_one_moved() -> None:
    bank = MemoryBank(terms())
    bank.open("alice", "c", 0)
    bank.add(Stake("c", "alice", 0, 0, 0, belief=PICO // 10))
    first = bank.account("alice").balance
    seen = []
    way: Ruling
    for way in ("approved", "denied", "approved", "approved"):
        rule(bank, bank.stakes["c"], way, None, bank.terms)
        seen.append(bank.account("alice").balance)
    assert seen[0] > first > seen[1]
    assert abs(seen[2] - seen[0]) <= 3
    assert seen[3] == seen[2]


def test_a_campaign_counts_once_for_each_identity_and_direction() -> None:
    def after(n: int, campaign: str | None) -> int:
        bank = MemoryBank(terms())
        for k in range(n):
            bank.open("alice", f"c{k}", 0)
            bank.add(Stake(f"c{k}", "alice", 0, 0, 0, belief=PICO // 10))
            rule(bank, bank.stakes[f"c{k}"], "approved", campaign, bank.terms)
        return bank.account("alice").balance

    assert after(30, "word-1") == after(1, "word-1") == after(1, None)
    assert after(30, None) > after(1, None)


def test_a_changed_mind_about_a_campaign_may_change_again() -> None:
    """What moved the account before no longer does, so the next decision of that direction is the first again."""
    bank = MemoryBank(terms())
    bank.open("alice", "c", 0)
    bank.add(Stake("c", "alice", 0, 0, 0, belief=PICO // 10))
    seen = []
    way: Ruling
    for way in ("approved", "denied", "approved", "denied"):
        rule(bank, bank.stakes["c"], way, "word-1", bank.terms)
        seen.append(bank.account("alice").balance)
    assert seen[0] > seen[1]
    assert abs(seen[2] - seen[0]) <= 3
    assert abs(seen[3] - seen[1]) <= 3


def test_weights_only_go_down_between_acceptance_and_audit() -> None:
    world = World(terms(identities=2))
    early = world.accept("alice", "x", RIGHT, at=5)
    late = world.accept("alice", "y", RIGHT, at=5)
    accepted_with = world.bank.stakes[early].influence
    done = {each.stake.contribution: each for each in world.audit(5)}
    assert done[early].weight_micro == done[late].weight_micro == MICRO * accepted_with // PICO
    assert world.bank.accounts["alice"].influence > accepted_with
    for _ in range(60):
        world.teach("alice", "z", 0)
    broke = world.accept("alice", "x", RIGHT, at=6)
    assert world.bank.stakes[broke].influence < accepted_with // 100


def test_a_floor_is_left_to_everybody() -> None:
    some = Terms(50, PICO, 4 * PICO, floor=PICO // 10)
    assert some.weight_micro(MICRO, 0) == MICRO // 10
    assert some.weight_micro(MICRO, PICO // 2) == MICRO // 2
    assert some.weight_micro(MICRO, 3 * PICO) == MICRO


def test_rounding_is_against_the_identity() -> None:
    rng = random.Random(5)
    for _ in range(3_000):
        before, ratio, stake = rng.randrange(PICO + 1), rng.randrange(1, 50 * MICRO), rng.randrange(PICO + 1)
        account = Account(0, PICO, PICO)
        raw = posterior(before, ratio)
        move = measure(account, stake, before=before, raw=raw, happened=True, most=4 * PICO)
        real = _loss(before) - _loss(mixed(before, raw, stake))
        assert Fraction(move.credited, PICO) <= real
        assert move.credited >= -stake


@pytest.mark.parametrize(
    "senseless",
    [
        lambda: endowment(-1, identities=1, damage=1),
        lambda: endowment(0, identities=0, damage=1),
        lambda: posterior(PICO + 1, 1),
        lambda: Account(0, 5, -1, lost=6),
        lambda: Account(0, 5, 6),
    ],
    ids=["negative place", "no identities", "belief above 1", "reputation below zero", "sums that do not fit"],
)
def test_the_senseless_is_refused(senseless: Callable[[], object]) -> None:
    with pytest.raises(LimitError):
        senseless()


def test_an_anonymous_contributor_never_shares_a_name_with_somebody() -> None:
    assert identity_of("anonymous", anonymous=False) != identity_of("x", anonymous=True)
