"""The inquiry: which phrases does a campaign use, once a class is suspected of one?

Those with names in the pair (`learners.NAMED`) are asked, with all their members anew, by the average of two tests: the
shift test, and the same null against a share of members that teaches the class whatever the content, which finds
phrases that honest people use as well (`planted.phrase_evidence`). Of the m that are asked, the k-th strongest is
believed if its e-value is at least m / (rate k) and all stronger ones are believed. The strongest comes first, and whom
it indicts is no evidence on the others, or every word that stands beside a trigger would be suspected too. Indicted are
members that contradict their content; and, where at least `LEAST_MEMBERS` do and the phrase is not in everyday use,
agreeing ones as well that are more likely planted than honest (`planted.planted_from`): planted ones that agree teach
the trigger, too.

Since the same contributions gave the names, the share of false ones is measured, not promised; what is promised is that
nobody is asked while no campaign is believed (`parting`).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedback_guard.evidence.book import Book
from feedback_guard.evidence.campaigns import MOST_CONTRARY, SPARED_BELOW
from feedback_guard.evidence.counting import LEAST_MEMBERS, SHARES
from feedback_guard.evidence.learners import Part
from feedback_guard.evidence.martingales import Honest, contrary_share
from feedback_guard.evidence.planted import phrase_evidence, planted_from
from feedback_guard.signals.lesson import CLASSES, LEAST_CHANCE, NUMBERED, Lesson

Floats = NDArray[np.float64]

WINDOW: Final = 50_000
"""Latest contributions that an inquiry looks at."""
MOST_MEMBERS: Final = 4_000
"""Latest members of a phrase that an inquiry looks at."""


def chance_of(part: Part, lesson: Lesson, row: int) -> float:
    """Chance of what is taught: with more than two classes the ratio that evidence is made of is the more lenient."""
    return max(float(part.chances[row]), 1.0 / (1.0 + math.exp(lesson.log_ratio)))


@dataclass(frozen=True, slots=True)
class Witnessed:
    """What an inquiry needs of the latest contributions, in rings.

    Parameters
    ----------
    taught, chance
        The class that each taught (`Lesson.number`), and its chance given the content.
    other, other_chance
        The class that its content speaks for next, and its chance.
    nth
        The how many-th near copy of a text it was.
    """

    taught: NDArray[np.int32] = field(default_factory=lambda: np.full(WINDOW, -1, dtype=np.int32))
    chance: NDArray[np.float32] = field(default_factory=lambda: np.zeros(WINDOW, dtype=np.float32))
    other: NDArray[np.int32] = field(default_factory=lambda: np.full(WINDOW, -1, dtype=np.int32))
    other_chance: NDArray[np.float32] = field(default_factory=lambda: np.zeros(WINDOW, dtype=np.float32))
    nth: NDArray[np.float32] = field(default_factory=lambda: np.ones(WINDOW, dtype=np.float32))


class Inquiry:
    """Remembers the latest contributions, and asks which phrases a campaign uses.

    Parameters
    ----------
    rate
        Share of false ones among the phrases that are believed, 0..1.
    everyday
        Trusted contributions from which a phrase is in everyday use. Of its members, only those are indicted that
        contradict their content: too many honest ones share it.
    """

    def __init__(self, rate: float, everyday: float = math.inf) -> None:
        self._everyday = everyday
        self._log_rate = math.log(rate)
        self._seen = Witnessed()
        self._newest = 0
        self._expected: dict[int, Honest] = {}
        """Of honest people, by kind of contributions."""

    def remember(self, number: int, part: Part, lesson: Lesson, nth: int) -> None:
        """Remember a contribution that was judged, as the pair read it."""
        at, seen = number % WINDOW, self._seen
        rows = part.classes.tolist()
        row = rows.index(lesson.which)
        others = [i for i in range(len(rows)) if i != row]
        other = max(others, key=lambda i: float(part.chances[i]))
        seen.taught[at], seen.chance[at] = lesson.number, chance_of(part, lesson, row)
        seen.other[at], seen.other_chance[at] = rows[other] + NUMBERED[lesson.kind], part.chances[other]
        seen.nth[at] = nth
        self._expected[lesson.number // CLASSES] = Honest.of(lesson.n_classes, lesson.n_known)
        self._newest = number

    def ask(
        self,
        phrases: Iterable[tuple[str, int]],
        which: int,
        book: Book,
        forms: Mapping[tuple[str, int], bool] = MappingProxyType({}),
    ) -> dict[tuple[str, int], float]:
        """Which of some phrases a class's campaign uses, as kind and key, strongest first.

        With each comes the least log-ratio (`Lesson.log_ratio`) from which a member that teaches the class is more
        likely planted than honest, given how many of its members are (`planted_from`).

        Parameters
        ----------
        phrases
            Kind and key of each that is asked.
        which
            The class, as `Lesson.number`.
        book
            Knows the members of phrases.
        forms
            Of the class that are believed by their own test, strongest first, and whether each is in everyday use.
        """
        explained = np.zeros(WINDOW, dtype=np.bool_)
        believed: dict[tuple[str, int], float] = {}
        for (kind, key), everyday in forms.items():
            slot = book.slot(key)
            if slot is not None:
                self._indict((kind, key), self._members(book, slot, which, everyday=everyday), believed, explained)
        asked: list[tuple[float, str, int, _Members]] = []
        for kind, key in dict.fromkeys(phrases):
            slot = book.slot(key)
            if slot is not None and len(book.members(slot, LEAST_MEMBERS)) == LEAST_MEMBERS:
                everyday = int(book.n_trusted[slot]) >= self._everyday
                members = self._members(book, slot, which, everyday=everyday)
                asked.append((-members.evidence(), kind, key, members))
        n_forms, line = len(believed), math.log(max(1, len(asked))) - self._log_rate
        # What is explained only takes evidence away, nearly always: so the strongest is asked again, and taken if it
        # still is the strongest.
        heapq.heapify(asked)
        while asked:
            _, kind, key, members = asked[0]
            evidence = members.evidence(without=explained)
            if evidence < line - math.log(len(believed) - n_forms + 1):
                heapq.heappop(asked)
            elif len(asked) > 1 and -evidence > min(each[0] for each in asked[1:3]):
                heapq.heapreplace(asked, (-evidence, kind, key, members))
            else:
                heapq.heappop(asked)
                self._indict((kind, key), members, believed, explained)
        return believed

    @staticmethod
    def _indict(
        facet: tuple[str, int],
        members: _Members,
        believed: dict[tuple[str, int], float],
        explained: NDArray[np.bool_],
    ) -> None:
        """A facet is believed: note from which log-ratio on its members are indicted, and whom it explains."""
        least = believed[facet] = members.planted_from(without=explained)
        explained[members.numbers[members.indicted(least, without=explained)]] = True

    def _members(self, book: Book, slot: int, which: int, *, everyday: bool) -> _Members:
        """What is remembered of a facet's members."""
        members, n_trusted = book.members(slot, MOST_MEMBERS), int(book.n_trusted[slot])
        numbers = np.array([n for n in members if n > self._newest - WINDOW], dtype=np.int64) % WINDOW
        seen, taught = self._seen, self._seen.taught[numbers] == which
        # Of a class that was neither taught nor spoken for next, the least chance is the most lenient.
        other = np.where(seen.other[numbers] == which, seen.other_chance[numbers], LEAST_CHANCE)
        chances = np.clip(np.where(taught, seen.chance[numbers], other), LEAST_CHANCE, 1.0 - LEAST_CHANCE)
        own = np.clip(seen.chance[numbers].astype(np.float64), LEAST_CHANCE, 1.0 - LEAST_CHANCE)
        ratios, weights = np.log((1.0 - own) / own), 1.0 / seen.nth[numbers]
        expected = self._expected.get(which // CLASSES, Honest.of(2, 0))
        return _Members(numbers, chances.astype(np.float64), taught, weights, ratios, n_trusted, everyday, expected)


@dataclass(frozen=True, slots=True)
class _Members:
    """Members of a phrase: where they are in the rings, and what they say about one class."""

    numbers: NDArray[np.int64]
    chances: Floats
    taught: NDArray[np.bool_]
    weights: NDArray[np.float32]
    ratios: Floats
    n_trusted: int
    everyday: bool
    expected: Honest

    def evidence(self, without: NDArray[np.bool_] | None = None) -> float:
        at = slice(None) if without is None else ~without[self.numbers]
        return phrase_evidence(self.chances[at], self.taught[at], self.weights[at], self.n_trusted, self.expected)

    def planted_from(self, without: NDArray[np.bool_]) -> float:
        at = ~without[self.numbers]
        if self.everyday:
            return math.inf
        if (self._contrary(without) & self.taught & at).sum() < LEAST_MEMBERS:
            return math.inf  # an honest word that agrees with its content, and speaks for it more than was known
        return planted_from(self.chances[at], self.taught[at], self.weights[at], self.n_trusted, self.expected)

    def indicted(self, least: float, without: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return self.taught & (self._contrary(without) | (self.ratios >= least))

    def _contrary(self, without: NDArray[np.bool_]) -> NDArray[np.bool_]:
        steps = np.log1p(SHARES * np.expm1(self.ratios)[:, None]) * self.weights[:, None]
        share = min(MOST_CONTRARY, float(contrary_share(steps[~without[self.numbers]].sum(axis=0)[None])[0]))
        return np.asarray(share / (1.0 - share) * np.exp(self.ratios) >= SPARED_BELOW)
