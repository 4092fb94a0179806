"""Policy of evidence: what contributions teach together."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from feedback_guard.policy.base import Strict


class EvidencePolicy(Strict):
    """What contributions teach together: evidence is added up over senders, words, and forms of sentences."""

    enabled: bool = True
    """False judges every contribution by itself only."""
    false_campaign_rate: float = Field(0.1, gt=0.0, le=0.5)
    """Share of false campaigns among those found that is accepted, for each kind of facet; on a stream without any
    campaign, the chance of finding one of a kind. It is no better than what is assumed of honest people: on streams
    with mistakes in them more were measured (docs/explanation/detection.md)."""
    after_denial: Literal["hold", "reject"] = "hold"
    """What becomes of later members of a campaign that a moderator denied whole: `hold` keeps each for a decision,
    `reject` refuses it at once, and the application does not see it either."""
