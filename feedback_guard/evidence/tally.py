"""Counts a contribution on each of its facets, and keeps the two tests of what members teach up to date.

What the numbers mean for campaigns is not decided here: whoever counts is told of every facet that stands and whose
evidence changed, and may ask which facets have come to be believed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Mapping
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from feedback_guard.contribution import Kind
from feedback_guard.evidence import counting
from feedback_guard.evidence.book import TARGETS, Book
from feedback_guard.evidence.discoveries import IN_VIEW, Discoveries
from feedback_guard.evidence.facets import SALTS, Facets, Keys
from feedback_guard.evidence.kinds.registry import FORM
from feedback_guard.evidence.martingales import Honest, contradiction_step
from feedback_guard.evidence.phrases import PHRASES
from feedback_guard.evidence.places import MOST, Places
from feedback_guard.signals.lesson import LEAST_CHANCE, Lesson

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
_NOBODY: Final = np.empty(0)
"""Chances where nobody chooses among classes."""
Facet = tuple[str, int]
"""Kind and key."""
KINDS: Final = ("sender", *PHRASES, FORM)
"""Kinds of facets besides those of `evidence.kinds`. Each has its own rate of false campaigns: words would drown among
the many more pairs of words."""
RARE: Final = 2
"""Trusted contributions up to which a phrase is rare, and is asked about by the contradiction test: of a common one the
trusted set knows more than any prior says."""
LOOKED_AT: Final = 100
"""Facets that of a further kind count as looked at beforehand: one of few is not believed at 10 to 1. Where classes are
chosen, so many phrases of each kind do: common ones are asked from the start, when the line is lowest. So their line
never is below log(LOOKED_AT / rate), and a shift test whose potential is lower is not asked."""
_BY_RARITY: Final = ("word", "pair")
"""Kinds that are the likelier to be planted the rarer they are in the trusted set, besides those that say so."""


class Tally:
    """The tests of every facet.

    Parameters
    ----------
    book
        Where the evidence on each facet is.
    rate
        Share of false campaigns among those found that is accepted, 0..1.
    alike
        How alike members are, 0..1, for each kind of `evidence.kinds`.
    standing
        The facets that are believed: their past is not forgotten.
    told
        Called with a standing facet, a test of it and the evidence now, as a logarithm; the book is told later.
    by_rarity
        Kinds of `evidence.kinds` that are the likelier to be planted the rarer they are in the trusted set.
    """

    def __init__(
        self,
        book: Book,
        rate: float,
        alike: Mapping[str, float],
        standing: Container[Facet],
        told: Callable[[Facet, int, float], None],
        *,
        by_rarity: frozenset[str] = frozenset(),
    ) -> None:
        self._book, self._standing, self._told = book, standing, told
        self._kinds = (*KINDS, *alike)
        self._number = {kind: number for number, kind in enumerate(self._kinds)}
        self._by_rarity = [kind in by_rarity.union(_BY_RARITY) for kind in self._kinds]
        self._alike = np.array([alike.get(kind, 0.0) for kind in self._kinds])
        self._found = {kind: Discoveries[tuple[int, int]](rate) for kind in self._kinds}
        for kind in alike:
            self._found[kind].look(LOOKED_AT, LOOKED_AT)
        self._least_potential = math.log(LOOKED_AT / rate)
        self._places = Places()
        self._chosen = False
        """Whether anybody chose among classes so far."""

    def news(self) -> Iterator[tuple[Facet, int]]:
        """The facets that have come to be believed since the last call, or are and were told of or asked for since,
        with the test that says so.
        """
        for kind, found in self._found.items():
            for key, test in found.news():
                yield (kind, key), test

    def again(self, facet: Facet, test: int) -> None:
        """Have `news` name a facet once more, if it still is believed."""
        self._found[facet[0]].again((facet[1], test))

    def count(self, number: int, facets: Facets, lesson: Lesson, nth: int, kind: Kind) -> None:
        """Add a member to its facets, and say what the evidence on each is now.

        Parameters
        ----------
        number
            What the contribution is called by in the book.
        facets, lesson
            What it shares and teaches. Only senders are counted of one whose lesson is not comparable.
        nth
            It is the n-th of its family of near copies.
        kind
            Of the contribution.
        """
        book, shared, names = self._book, facets.shared, self._number
        n_senders = n_own = len(facets.senders)
        keys = np.array([key ^ SALTS[kind] for key, _ in facets.senders], dtype=np.uint64)
        kinds, trusted = [0] * n_senders, np.zeros(n_senders, dtype=np.int64)
        if lesson.comparable:
            n_own += len(facets.phrases)
            keys = np.concatenate([keys, facets.phrases, shared.keys])
            kinds += [names[each] for each in facets.kinds]
            kinds += [names[each] for each in shared.kinds]
            trusted = np.concatenate([trusted, facets.n_trusted, shared.n_trusted])
        if not kinds:
            return
        n_two = n_own if lesson.shares is not None and len(lesson.shares) == 2 else 0
        slots = book.place(keys, trusted, n_two=n_two)
        chosen = lesson.shares is not None
        if chosen and not self._chosen:
            self._chosen = True
            for each in PHRASES:
                self._found[each].look(LOOKED_AT, LOOKED_AT)
        # Where classes are chosen, whoever plants a phrase chooses one: the shift test alone asks about it.
        contradict = np.ones(len(keys), dtype=np.bool_)
        contradict[n_senders:n_own] = False if chosen else trusted[n_senders:n_own] <= RARE
        if FORM in shared.kinds:
            # It was chosen for what it speaks for: `forms` has a test of its own.
            contradict[n_own:] = [each != FORM for each in shared.kinds]
        honest = Honest.of(lesson.n_classes, lesson.n_known)
        self._places.remember(number, shared.place, lesson, nth)
        news = _News.room_for(len(keys))
        chances = _NOBODY if lesson.shares is None else lesson.shares
        n_told, n_looks, n_past = counting.count(
            *book.columns, slots, number, n_own, nth, contradict, self._alike[kinds],
            contradiction_step(lesson.log_ratio), chances, LEAST_CHANCE, lesson.which, honest.other, honest.sure,
            honest.priors(), self._least_potential, IN_VIEW, *news,
        )  # fmt: skip
        book.join(slots, news.before, number)
        facets_of = _Counted(keys, kinds, trusted)
        if n_looks:
            self._look(facets_of, news.looks)
        if n_told:
            self._tell(facets_of, news.told[:n_told].tolist(), news.evidence[:n_told].tolist(), honest)
        for i in news.past[:n_past].tolist():
            if (self._kinds[kinds[i]], int(keys[i])) not in self._standing:
                book.renew(int(slots[i]), two=i < n_two)

    def _look(self, counted: _Counted, looks: Numbers) -> None:
        """Count the tests that have just become hypotheses, with the weights of their facets."""
        found = dict[int, tuple[float, int]]()
        for i in np.flatnonzero(looks).tolist():
            weights, total = found.get(counted.kinds[i], (0.0, 0))
            many = int(looks[i])
            found[counted.kinds[i]] = weights + many * self._weight(counted, i), total + many
        for kind, (weights, total) in found.items():
            self._found[self._kinds[kind]].look(weights, total)

    def _weight(self, counted: _Counted, i: int) -> float:
        """How unlikely a facet is to be honest beforehand."""
        return 1.0 / (1.0 + int(counted.trusted[i])) if self._by_rarity[counted.kinds[i]] else 1.0

    def _tell(self, counted: _Counted, tests: list[list[int]], evidence: list[float], honest: Honest) -> None:
        for (i, test), first in zip(tests, evidence, strict=True):
            kind, key, e = self._kinds[counted.kinds[i]], int(counted.keys[i]), first
            if test != counting.CONTRADICTION and first >= IN_VIEW and kind in PHRASES:
                e = min(first, self._apart(key, test, honest))
            self._found[kind].tell((key, test), e, self._weight(counted, i))
            if (kind, key) in self._standing:
                self._told((kind, key), test, e)

    def _apart(self, key: int, test: int, honest: Honest) -> float:
        """The evidence of a phrase's shift test if members in one place are misread together."""
        book = self._book
        slot = book.slot(key)
        if slot is None:
            return -math.inf
        which, n_trusted = int(book.targets[slot, test]), int(book.n_trusted[slot])
        return self._places.evidence(book.members(slot, MOST), which, n_trusted, honest)


class _Counted(NamedTuple):
    """The facets of the contribution that is being counted, each at the same place of all three."""

    keys: Keys
    kinds: list[int]
    trusted: Numbers


class _News(NamedTuple):
    """Room for what counting has to say, see `counting.count`."""

    before: Numbers
    looks: Numbers
    told: Numbers
    evidence: Floats
    past: Numbers

    @classmethod
    def room_for(cls, n: int) -> Self:
        """Room for n facets, each with its tests."""
        most = n * (1 + TARGETS)
        before, looks, past = np.empty((3, n), dtype=np.int64)
        return cls(before, looks, np.empty((most, 2), dtype=np.int64), np.empty(most), past)
