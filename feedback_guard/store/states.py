"""The two state machines: may the model learn it, and has the application seen it.

A contribution moves through `Learning`. The request that brought it, a submission, moves through `Delivery`.
They are two because a held contribution may have been delivered (route mode `pass`) or not (route mode `hold`).
Each transition is one transaction that also appends to the ledger; nothing moves in any other way.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from feedback_guard.errors import TransitionError


class Learning(StrEnum):
    """Whether the model may learn a contribution."""

    ACCEPTED = "accepted"
    HELD = "held"
    LIMITED = "limited"
    REJECTED = "rejected"
    APPROVED = "approved"
    DENIED = "denied"


class Delivery(StrEnum):
    """What became of the request that brought it."""

    NONE = "none"
    """There is no request: it came through `replay`, `vet` or a direct call."""
    REFUSED = "refused"
    """Answered by the guard; the application never sees it."""
    HELD = "held"
    """Kept byte for byte; the application has not seen it."""
    APPROVED = "approved"
    """A moderator let it through; it waits for a worker of the application."""
    DENIED = "denied"
    """A moderator refused it; the application never sees it."""
    DISPATCHING = "dispatching"
    """About to be given to the application, or given and not yet answered."""
    DELIVERED = "delivered"
    """The application answered with a status below 400."""
    FAILED = "failed"
    """The application answered with a status of 400 or above."""
    UNKNOWN = "unknown"
    """Given to the application, and nobody can tell what it did."""


LEARNING: Mapping[Learning | None, frozenset[Learning]] = {
    None: frozenset({Learning.ACCEPTED, Learning.HELD, Learning.LIMITED, Learning.REJECTED}),
    Learning.ACCEPTED: frozenset(),
    Learning.HELD: frozenset({Learning.APPROVED, Learning.DENIED}),
    Learning.LIMITED: frozenset(),
    Learning.REJECTED: frozenset(),
    Learning.APPROVED: frozenset({Learning.DENIED}),
    Learning.DENIED: frozenset({Learning.APPROVED}),
}
"""What may follow what; None is before the verdict. A moderator may change her mind, both ways."""

DELIVERY: Mapping[Delivery | None, frozenset[Delivery]] = {
    None: frozenset({Delivery.NONE, Delivery.REFUSED, Delivery.HELD, Delivery.DISPATCHING}),
    Delivery.NONE: frozenset(),
    Delivery.REFUSED: frozenset(),
    Delivery.HELD: frozenset({Delivery.APPROVED, Delivery.DENIED}),
    Delivery.APPROVED: frozenset({Delivery.DISPATCHING, Delivery.DENIED}),
    Delivery.DENIED: frozenset({Delivery.APPROVED}),
    Delivery.DISPATCHING: frozenset({Delivery.DELIVERED, Delivery.FAILED, Delivery.UNKNOWN}),
    Delivery.DELIVERED: frozenset(),
    Delivery.FAILED: frozenset(),
    Delivery.UNKNOWN: frozenset(),
}
"""What may follow what. `UNKNOWN` is final here: sending it again could have the effect twice."""


def check_learning(before: Learning | None, after: Learning) -> None:
    """Refuse a transition that the machine does not have.

    Raises
    ------
    TransitionError
        Naming both states.
    """
    if after not in LEARNING[before]:
        raise TransitionError(f"a contribution cannot go from {before or 'nothing'} to {after}")


def check_delivery(before: Delivery | None, after: Delivery) -> None:
    """Refuse a transition that the machine does not have.

    Raises
    ------
    TransitionError
        Naming both states.
    """
    if after not in DELIVERY[before]:
        raise TransitionError(f"a request cannot go from {before or 'nothing'} to {after}")
