"""What evidence remembers of a contribution, and what it says of one that belongs to a campaign."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple, Self, cast

import numpy as np
from numpy.typing import NDArray

from feedback_guard.evidence.campaigns import Campaign
from feedback_guard.evidence.facets import Facets
from feedback_guard.evidence.telling import MAX_PHRASE_CHARS
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


class Entry(NamedTuple):
    """A contribution as it is remembered: there are tens of thousands, so small.

    Parameters
    ----------
    number
        Which one it was, from 1.
    account
        Keyed number of its sender; 0 for nobody.
    log_ratio, which, taught
        What it teaches, as in its `Lesson`.
    base
        What the classes of its kind are numbered from.
    words
        Its phrases in the order of their keys, a line each: one text takes a sixth of what a tuple of texts does.
    phrases
        Their keys.
    shared, shared_words
        Keys of its facets of further kinds, and what a moderator reads of each.
    """

    number: int
    ident: str
    at_us: int
    account: int
    log_ratio: float
    which: int
    base: int
    taught: str
    accepted: bool
    words: str
    phrases: NDArray[np.uint64]
    shared: NDArray[np.uint64]
    shared_words: tuple[str, ...]

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
            NUMBERED[lesson.kind],
            lesson.taught,
            accepted,
            "\n".join(each[:MAX_PHRASE_CHARS] for each in facets.words),
            facets.phrases,
            facets.shared.keys,
            facets.shared.words,
        )

    @property
    def class_number(self) -> int:
        """`Lesson.number` of what it teaches."""
        return self.which + self.base

    def phrase(self, key: int) -> str:
        """The phrase that a key stands for; it must be one of its own."""
        return self.words.split("\n")[int(np.flatnonzero(self.phrases == np.uint64(key))[0])]


_WHICH: Final = Entry._fields.index("which")
_LOG_RATIO: Final = Entry._fields.index("log_ratio")


class Entries:
    """The latest contributions, by number.

    They are kept as plain tuples of numbers, texts and arrays, which the garbage collector looks at once and never
    again; objects of any class it would look through on each of its rounds.

    Parameters
    ----------
    window
        How many.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._kept: dict[int, tuple[object, ...]] = {}
        self._oldest = 1
        self.newest = 0
        """How many there were."""

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, entry: Entry) -> list[str]:
        """Remember a contribution, the next by number; returns the identifiers of those that are forgotten for it."""
        self._kept[entry.number] = tuple(entry)
        self.newest = entry.number
        gone = []
        while len(self._kept) > self._window:
            gone.append(Entry._make(self._kept.pop(self._oldest)).ident)
            self._oldest += 1
        return gone

    def lessons(self, numbers: Iterable[int]) -> list[tuple[int, float]]:
        """What those that are remembered among some contributions teach: `which` and `log_ratio` of each."""
        kept = (self._kept.get(number) for number in numbers)
        return [cast("tuple[int, float]", (each[_WHICH], each[_LOG_RATIO])) for each in kept if each is not None]

    def get(self, number: int) -> Entry | None:
        """A contribution; None if it is not remembered."""
        found = self._kept.get(number)
        return None if found is None else Entry._make(found)
