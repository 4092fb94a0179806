"""Who has earned how much influence: what is at stake, what an audit and a ruling do to it, and where it is kept.

The way of a stake: a contribution is accepted and *staked* with the influence that its contributor has then. When it is
mature, it is *audited*: its final weight takes the lower of the influence then and now, and if it lies near an item of
the audit set, its contributor's bankroll moves by what it did to the prediction of that item. What a moderator decides
about it *rules* on it, too. So nobody spends the same reputation twice while measurements are pending.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Protocol

from feedback_guard.limits.bankroll import (
    MICRO,
    PICO,
    Account,
    Move,
    applied,
    measure,
    mixed,
    posterior,
    reversed_by,
)

ANONYMOUS: Final = "anonymous"
"""The identity of everybody who is not named; digests look otherwise."""
UNKNOWN_BELIEF: Final = PICO // 2
"""Chance that a contribution is right where the trusted set cannot tell."""

Ruling = Literal["approved", "denied"]


def identity_of(contributor: str, *, anonymous: bool) -> str:
    """Name of the account of a contributor: the digest that the ledger has, too.

    Examples
    --------
    >>> identity_of("whoever", anonymous=True)
    'anonymous'
    """
    return ANONYMOUS if anonymous else hashlib.sha256(contributor.encode("utf-8")).hexdigest()


@dataclass(frozen=True, slots=True)
class Probe:
    """An audit item that a contribution speaks about.

    Parameters
    ----------
    item
        Names it; it repeats nothing of its content.
    prior
        Chance that the anchored model gives to what is vetted there, in pico-units.
    ratio_micro
        How much likelier the contribution is if that is right than if it is wrong, in micro-units.
    """

    item: str
    prior: int
    ratio_micro: int


@dataclass(frozen=True, slots=True)
class Stake:
    """What a contribution puts at risk.

    Parameters
    ----------
    contribution, identity
        Which one, and whose account it is.
    base_micro
        Its weight without reputation, in micro-units; 0 where it was not accepted.
    influence
        The account's influence when it was accepted, in pico-units.
    mature_us
        When it may be audited.
    belief
        Chance that it is right as the trusted set reads it, in pico-units: what a ruling is measured against.
    probe
        The audit item that it speaks about, if any.
    audited
        Whether it was.
    ruling, credited
        How a moderator decided last, and what that moved; None before.
    counted
        The campaign that it was ruled on with, where there is one.
    """

    contribution: str
    identity: str
    base_micro: int
    influence: int
    mature_us: int
    belief: int = UNKNOWN_BELIEF
    probe: Probe | None = None
    audited: bool = False
    ruling: Ruling | None = None
    credited: int = 0
    counted: str | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """The operator's constants.

    Parameters
    ----------
    identities, damage
        As `bankroll.endowment` takes them.
    most
        Most that an account keeps, in pico-units.
    floor
        Share of the weight that everybody has, in pico-units.
    reliability
        Chance that somebody is believed with, who has full influence and says that her contribution is right; in
        pico-units.
    """

    identities: int
    damage: int
    most: int
    floor: int = 0
    reliability: int = 9 * PICO // 10

    def weight_micro(self, base_micro: int, influence: int) -> int:
        """The weight that an influence leaves of a base weight, rounded down."""
        return base_micro * max(self.floor, min(PICO, influence)) // PICO


class Earned:
    """Who is established by reputation; what the newcomers' pool asks (`limits.newcomers.Standing`).

    It answers from memory: a guard looks at all accounts every half minute, `replay` after each audit.

    Parameters
    ----------
    least
        Balance from which one is established, in pico-units.

    Examples
    --------
    >>> earned = Earned(PICO // 2)
    >>> earned.note(identity_of("ada", anonymous=False), PICO)
    >>> earned.established("ada", 0), earned.established("bob", 0)
    (True, False)
    """

    def __init__(self, least: int) -> None:
        self.least = least
        self.known: set[str] = set()
        self.looked_us = -(2**62)

    def established(self, contributor: str, now_us: int) -> bool:  # noqa: ARG002 - reputation does not age
        """Whether she has earned enough."""
        return identity_of(contributor, anonymous=False) in self.known

    def note(self, identity: str, balance: int) -> None:
        """Remember one identity's balance."""
        if balance >= self.least:
            self.known.add(identity)
        else:
            self.known.discard(identity)


class Bank(Protocol):
    """Where accounts, stakes and the audited predictions are kept. One measurement at a time uses it."""

    def account(self, identity: str) -> Account:
        """An identity's account; the one that it would get if it has none yet."""
        ...

    def open(self, identity: str, contribution: str, now_us: int) -> Account:
        """An identity's account, which is made if there is none, because of this contribution."""
        ...

    def put(self, identity: str, account: Account) -> None:
        """Keep a changed account."""
        ...

    def add(self, stake: Stake) -> None:
        """Keep a new stake."""
        ...

    def update(self, stake: Stake) -> None:
        """Keep a changed stake."""
        ...

    def belief(self, probe: Probe) -> int:
        """What is predicted of an audit item now."""
        ...

    def believe(self, item: str, belief: int) -> None:
        """Keep what is predicted of an audit item from now on."""
        ...

    def counted(self, identity: str, campaign: str, ruling: Ruling) -> bool:
        """Whether a ruling of this direction on the campaign has moved the account already."""
        ...


@dataclass(frozen=True, slots=True)
class Measured:
    """What one measurement did, as the ledger tells it."""

    stake: Stake
    event: Literal["audited", "ruled"]
    before: Account
    after: Account
    move: Move
    taken_back: int = 0
    weight_micro: int | None = None
    belief: int | None = None

    def body(self) -> dict[str, Any]:
        """The ledger entry's body: integers and digests, nothing that a user wrote."""
        told: dict[str, Any] = {
            "event": self.event,
            "identity": self.stake.identity,
            "stake_pico": self.move.stake,
            "improvement_pico": self.move.improvement,
            "forfeited_pico": self.move.forfeited,
            "credited_pico": self.move.credited,
            "taken_back_pico": self.taken_back,
            "balance_pico": self.after.balance,
        }
        if self.event == "ruled":
            return {**told, "ruling": self.stake.ruling, "campaign": self.stake.counted}
        probe = self.stake.probe
        return {
            **told,
            "weight_micro": self.weight_micro,
            "item": probe.item if probe is not None else None,
            "belief_pico": self.belief,
        }


def audit(bank: Bank, stake: Stake, terms: Terms) -> Measured:
    """Fix the final weight of a mature contribution, and measure what it did to the audit item that it speaks about.

    The prediction that it is measured against is the one just before it, so whoever repeats what others taught
    already earns nothing.
    """
    account = bank.account(stake.identity)
    influence = min(stake.influence, account.influence)
    weight = terms.weight_micro(stake.base_micro, influence)
    move, belief = Move(0, 0, 0, 0), None
    if stake.probe is not None:
        before = bank.belief(stake.probe)
        raw = posterior(before, stake.probe.ratio_micro)
        at_stake = min(PICO, stake.base_micro * PICO // MICRO) * influence // PICO
        move = measure(account, at_stake, before=before, raw=raw, happened=True, most=terms.most)
        belief = mixed(before, raw, move.stake)
        bank.believe(stake.probe.item, belief)
    after = applied(account, move) if stake.probe is not None else account
    done = replace(stake, audited=True)
    bank.put(stake.identity, after)
    bank.update(done)
    return Measured(done, "audited", account, after, move, weight_micro=weight, belief=belief)


def rule(bank: Bank, stake: Stake, ruling: Ruling, campaign: str | None, terms: Terms) -> Measured | None:
    """Measure a moderator's decision: the event is that the contribution is right, and its contributor said so.

    The prediction just before her word is what the trusted set reads in the content; with it, at full influence, she is
    believed. So an approval of what everybody knows earns nothing, one of what nobody expected the most, and a denial
    costs the more, the less the content spoke for her. A changed mind first takes back what the earlier
    decision moved, as far as that is still there. A campaign is one question with one answer: of the decisions on it,
    only the first of each direction moves an identity's account.

    Returns
    -------
    Measured or None
        None where nothing is to be told: the same decision again.
    """
    if stake.ruling == ruling:
        return None
    account = bank.account(stake.identity)
    back = min(reversed_by(account, stake.credited), max(0, terms.most - account.balance))
    start = applied(account, Move(0, 0, back, 0)) if back else account
    start = replace(start, n_measured=account.n_measured)
    if campaign is not None and bank.counted(stake.identity, campaign, ruling):
        move = Move(0, 0, 0, 0)
        done = replace(stake, ruling=ruling, credited=0, counted=None)
    else:
        raw = max(stake.belief, terms.reliability)
        right = ruling == "approved"
        move = measure(start, PICO, before=stake.belief, raw=raw, happened=right, most=terms.most)
        done = replace(stake, ruling=ruling, credited=move.credited, counted=campaign)
    after = applied(start, move)
    bank.put(stake.identity, after)
    bank.update(done)
    return Measured(done, "ruled", account, after, move, taken_back=back)
