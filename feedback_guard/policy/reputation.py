"""Reputation: influence that is earned by measured improvement, and how much damage it can do before it is gone."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Self

from pydantic import Field, model_validator

from feedback_guard.limits.bankroll import PICO
from feedback_guard.policy.base import Sha256, Share, Strict


class ReputationPolicy(Strict):
    """Influence that is earned, as in Resnick and Sami's influence limiter.

    The weight of what is accepted is multiplied by min(1, reputation). Reputation starts near 0, grows by what an
    identity's contributions improved, and pays for what they made worse. The measured net damage of all identities
    together, however many there are, stays at or below `damage`.
    """

    enabled: bool = False
    """True multiplies weights by reputation. Off in every preset: newcomers teach almost nothing until they have shown
    about log(2 x identities / damage) units of information; `feedback-guard reputation show` tells the price."""
    identities: int = Field(1_000, ge=1, le=100_000_000)
    """How many contributors are expected. The first so many share half of `damage`; every doubling of their number
    shares half of what is left, so that no number of new names gets more, and more names cost the later ones only a
    longer start."""
    damage: float = Field(1.0, ge=0.001, le=1_000_000.0)
    """Most net damage that all identities together can do, in units of measured loss: 1 turns one audit item, or one
    ruling, from certainly right to certainly wrong. At most `identities`."""
    most: float = Field(4.0, ge=1.0, le=1_000.0)
    """Most reputation that anyone keeps; full weight needs 1. It bounds what somebody can burn who earned first."""
    floor: Share = 0.0
    """Share of the weight that everybody has without reputation. Above 0 the bound holds for what is above the floor
    only, and something else, such as budgets, must bound the floor itself."""
    reliability: float = Field(0.9, ge=0.5, lt=1.0)
    """How much the word of somebody with full reputation is believed when a moderator's decision is predicted. Higher
    lets approvals earn a little more and denials cost more."""
    established_at: float = Field(0.5, gt=0.0, le=1.0)
    """Reputation from which a contributor counts as established."""
    audit: str | None = None
    """Directory that `feedback-guard reputation audit` wrote, relative to the working directory: vetted contributions
    that no baseline and no user has seen. Without one, reputation moves by moderators' decisions only."""
    audit_digest: Sha256 | None = None
    """Digest that the audit set must have; it is printed by `reputation audit`."""

    @model_validator(mode="after")
    def _endowment_is_a_share(self) -> Self:
        if self.damage > self.identities:
            raise ValueError(
                f"damage {self.damage:g} is more than the {self.identities} identities could do at full weight; "
                "at most one unit for each makes sense"
            )
        return self

    @property
    def damage_pico(self) -> int:
        """`damage` in pico-units, exactly as written."""
        return int(Fraction(str(self.damage)) * PICO)

    @property
    def most_pico(self) -> int:
        """`most` in pico-units."""
        return int(Fraction(str(self.most)) * PICO)

    @property
    def price(self) -> float:
        """Information that one of the first `identities` newcomers shows before full weight: log(1 / endowment)."""
        return max(0.0, math.log(2.0 * self.identities / self.damage))
