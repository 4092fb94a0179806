"""Policy of findings about single contributions: what each may spend, and when one holds."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from feedback_guard.policy.base import Share, Strict


class SignalWeight(Strict):
    """How much of the false-hold rate a signal may spend."""

    share: Share
    """Share of `false_hold_rate` that this signal may spend. 0 turns it off; the shares add up to at most 1."""


class SignalsPolicy(Strict):
    """How findings become a suspicion and a hold.

    The findings of one contribution are combined by a weighted Bonferroni bound: with shares that add up to 1 at
    most, no more than `false_hold_rate` of honest contributions are held, however the signals depend on each other.
    """

    false_hold_rate: float = Field(0.01, gt=0.0, le=0.5)
    """Share of honest contributions, alike to the trusted set, that may be held by mistake."""
    full_weight_at: float = Field(3.0, ge=1.0, le=100.0)
    """A contribution has its full weight when its combined p-value is at least this many times the false-hold rate;
    between the two its weight grows linearly. 1 switches shading off."""
    disagreement: SignalWeight = SignalWeight(share=0.50)
    """What is taught contradicts the content, as a model of the trusted set reads it."""
    novelty: SignalWeight = SignalWeight(share=0.15)
    """The text is far from anything in the trusted set."""
    anomaly: SignalWeight = SignalWeight(share=0.10)
    """Length, character make-up and position are jointly unusual (half-space trees)."""
    near_duplicate: SignalWeight = SignalWeight(share=0.15)
    """More accounts than chance sent almost the same text."""
    obfuscation: SignalWeight = SignalWeight(share=0.10)
    """Hidden, mixed-script, reordered or encoded text."""
    unknown_label: Literal["accept", "quarantine"] = "accept"
    """What to do with a label that the trusted set has never seen."""
    unknown_label_weight: Share = 0.7
    """Most weight of a contribution whose label the trusted set has never seen."""

    @model_validator(mode="after")
    def _shares_add_up(self) -> Self:
        total = sum(self.shares.values())
        if total > 1.0 + 1e-9:
            raise ValueError(f"the shares of the signals add up to {total:g}; at most 1 keeps the false-hold rate true")
        if total <= 0.0:
            raise ValueError("every signal is off: nothing would ever be held; use `mode: observe` to hold nothing")
        return self

    @property
    def shares(self) -> dict[str, float]:
        """Share of each signal, by its name."""
        return {
            name: getattr(self, name).share
            for name in ("disagreement", "novelty", "anomaly", "near_duplicate", "obfuscation")
        }
