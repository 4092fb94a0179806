"""What is new shares one pool, however many identities it comes in, and a keyed lottery deals it out.

An account that costs nothing to make proves nothing, so no cap for each account bounds what somebody with many of
them teaches. What can be promised is a cap on all that is new together: in every interval of length t newcomers teach
at most `pool * (2 / deals + t / per)`, for one identity or for a million.

Then the attack is to crowd the honest newcomers out. So the period is cut into deals. In each of them a newcomer's
ticket is a keyed hash of her name and the deal; she is drawn if it is below the share of what is asked for that can be
given. What is asked for is the most in this deal or in any of the last `deals`, each identity counted with `each` at
most: so neither coming first, nor asking much, nor flooding every other deal gains anything. Among h honest newcomers
and n hostile ones who ask alike, the honest are dealt h / (h + n) in the mean. Only a flood that is larger than all
before it takes more, until the deal that it comes in is over: twice a deal's part at most.

References
----------
Douceur, J. R. (2002). The Sybil attack. IPTPS. Cheng, A., Friedman, E. (2005). Sybilproof reputation mechanisms.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Protocol

from feedback_guard.limits.interface import UNIT, Budget, BudgetRecord, Charge, Measure
from feedback_guard.policy.newcomers import NewcomersPolicy

POOL: Final = "newcomers"
"""What the pool is called among budgets, in reasons and metrics."""
_ONCE: Final = Budget("newcomers:since", POOL, Measure.COUNT, UNIT, None, 0)
_MOST: Final = 4 * 10**18
_TICKETS: Final = 2**64


class Standing(Protocol):
    """Says more of a contributor than how long she has been here: reputation, for example."""

    def established(self, contributor: str, now_us: int) -> bool:
        """Whether she may leave the newcomers' pool once her tenure is over. Quick, and without waiting."""
        ...


@dataclass(frozen=True, slots=True)
class Newcomers:
    """The rules on who is new, and the lottery among them. All state is in the budgets that it is given.

    Parameters
    ----------
    policy
        Tenure, and the pool if there is one.
    secret
        Key of the lottery: without it nobody can choose a name that is drawn.
    standing
        Asked besides tenure; None asks nobody.

    Examples
    --------
    >>> from feedback_guard.limits.memory import MemoryBudgets
    >>> budgets, rule = MemoryBudgets(), Newcomers(NewcomersPolicy(tenure="1d", pool=100), b"secret")
    >>> rule.remember(budgets, "ada", 0)
    >>> day = 86_400_000_000
    >>> [rule.established(budgets, "ada", at) for at in (0, day - 1, day)]
    [False, False, True]
    """

    policy: NewcomersPolicy
    secret: bytes = field(repr=False)
    standing: Standing | None = None

    @property
    def deal_us(self) -> int:
        """How long a deal takes, in microseconds."""
        return self.policy.per // self.policy.deals

    def established(self, budgets: BudgetRecord, contributor: str, now_us: int) -> bool:
        """Whether a contributor is new no more."""
        first_us = budgets.first_us(_ONCE, contributor)
        if first_us is None or now_us - first_us < self.policy.tenure:
            return False
        return self.standing is None or self.standing.established(contributor, now_us)

    def remember(self, budgets: BudgetRecord, contributor: str, now_us: int) -> None:
        """Note that a contribution of hers was accepted; the first time counts."""
        if budgets.first_us(_ONCE, contributor) is None:
            budgets.charge([Charge(_ONCE, contributor, UNIT)], now_us)

    def ask(self, budgets: BudgetRecord, contributor: str, weight_micro: int, now_us: int) -> bool:
        """Take part in the present deal, and say whether she is drawn. Asking counts, whatever the answer is."""
        deal, asked = now_us // self.deal_us, self._asked
        cost = min(weight_micro, _micro(self.policy.each))
        each = Charge(self._of_each("newcomers:asked-each"), f"{deal} {contributor}", cost)
        # Without room she has asked for all that one may be dealt.
        budgets.charge([each, Charge(asked, str(deal), cost)], now_us)
        most = max(budgets.used_micro(asked, str(which)) for which in range(deal - self.policy.deals, deal + 1))
        given = _micro(self.policy.pool or 0.0) // self.policy.deals
        return self._ticket(deal, contributor) * most < given * _TICKETS

    def charges(self, contributor: str, weight_micro: int, now_us: int) -> list[Charge]:
        """What an accepted contribution of a newcomer costs the pool, and her own part of it."""
        deal = now_us // self.deal_us
        return [
            Charge(_pool(_micro(self.policy.pool or 0.0), self.policy.per, self.policy.deals), "", weight_micro),
            Charge(self._of_each("newcomers:each"), f"{deal} {contributor}", weight_micro),
        ]

    def lookups(self, contributors: Sequence[str], now_us: int) -> list[Charge]:
        """Every counter that the rules may read, to be read at once."""
        deal = now_us // self.deal_us
        found = [Charge(_ONCE, name, UNIT) for name in contributors]
        if self.policy.pool is not None:
            found += [Charge(self._asked, str(deal - back), 0) for back in range(self.policy.deals + 1)]
            for name in contributors:
                found.append(Charge(self._of_each("newcomers:asked-each"), f"{deal} {name}", 0))
                found += self.charges(name, 0, now_us)
        return found

    @property
    def forgettable(self) -> tuple[Budget, ...]:
        """Budgets whose counters may be forgotten in time."""
        if self.policy.pool is None:
            return ()
        return self._asked, self._of_each("newcomers:asked-each"), self._of_each("newcomers:each")

    @property
    def _asked(self) -> Budget:
        return _kept("newcomers:asked", _MOST, 2 * self.policy.per)

    def _of_each(self, name: str) -> Budget:
        return _kept(name, _micro(self.policy.each), 2 * self.policy.per)

    def _ticket(self, deal: int, contributor: str) -> int:
        told = f"{deal} {contributor}".encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.blake2b(told, key=self.secret[:64], digest_size=8, person=b"lottery").digest())


@lru_cache(maxsize=64)
def _kept(name: str, amount_micro: int, forget_after_us: int) -> Budget:
    return Budget(name, POOL, Measure.WEIGHT, amount_micro, None, 0, forget_after_us)


@lru_cache(maxsize=64)
def _pool(pool_micro: int, per_us: int, deals: int) -> Budget:
    return Budget(POOL, POOL, Measure.WEIGHT, max(1, pool_micro), per_us, max(1, 2 * pool_micro // deals))


def _micro(weight: float) -> int:
    return round(weight * UNIT)
