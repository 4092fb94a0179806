"""What evidence remembers of a contribution, and what it says of one that belongs to a campaign."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from feedback_guard.contribution import Kind
from feedback_guard.evidence.campaigns import Campaign
from feedback_guard.evidence.facets import Facets
from feedback_guard.evidence.kinds.gather import Gathered
from feedback_guard.signals.lesson import NUMBERED, Lesson


@dataclass(frozen=True, slots=True)
class Charge:
    """A contribution that belongs to a campaign, and why."""

    ident: str
    campaign: str
    facet: str
    message: str
    p_value: float

    @classmethod
    def of(cls, ident: str, campaign: Campaign, kind: str) -> Self:
        """A charge by a facet of a kind, with the campaign's evidence as it is now."""
        p_value = min(1.0, math.exp(-campaign.log_e))
        return cls(ident, campaign.ident, kind, campaign.sentence(quote=True), p_value)


@dataclass(frozen=True, slots=True)
class Entry:
    """A contribution as it is remembered: there are tens of thousands, so small.

    Parameters
    ----------
    number
        Which one it was, from 1.
    account
        Keyed number of its sender; 0 for nobody.
    log_ratio, which, kind, taught
        What it teaches, as in its `Lesson`.
    words
        Its phrases in the order of their keys, a line each: one text takes a sixth of what a tuple of texts does.
    phrases
        Their keys.
    shared
        Its facets of further kinds.
    """

    number: int
    ident: str
    at_us: int
    account: int
    log_ratio: float
    which: int
    kind: Kind
    taught: str
    accepted: bool
    words: str
    phrases: NDArray[np.uint64]
    shared: Gathered

    @classmethod
    def of(cls, number: int, ident: str, at_us: int, facets: Facets, lesson: Lesson, *, accepted: bool) -> Self:
        """Remember a contribution by what was read of it."""
        return cls(
            number,
            ident,
            at_us,
            facets.senders[0][0] if facets.senders else 0,
            lesson.log_ratio,
            lesson.which,
            lesson.kind,
            lesson.taught,
            accepted,
            "\n".join(facets.words),
            facets.phrases,
            facets.shared,
        )

    @property
    def class_number(self) -> int:
        """`Lesson.number` of what it teaches."""
        return self.which + NUMBERED[self.kind]

    def phrase(self, key: int) -> str:
        """The phrase that a key stands for; it must be one of its own."""
        return self.words.split("\n")[int(np.flatnonzero(self.phrases == np.uint64(key))[0])]
