"""The answer to the one question: may the model learn this, and how much?"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

MAX_REASONS: Final = 5
"""Most reasons that a verdict carries."""


class Decision(StrEnum):
    """What is done with a contribution."""

    ACCEPT = "accept"
    QUARANTINE = "quarantine"
    LIMIT = "limit"
    REJECT = "reject"

    @property
    def severity(self) -> int:
        """How far it stands between the contribution and the model; a request takes its worst one."""
        return _SEVERITY[self]


_SEVERITY = {Decision.ACCEPT: 0, Decision.QUARANTINE: 1, Decision.LIMIT: 2, Decision.REJECT: 3}


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a verdict is what it is, in words that a moderator understands.

    Parameters
    ----------
    signal
        The detector, the budget, or the part of the guard that speaks.
    message
        A sentence. It never repeats contributed text.
    p_value
        How often an honest contribution looks at least this odd, 0..1; None where no rate applies.
    facet
        What it shares with others, as `kind:value`; None when it is about this one alone.
    """

    signal: str
    message: str
    p_value: float | None = None
    facet: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The contract's JSON object."""
        return {"signal": self.signal, "facet": self.facet, "p_value": self.p_value, "message": self.message}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the guard decided about one contribution.

    Parameters
    ----------
    id
        The contribution.
    decision
        What is done with it.
    weight
        How much the model may learn from it, 0..1; 0 unless accepted.
    suspicion
        0..1, higher is more suspicious; one minus the combined p-value.
    reasons
        The findings that speak against it, strongest first.
    policy, baseline
        Digests of what it was judged by; baseline is None without one.
    campaign
        The campaign it belongs to, if any.
    retry_after_us
        For a limit: microseconds until the budget has room; None when it never will.
    observed
        True when the guard only observed: the decision was recorded but not acted upon.
    unscored
        True when it could not be scored: held for that reason, or passed because the policy fails open or there is
        no baseline.

    Examples
    --------
    >>> v = Verdict("a", Decision.ACCEPT, 1.0, 0.2, (), "sha256:0", None)
    >>> v.to_json()["decision"]
    'accept'
    """

    id: str
    decision: Decision
    weight: float
    suspicion: float
    reasons: tuple[Reason, ...]
    policy: str
    baseline: str | None
    campaign: str | None = None
    retry_after_us: int | None = None
    observed: bool = False
    unscored: bool = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.weight <= 1.0 or not 0.0 <= self.suspicion <= 1.0:
            raise ValueError(f"weight {self.weight} and suspicion {self.suspicion} must lie in 0..1")
        if self.weight and self.decision is not Decision.ACCEPT:
            raise ValueError(f"a {self.decision} verdict has weight 0, not {self.weight}")

    def to_json(self) -> dict[str, Any]:
        """The contract's JSON object."""
        return {
            "id": self.id,
            "decision": self.decision.value,
            "weight": self.weight,
            "suspicion": self.suspicion,
            "campaign": self.campaign,
            "reasons": [reason.to_json() for reason in self.reasons],
            "policy": self.policy,
            "baseline": self.baseline,
        }
