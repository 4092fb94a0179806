"""What evidence reads of one contribution, and each part of it once.

It is read when the contribution is judged and again when the verdict was recorded. The numbers of its phrases are found
when they are asked for: whoever judges seldom has to, since the phrases themselves tell that none of them is believed.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import Final

from feedback_guard.evidence.facets import Background, Clauses, Facets, of_kind
from feedback_guard.evidence.kinds.gather import Kinds
from feedback_guard.signals.disagreement import Disagreement
from feedback_guard.signals.interface import Observation
from feedback_guard.signals.lesson import Lesson

RECENT: Final = 2_048
"""Readings that are kept of contributions that were judged, until what became of them is taken in."""


class Reading:
    """One contribution.

    Parameters
    ----------
    observation
        What is read.
    lesson
        What it teaches; None where the trusted set cannot tell.
    background, kinds
        What it is read by.
    """

    __slots__ = ("_background", "_clauses", "_facets", "lesson", "observation", "phrases", "senders", "shared")

    def __init__(self, observation: Observation, lesson: Lesson | None, background: Background, kinds: Kinds) -> None:
        kind = observation.contribution.kind
        shared = kinds.of(observation, background.named)
        self.observation = observation
        self.lesson = lesson
        self.senders = background.senders_of(observation.contribution)
        self.phrases = background.phrases_of(observation)
        keys = of_kind(shared.keys, kind)
        self.shared = shared if keys is shared.keys else replace(shared, keys=keys)
        self._background = background
        self._facets: Facets | None = None
        self._clauses: Clauses | None = None

    @property
    def is_numbered(self) -> bool:
        """Whether the numbers of its phrases were found before."""
        return self._facets is not None

    @property
    def clauses(self) -> Clauses:
        """How it begins its clauses."""
        if self._clauses is None:
            self._clauses = self._background.clauses(self.observation)
        return self._clauses

    @property
    def facets(self) -> Facets:
        """All of its facets, with their numbers."""
        if self._facets is None:
            background = self._background
            found = background.of(self.observation, self.phrases, self.senders)
            phrases = of_kind(found.phrases, self.observation.contribution.kind)
            self._facets = Facets(
                found.senders,
                phrases,
                found.words,
                found.kinds,
                self.shared,
                found.n_trusted,
            )
        return self._facets


class Readings:
    """Reads contributions, and remembers them until they are taken.

    Parameters
    ----------
    background
        What is known of phrases from the trusted set.
    kinds
        Further kinds of facets.
    reader
        Reads what a contribution teaches.
    """

    def __init__(self, background: Background, kinds: Kinds, reader: Disagreement) -> None:
        self._background, self._kinds, self._reader = background, kinds, reader
        self._kept: OrderedDict[int, Reading] = OrderedDict()

    def of(self, observation: Observation) -> Reading:
        """Read a contribution.

        Raises
        ------
        SignalError
            If it cannot be read.
        """
        # By the object, which is kept with its reading: another of the same name may say something else.
        known = self._kept.get(id(observation))
        if known is not None and known.observation is observation:
            return known
        found = Reading(observation, self._reader.lesson(observation), self._background, self._kinds)
        self._kept[id(observation)] = found
        while len(self._kept) > RECENT:
            self._kept.popitem(last=False)
        return found

    def take(self, observation: Observation) -> Reading:
        """Read a contribution for the last time.

        Raises
        ------
        SignalError
            If it cannot be read.
        """
        found = self.of(observation)
        self._kept.pop(id(observation), None)
        return found
