"""Budgets on searching for the boundary between what is accepted and what is held."""

from __future__ import annotations

from pydantic import Field

from feedback_guard.clock import MICROSECONDS
from feedback_guard.policy.base import Duration, Strict


class ProbingBudget(Strict):
    """A budget for queries that may be a search, refilled by time."""

    amount: int = Field(ge=1, le=1_000_000)
    """How many per period."""
    per: Duration = Field(86_400 * MICROSECONDS, ge=MICROSECONDS)
    """The period."""
    burst: int | None = Field(None, ge=1, le=1_000_000)
    """How many may come at once; by default the amount. In every interval of length t there are at most
    burst + amount x t / per."""


class ProbingPolicy(Strict):
    """Who searches for the boundary sends variants of one text, and needs answers that say that something is held.

    Both are budgeted for each contributor. Without room a contribution is limited whatever it says, so that the limit
    tells nothing, and so that waiting is the only way on.
    """

    held: ProbingBudget | None = None
    """Requests of one contributor in which the detectors held something."""
    near_copies: ProbingBudget | None = None
    """Contributions of one contributor that are near copies of one text, whatever was decided of them."""
