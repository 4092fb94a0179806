"""Who is new, and what all that are new may teach together."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from feedback_guard.clock import MICROSECONDS
from feedback_guard.policy.base import Duration, Strict

_DAY = 86_400 * MICROSECONDS


class NewcomersPolicy(Strict):
    """What contributors without standing may teach together, however many they are.

    Accounts cost nothing where anybody can make one. So whoever is new shares one pool with everybody else who is
    new; where they ask for more than it holds, a keyed lottery deals it out among them.
    """

    tenure: Duration = 7 * _DAY
    """A contributor is new until so long after the first contribution of hers that was accepted."""
    pool: float | None = Field(None, gt=0, le=10**9)
    """How much weight all newcomers together may teach in `per`. Without it there is no pool."""
    per: Duration = Field(_DAY, gt=0)
    """The time that the pool is for. In every interval of length t they teach at most
    pool x (2 / deals + t / per)."""
    deals: int = Field(8, ge=2, le=96)
    """How often in `per` the lottery deals anew; each time, who was not drawn may be."""
    each: float = Field(5.0, gt=0, le=10**6)
    """Most weight that one newcomer is dealt each time."""
    then: Literal["limit", "hold"] = "hold"
    """Who is not drawn is kept for a moderator (`hold`) or refused (`limit`)."""

    @model_validator(mode="after")
    def _a_contribution_fits(self) -> Self:
        if self.per < self.deals:
            raise ValueError("`per` is too short for so many `deals`")
        if self.each < 1 or (self.pool is not None and 2 * self.pool / self.deals < 1):
            raise ValueError("no whole contribution ever fits: `each` and 2 x pool / deals must be at least 1")
        return self
