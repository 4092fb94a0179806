"""Influence as a bankroll: exact arithmetic of the influence limiter, in integers.

Every identity begins with a small endowment. What it teaches changes a prediction; the change is measured by a proper,
bounded scoring rule (squared error) against the prediction *just before*, and the bankroll moves by the stake times
that improvement. The stake is never more than the bankroll, so no bankroll falls below 0, and an identity's net damage
is at most its endowment. Endowments of any number of identities add up to at most the operator's constant.

All quantities are integers of 10^-12 ("pico"), so that what is promised does not drift with floating point. Roundings
go against the identity: a gain is rounded down, a loss is rounded up, a prediction is rounded towards the truth.

References
----------
Resnick, P., Sami, R. (2007). The influence limiter: provably manipulation-resistant recommender systems. RecSys.
Resnick, P., Sami, R. (2008). The information cost of manipulation-resistance in recommender systems. RecSys.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from feedback_guard.errors import LimitError

PICO: Final = 10**12
"""One unit of loss, of influence, or of probability."""
MICRO: Final = 10**6
"""Likelihood ratios are integers of 10^-6."""
_SQUARE: Final = PICO * PICO


@dataclass(frozen=True, slots=True)
class Account:
    """The bankroll of one identity, in pico-units.

    Parameters
    ----------
    number
        Place among all identities, from 0, in the order of their first accepted contribution.
    endowment
        What it began with.
    balance
        What it has: always `endowment + gained - lost`, and never below 0.
    gained, lost
        Sums of what was credited and of what was paid.
    forfeited
        Improvement that its contributions would have made at full influence, and did not: the price it paid so far.
    n_measured
        How many measurements moved it, or could have.

    Examples
    --------
    >>> account = Account.opened(0, identities=100, damage=PICO)
    >>> account.balance / PICO
    0.005
    """

    number: int
    endowment: int
    balance: int
    gained: int = 0
    lost: int = 0
    forfeited: int = 0
    n_measured: int = 0

    def __post_init__(self) -> None:
        if self.balance < 0 or self.balance != self.endowment + self.gained - self.lost:
            raise LimitError(
                f"a bankroll of {self.balance} does not follow from an endowment of {self.endowment}, "
                f"{self.gained} gained and {self.lost} lost"
            )

    @classmethod
    def opened(cls, number: int, *, identities: int, damage: int) -> Account:
        """The account of a new identity."""
        first = endowment(number, identities=identities, damage=damage)
        return cls(number, first, first)

    @property
    def influence(self) -> int:
        """Share of its weight with which it teaches: min(1, balance)."""
        return min(PICO, self.balance)


@dataclass(frozen=True, slots=True)
class Move:
    """What one measurement does to an account, in pico-units.

    Parameters
    ----------
    stake
        Influence that was at risk.
    improvement
        Change of the loss at full influence, rounded down; positive is better. Within -1..1.
    credited
        What the balance moved by.
    forfeited
        Part of a positive improvement that the stake did not let happen.
    """

    stake: int
    improvement: int
    credited: int
    forfeited: int


def endowment(number: int, *, identities: int, damage: int) -> int:
    """What the identity with this place begins with, in pico-units.

    The first `identities` share half of `damage`, the next `2 x identities` a quarter, the next `4 x identities` an
    eighth, and so on: whatever the number of names, all endowments together are at most `damage`.

    Parameters
    ----------
    number
        Place in the order of first acceptance, from 0.
    identities
        How many are expected, at least 1.
    damage
        Most net damage of all together, in pico-units.

    Raises
    ------
    LimitError
        If a parameter is out of range.

    Examples
    --------
    >>> [endowment(n, identities=2, damage=16) for n in (0, 1, 2, 5, 6, 13)]
    [4, 4, 1, 1, 0, 0]
    """
    if number < 0 or identities < 1 or damage < 0:
        raise LimitError(
            f"no endowment for place {number} of {identities} identities with damage {damage}: all are 0 or more, "
            "and there is at least one identity"
        )
    block = (number // identities + 1).bit_length() - 1
    return damage // (identities << (2 * block + 1))


def posterior(belief: int, ratio_micro: int) -> int:
    """What a belief becomes at full influence, by Bayes' rule.

    Parameters
    ----------
    belief
        Chance before, in pico-units, within 0..1.
    ratio_micro
        How much likelier the contribution is if the belief is right than if it is wrong, in micro-units.

    Examples
    --------
    >>> posterior(PICO // 2, 9 * MICRO) / PICO
    0.9
    """
    if not 0 <= belief <= PICO or ratio_micro < 0:
        raise LimitError(f"no belief of {belief} with a likelihood ratio of {ratio_micro}: out of range")
    yes, no = belief * ratio_micro, (PICO - belief) * MICRO
    return belief if yes + no == 0 else yes * PICO // (yes + no)


def loss(belief: int, happened: bool) -> int:
    """Squared error of a belief, in units of 10^-24: a proper scoring rule within 0..1, and convex."""
    error = PICO - belief if happened else belief
    return error * error


def mixed(before: int, raw: int, stake: int) -> int:
    """The prediction after a contribution of which only a share acts, rounded towards 1.

    By convexity its loss, where 1 is the truth, is at most the mixture of the two losses.
    """
    return before + -(-stake * (raw - before) // PICO)


def measure(account: Account, stake: int, *, before: int, raw: int, happened: bool, most: int) -> Move:
    """What a contribution earns or pays.

    Parameters
    ----------
    account
        Of who contributed.
    stake
        Share with which it acts, in pico-units; what is beyond the account's influence is not at stake.
    before, raw
        The prediction just before it, and what it would make of it at full influence.
    happened
        Whether the predicted event turned out true.
    most
        Most that an account keeps; what is beyond is not credited.
    """
    stake = min(max(0, stake), account.influence)
    improvement = loss(before, happened) - loss(raw, happened)
    credited = stake * improvement // _SQUARE  # rounded down: less gain, more loss
    if credited > 0:
        credited = max(0, min(credited, most - account.balance))
    return Move(
        stake=stake,
        improvement=improvement // PICO,
        credited=credited,
        forfeited=(PICO - stake) * max(0, improvement) // _SQUARE,
    )


def applied(account: Account, move: Move) -> Account:
    """The account after a measurement."""
    return replace(
        account,
        balance=account.balance + move.credited,
        gained=account.gained + max(0, move.credited),
        lost=account.lost + max(0, -move.credited),
        forfeited=account.forfeited + move.forfeited,
        n_measured=account.n_measured + 1,
    )


def reversed_by(account: Account, credited: int) -> int:
    """What the balance moves by when an earlier measurement is taken back, as far as it is still there.

    Examples
    --------
    >>> reversed_by(Account(0, 5, 8, gained=3), 3), reversed_by(Account(0, 5, 1, gained=3, lost=7), 3)
    (-3, -1)
    """
    return -min(credited, account.balance)
