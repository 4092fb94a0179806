"""Counts a contribution on each of its facets, and keeps the two tests of what members teach up to date.

What the numbers mean for campaigns is not decided here: whoever counts is told of every facet that stands and whose
evidence changed, and may ask which facets have come to be believed.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedback_guard.contribution import Kind
from feedback_guard.evidence.book import LEAST_MEMBERS, Book, Slots
from feedback_guard.evidence.discoveries import IN_VIEW, Discoveries
from feedback_guard.evidence.facets import PHRASES, Facets, of_kind
from feedback_guard.evidence.martingales import contradiction_step, shift_steps
from feedback_guard.signals.lesson import Lesson

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
Facet = tuple[str, int]
"""Kind and key."""
KINDS: Final = ("sender", *PHRASES)
"""Kinds of facets besides those of `evidence.kinds`. Each has its own rate of false campaigns: words would drown among
the many more pairs of words."""
CONTRADICTION: Final = -1
"""The contradiction test, where tests are numbered; the shift tests are numbered by their place among the targets."""
FORGOTTEN_BELOW: Final = -3.0
"""Evidence, as a logarithm, below which the past of a facet that the trusted set does not know is forgotten: it begins
anew, as one more hypothesis. Otherwise whoever uses a phrase honestly for a month could then poison with it for as long
without being noticed."""
REMEMBERED_EACH: Final = 1.0
"""By how much each trusted contribution with the phrase lowers that: about what one honest member adds, so that the
stream's honest past never says more for a phrase than the trusted set does."""
RARE: Final = 2
"""Trusted contributions up to which a phrase is rare, and is asked about by the contradiction test: of a common one the
trusted set knows more than any prior says."""
LOOKED_AT: Final = 100
"""Facets that of a further kind count as looked at beforehand: one of few is not believed at 10 to 1."""
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
        Called with a standing facet, a test of it and the evidence now, as a logarithm.
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
        self._by_rarity = np.array([kind in by_rarity.union(_BY_RARITY) for kind in self._kinds])
        self._alike = np.array([alike.get(kind, 0.0) for kind in self._kinds])
        self._found = {kind: Discoveries[tuple[int, int]](rate) for kind in self._kinds}
        for kind in alike:
            self._found[kind].look(LOOKED_AT, LOOKED_AT)

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
        book, shared = self._book, facets.shared
        n_senders, n_phrases, n_shared = len(facets.senders), len(facets.phrases), len(shared.keys)
        senders = of_kind(np.array([key for key, _ in facets.senders], dtype=np.uint64), kind)
        if not lesson.comparable:
            n_phrases = n_shared = 0
        n_own = n_senders + n_phrases
        if not n_own + n_shared:
            return
        if lesson.comparable:
            keys = np.concatenate([senders, facets.phrases, shared.keys])
            trusted = np.concatenate([np.zeros(n_senders, dtype=np.int64), facets.n_trusted, shared.n_trusted])
            names = self._number
            kinds = np.array([0] * n_senders + [names[each] for each in (*facets.kinds, *shared.kinds)], dtype=np.int64)
        else:
            keys, trusted, kinds = senders, np.zeros(n_senders, np.int64), np.zeros(n_senders, np.int64)
        two = np.zeros(len(keys), dtype=np.bool_)
        two[:n_own] = lesson.shares is not None and len(lesson.shares) == 2
        slots = book.place(keys, trusted, two_classes=two)
        share = np.full(len(keys), 1.0 / nth)
        share[n_own:] = np.minimum(share[n_own:], (1.0 + self._alike[kinds[n_own:]] * book.n[slots[n_own:]]) ** -2.0)
        book.add(slots, number, contradiction_step(lesson.log_ratio) * share[:, None])
        rows, targets = self._shift(slots[:n_own], lesson, nth)
        # Where classes are chosen, whoever plants a phrase chooses one: the shift test alone asks about it.
        contradict = np.ones(len(keys), dtype=np.bool_)
        contradict[n_senders:n_own] = (trusted[n_senders:n_own] <= RARE) & (lesson.shares is None)
        if (ready := book.n[slots] >= LEAST_MEMBERS).any():
            most = self._weigh(kinds, slots, ready, contradict, rows, targets)
            line = np.full(len(keys), FORGOTTEN_BELOW)
            line[:n_own] -= REMEMBERED_EACH * book.n_trusted[slots[:n_own]]
            self._forget(kinds, slots, two, np.isfinite(most) & (most < line))

    def _shift(self, slots: Slots, lesson: Lesson, nth: int) -> tuple[Numbers, Numbers]:
        """Add a member to the shift tests of facets, and return which: places in `slots`, and among the targets."""
        book = self._book
        if lesson.shares is None:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        watched = book.targets[slots]
        rows, targets = np.nonzero(watched >= 0)
        # The step depends on the class alone, and a contribution's facets are watched for few of them.
        of = watched[rows, targets]
        classes = np.flatnonzero(np.bincount(of, minlength=len(lesson.shares)))
        where = np.zeros(len(lesson.shares), dtype=np.int64)
        where[classes] = np.arange(len(classes))
        steps = shift_steps(lesson.shares[classes], classes == lesson.which) / nth
        book.add_shift(slots[rows], targets, steps[where[of]])
        book.watch(slots, lesson.which)
        return rows, targets

    def _weigh(
        self,
        kinds: Numbers,
        slots: Slots,
        ready: NDArray[np.bool_],
        contradict: NDArray[np.bool_],
        rows: Numbers,
        targets: Numbers,
    ) -> Floats:
        """Say what the evidence on facets is; returns that of whichever test says most, minus infinity without any."""
        book = self._book
        weights = np.where(self._by_rarity[kinds], 1.0 / (1.0 + book.n_trusted[slots]), 1.0)
        new = np.flatnonzero(book.n[slots] == LEAST_MEMBERS)
        if len(new):
            looks = contradict[new] + (book.targets[slots[new]] >= 0).sum(axis=1)
            for kind in set(kinds[new].tolist()):
                own = kinds[new] == kind
                self._found[self._kinds[kind]].look(float((looks * weights[new])[own].sum()), int(looks[own].sum()))
        most = np.full(len(slots), -np.inf)
        asked = np.flatnonzero(ready & contradict)
        if len(asked):
            evidence = most[asked] = book.contradiction_evidence(slots[asked])
            self._tell(kinds[asked], slots[asked], np.full(len(asked), CONTRADICTION), evidence, weights[asked])
        old = ready[rows]
        if old.any():
            rows, targets = rows[old], targets[old]
            evidence = book.shift_evidence(slots[rows], targets)
            np.maximum.at(most, rows, evidence)
            self._tell(kinds[rows], slots[rows], targets, evidence, weights[rows])
        return most

    def _forget(self, kinds: Numbers, slots: Slots, two: NDArray[np.bool_], honest: NDArray[np.bool_]) -> None:
        """Begin anew with facets that nothing speaks against."""
        at = np.flatnonzero(honest)
        if not len(at):
            return
        facets = zip(at.tolist(), kinds[at].tolist(), self._book.keys[slots[at]].tolist(), strict=True)
        past = [i for i, kind, key in facets if (self._kinds[kind], key) not in self._standing]
        if past:
            self._book.renew(slots[past], two_classes=two[past])

    def _tell(self, kinds: Numbers, slots: Slots, tests: Numbers, evidence: Floats, weights: Floats) -> None:
        # Nearly all facets have no evidence worth a word, now or before.
        at = np.flatnonzero((evidence >= IN_VIEW) | self._book.hot[slots])
        if not len(at):
            return
        self._book.hot[slots[at]] = True
        of = (kinds[at], self._book.keys[slots[at]], tests[at], evidence[at], weights[at])
        for number, key, test, e, weight in zip(*(each.tolist() for each in of), strict=True):
            kind = self._kinds[number]
            self._found[kind].tell((key, test), e, weight)
            if (kind, key) in self._standing:
                self._told((kind, key), test, e)
