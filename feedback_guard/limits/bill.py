"""What a submission will be charged if all goes well, worked out before the transaction that charges it."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass

from feedback_guard.assessment import Assessment
from feedback_guard.limits.interface import Charge, Spot


@dataclass(frozen=True, slots=True)
class Bill:
    """The charges of a submission, with the keys of their counters, each worked out once.

    Parameters
    ----------
    assessments
        What it was made for; it is good for no others.
    charges
        All of them, where everything is accepted and has room; empty if it is known that not everything is.
    counters
        The counter of each charge.
    lookups
        Every counter that settling is likely to need, to be read at once.
    spots
        Every point of embedding space that settling is likely to place.
    """

    assessments: Sequence[Assessment]
    charges: Sequence[Charge]
    counters: Sequence[str]
    lookups: Sequence[str]
    spots: Sequence[Spot] = ()

    def is_for(self, assessments: Sequence[Assessment]) -> bool:
        """Whether it was made for these very assessments."""
        own = self.assessments
        return len(own) == len(assessments) and all(map(operator.is_, own, assessments))
