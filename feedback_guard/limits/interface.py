"""What a budget is, and what may charge it. All arithmetic is in integers: microseconds and micro-units.

A rate budget is a token bucket in its GCRA form (ATM Forum TM 4.0, also RFC 2697's idea): at most
`burst + amount * t / period` in every interval of length t. A lifetime budget is a plain cap.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from feedback_guard.embedding.interface import Vectors

UNIT = 1_000_000
"""Micro-units in one: one attempt, or weight 1.0, costs this much."""


class Measure(StrEnum):
    """What a budget counts."""

    COUNT = "count"
    """Attempts that are judged."""
    WEIGHT = "weight"
    """Weight that is accepted: influence."""
    TOLD = "told"
    """Answers that tell what the detectors decided."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much one facet may still do.

    Parameters
    ----------
    name
        As the policy calls it; part of the key, so two budgets never share a counter.
    facet
        `contributor`, `anonymous`, `group:NAME`, or what is said: `family`, `phrase`, `pair`, `target`.
    measure
        What is counted.
    amount_micro
        Micro-units per period, or for a lifetime budget in all.
    period_us
        Microseconds; None for a lifetime budget.
    burst_micro
        Micro-units that may come at once; not used by a lifetime budget.
    forget_after_us
        Microseconds after its latest charge when a counter of a lifetime budget may be forgotten; None for never.
        A rate budget's counter may be forgotten once its bucket is empty.
    """

    name: str
    facet: str
    measure: Measure
    amount_micro: int
    period_us: int | None
    burst_micro: int
    forget_after_us: int | None = None

    def __hash__(self) -> int:
        # Nearly all budgets differ in their names, and counters are looked up many times for each contribution.
        return hash(self.name)


class Charge(NamedTuple):
    """A cost against one budget for one value of its facet. Some dozens are made for each contribution."""

    budget: Budget
    key: str
    cost_micro: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Which budget had no room, and when it will.

    Parameters
    ----------
    charge
        What was refused.
    retry_after_us
        Microseconds until the same charge would fit; None when it never will.
    remaining_micro
        What is left at this moment.
    """

    charge: Charge
    retry_after_us: int | None
    remaining_micro: int


@dataclass(frozen=True, slots=True)
class Balance:
    """What a budget holds for one key at one moment, for the RateLimit fields of an answer."""

    remaining_micro: int
    reset_us: int | None


class Spot(NamedTuple):
    """A point of embedding space around which a budget will be asked for room.

    Parameters
    ----------
    counter
        Of the budget.
    radius
        Euclidean distance.
    where
        Unit vector, shape (d,).
    """

    counter: str
    radius: float
    where: Vectors


class BudgetStore(Protocol):
    """Where budgets are kept. Every implementation passes `feedback_guard.limits.checks`.

    The store has its own idea of time: the latest time it has seen for a key. An earlier one is treated as that
    latest one, so that a clock that jumps back refills nothing.
    """

    def charge(self, charges: Sequence[Charge], now_us: int) -> Refusal | None:
        """Charge all or, when one has no room, none.

        Returns
        -------
        Refusal or None
            The first charge without room; None when all were charged.
        """
        ...

    def force(self, charges: Sequence[Charge], now_us: int) -> None:
        """Charge all even where there is no room: for what a human approved. The debt is paid by waiting."""
        ...

    def peek(self, charges: Sequence[Charge], now_us: int) -> Refusal | None:
        """What `charge` would return, without charging."""
        ...

    def balance(self, budget: Budget, key: str, now_us: int) -> Balance:
        """What is left for a key."""
        ...


def merged(charges: Iterable[Charge], *, of: int = 2) -> list[Charge]:
    """Add up what several contributions cost the same counter, in the order of the first charge against each.

    Parameters
    ----------
    of
        How many contributions there are. One is charged to each counter once, so there is nothing to add up.
    """
    if of == 1:
        return list(charges)
    found: dict[tuple[str, str], Charge] = {}
    for charge in charges:
        where = (charge.budget.name, charge.key)
        before = found.get(where)
        found[where] = charge._replace(cost_micro=charge.cost_micro + before.cost_micro) if before else charge
    return list(found.values())


class BudgetRecord(BudgetStore, Protocol):
    """A budget store that is the record itself, so that it also knows when something began."""

    def charge_counters(self, charges: Sequence[Charge], counters: Sequence[str], now_us: int) -> Refusal | None:
        """`charge`, where the key of each charge's counter is known already."""
        ...

    def first_us(self, budget: Budget, key: str) -> int | None:
        """When a counter that fits once was charged, in microseconds since the epoch; None if it never was."""
        ...

    def used_micro(self, budget: Budget, key: str) -> int:
        """What was charged to a counter of a lifetime budget so far, in micro-units."""
        ...

    def place(self, budget: Budget, radius: float, where: Vectors, cost_micro: int, now_us: int) -> bool:
        """Place a point of embedding space, if what lies within the radius leaves room for its cost.

        Parameters
        ----------
        radius
            Euclidean distance.
        where
            Unit vector, shape (d,).
        """
        ...

    def placed(self) -> int:
        """How many points were placed so far."""
        ...

    def take_back(self, n: int) -> None:
        """Take back all points but the first n that were placed."""
        ...
