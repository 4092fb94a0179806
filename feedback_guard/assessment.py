"""What the detectors say of one contribution, as values: budgets and records need these, and none of the detectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from feedback_guard.embedding.interface import Vectors
from feedback_guard.verdict import Decision, Reason


@dataclass(frozen=True, slots=True)
class Content:
    """What is said in one contribution, for the budgets of one policy.

    Parameters
    ----------
    keys
        Values of its facets, by the name of the budget that they are charged to.
    beyond
        Budgets that it has more values for than are charged: it finds no room there.
    where
        Where its text lies in embedding space, as a unit vector; None where no budget asks.
    trusted
        Vectors of trusted texts of its kind, shape (n, d); None where there are none.
    """

    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    beyond: frozenset[str] = frozenset()
    where: Vectors | None = None
    trusted: Vectors | None = None

    def n_trusted(self, radius: float) -> int:
        """How many trusted texts lie within a Euclidean distance. Asked only where a budget has no room."""
        if self.trusted is None or self.where is None or self.trusted.shape[1] != len(self.where):
            return 0
        return int(np.count_nonzero(self.trusted @ self.where >= 1.0 - radius * radius / 2.0))


NOTHING: Final = Content()
"""Of a contribution that was not read, or under a policy without such budgets."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the detectors propose, before budgets.

    Parameters
    ----------
    decision
        `ACCEPT` or `QUARANTINE`; `REJECT` for what belongs to a denied campaign, if the policy says so.
    weight
        0..1; 0 unless accepted.
    suspicion
        0..1, higher is more suspicious; one minus the combined p-value.
    reasons
        Strongest first.
    campaign
        The campaign that it belongs to, if any.
    unscored
        True when it could not be scored: it is held, or passes because the policy fails open or there is no baseline.
    content
        What is said in it, for budgets.
    variants
        What its near copies have in common with it, for the budgets on probing.
    """

    decision: Decision
    weight: float
    suspicion: float
    reasons: tuple[Reason, ...]
    unscored: bool = False
    campaign: str | None = None
    content: Content = NOTHING
    variants: tuple[str, ...] = ()
