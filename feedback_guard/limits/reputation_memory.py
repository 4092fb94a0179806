"""Accounts, stakes and audited predictions in the memory of one process: for `replay` and for tests."""

from __future__ import annotations

import heapq
from dataclasses import replace

from feedback_guard.limits.bankroll import MICRO, Account
from feedback_guard.limits.reputation import Bank, Measured, Probe, Ruling, Stake, Terms, audit


class MemoryBank(Bank):
    """A `Bank` that forgets everything when the process ends. It grows with identities and contributions.

    Examples
    --------
    >>> bank = MemoryBank(Terms(identities=100, damage=10**12, most=10**12))
    >>> bank.add(Stake("c1", "alice", 1_000_000, bank.open("alice", "c1", 0).influence, mature_us=5))
    >>> [measured.stake.contribution for measured in bank.audit_due(5)]
    ['c1']
    """

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.accounts: dict[str, Account] = {}
        self.stakes: dict[str, Stake] = {}
        self.beliefs: dict[str, int] = {}
        self._counted: set[tuple[str, str, str]] = set()
        self._weights: dict[str, int] = {}
        self._due: list[tuple[int, str]] = []

    def account(self, identity: str) -> Account:
        """An identity's account; the one that it would get if it has none yet."""
        found = self.accounts.get(identity)
        if found is not None:
            return found
        return Account.opened(len(self.accounts), identities=self.terms.identities, damage=self.terms.damage)

    def open(self, identity: str, contribution: str, now_us: int) -> Account:  # noqa: ARG002 - for the ledger elsewhere
        """An identity's account, which is made if there is none."""
        account = self.accounts[identity] = self.account(identity)
        return account

    def put(self, identity: str, account: Account) -> None:
        """Keep a changed account."""
        self.accounts[identity] = account

    def add(self, stake: Stake) -> None:
        """Keep a new stake."""
        self.stakes[stake.contribution] = stake
        if stake.base_micro:
            heapq.heappush(self._due, (stake.mature_us, stake.contribution))

    def update(self, stake: Stake) -> None:
        """Keep a changed stake."""
        before = self.stakes.get(stake.contribution)
        if before is not None and before.ruling is not None and before.counted is not None:
            self._counted.discard((before.identity, before.counted, before.ruling))
        self.stakes[stake.contribution] = stake
        if stake.ruling is not None and stake.counted is not None:
            self._counted.add((stake.identity, stake.counted, stake.ruling))

    def belief(self, probe: Probe) -> int:
        """What is predicted of an audit item now."""
        return self.beliefs.get(probe.item, probe.prior)

    def believe(self, item: str, belief: int) -> None:
        """Keep what is predicted of an audit item from now on."""
        self.beliefs[item] = belief

    def counted(self, identity: str, campaign: str, ruling: Ruling) -> bool:
        """Whether a ruling of this direction on the campaign has moved the account already."""
        return (identity, campaign, ruling) in self._counted

    def withdraw(self, contribution: str) -> None:
        """Leave a contribution unaudited: it is held again."""
        stake = self.stakes.get(contribution)
        if stake is not None and not stake.audited:
            self.stakes[contribution] = replace(stake, base_micro=0)

    def audit_due(self, now_us: int) -> list[Measured]:
        """Audit what is mature by now, in the order of maturity."""
        done = []
        while self._due and self._due[0][0] <= now_us:
            stake = self.stakes[heapq.heappop(self._due)[1]]
            if stake.base_micro and not stake.audited:
                done.append(measured := audit(self, stake, self.terms))
                self._weights[stake.contribution] = measured.weight_micro or 0
        return done

    def weight_of(self, contribution: str, accepted: float) -> float:
        """The weight of a contribution by now: the one that it was accepted with, until it is audited."""
        final = self._weights.get(contribution)
        return accepted if final is None else min(accepted, final / MICRO)
