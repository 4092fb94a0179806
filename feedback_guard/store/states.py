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
    WITHDRAWN = "withdrawn"
    """Its contributor put another one in its place: a later vote for the same output."""


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
    """Given to the application, and nobody can tell what it did, or not yet."""
    NEEDS_CREDENTIALS = "needs_credentials"
    """A kept request that the application would not take in that name (401, 403), or for which no credentials were
    to be had."""
    GIVEN_UP = "given_up"
    """A moderator decided that a kept request is not sent again."""
    WITHDRAWN = "withdrawn"
    """A kept request that the application never saw, and whose contributor put another one in its place."""


class Resolution(StrEnum):
    """What a moderator says about a request that did not plainly arrive."""

    RETRY = "retry"
    """Send it again: what stood in its way is gone."""
    ARRIVED = "arrived"
    """She looked in the application: it had its effect."""
    NOT_ARRIVED = "not-arrived"
    """She looked in the application: it had none, so it is sent again."""
    GIVE_UP = "give-up"
    """It is not sent again."""


LEARNING: Mapping[Learning | None, frozenset[Learning]] = {
    None: frozenset({Learning.ACCEPTED, Learning.HELD, Learning.LIMITED, Learning.REJECTED}),
    # A campaign that is found late pulls its earlier members back.
    Learning.ACCEPTED: frozenset({Learning.HELD, Learning.WITHDRAWN}),
    Learning.HELD: frozenset({Learning.APPROVED, Learning.DENIED, Learning.WITHDRAWN}),
    Learning.LIMITED: frozenset(),
    Learning.REJECTED: frozenset(),
    Learning.APPROVED: frozenset({Learning.DENIED, Learning.WITHDRAWN}),
    Learning.DENIED: frozenset({Learning.APPROVED}),
    Learning.WITHDRAWN: frozenset(),
}
"""What may follow what; None is before the verdict. A moderator may change her mind, both ways."""

DELIVERY: Mapping[Delivery | None, frozenset[Delivery]] = {
    None: frozenset({Delivery.NONE, Delivery.REFUSED, Delivery.HELD, Delivery.DISPATCHING}),
    Delivery.NONE: frozenset(),
    Delivery.REFUSED: frozenset(),
    Delivery.HELD: frozenset({Delivery.APPROVED, Delivery.DENIED, Delivery.WITHDRAWN}),
    Delivery.APPROVED: frozenset({Delivery.DISPATCHING, Delivery.DENIED, Delivery.WITHDRAWN}),
    Delivery.DENIED: frozenset({Delivery.APPROVED}),
    # Back to APPROVED is a claim that was given back before the application was called.
    Delivery.DISPATCHING: frozenset(
        {Delivery.DELIVERED, Delivery.FAILED, Delivery.UNKNOWN, Delivery.NEEDS_CREDENTIALS, Delivery.APPROVED}
    ),
    Delivery.DELIVERED: frozenset(),
    Delivery.FAILED: frozenset({Delivery.APPROVED, Delivery.GIVEN_UP}),
    Delivery.UNKNOWN: frozenset({Delivery.DELIVERED, Delivery.FAILED, Delivery.APPROVED, Delivery.GIVEN_UP}),
    Delivery.NEEDS_CREDENTIALS: frozenset({Delivery.APPROVED, Delivery.GIVEN_UP}),
    Delivery.GIVEN_UP: frozenset({Delivery.APPROVED}),
    Delivery.WITHDRAWN: frozenset(),
}
"""What may follow what. Nothing leaves `UNKNOWN` by itself, because sending it again could have the effect twice:
a moderator says what happened, the policy declares the application idempotent, or the application answers after all,
to a request that was given to it at once and so by nobody else."""

OUTCOMES: frozenset[Delivery] = frozenset(
    {Delivery.DELIVERED, Delivery.FAILED, Delivery.UNKNOWN, Delivery.NEEDS_CREDENTIALS}
)
"""What a call of the application can end in."""

RESOLUTIONS: Mapping[Delivery, Mapping[Resolution, Delivery]] = {
    Delivery.FAILED: {Resolution.RETRY: Delivery.APPROVED, Resolution.GIVE_UP: Delivery.GIVEN_UP},
    Delivery.NEEDS_CREDENTIALS: {Resolution.RETRY: Delivery.APPROVED, Resolution.GIVE_UP: Delivery.GIVEN_UP},
    Delivery.UNKNOWN: {
        Resolution.ARRIVED: Delivery.DELIVERED,
        Resolution.NOT_ARRIVED: Delivery.APPROVED,
        Resolution.GIVE_UP: Delivery.GIVEN_UP,
    },
    Delivery.GIVEN_UP: {Resolution.RETRY: Delivery.APPROVED},
}
"""Where each resolution leads from where. `UNKNOWN` has no plain retry: whoever sends it again says that it had not
arrived."""


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
