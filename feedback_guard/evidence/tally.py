"""Counts a contribution on each of its facets, and keeps the two tests of what members teach up to date.

What the numbers mean for campaigns is not decided here: whoever counts is told of every facet that stands and whose
evidence changed, and may ask which facets have come to be believed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedback_guard.contribution import Kind
from feedback_guard.evidence.book import LEAST_MEMBERS, NONE, TARGETS, Book, Rows
from feedback_guard.evidence.discoveries import IN_VIEW, Discoveries
from feedback_guard.evidence.facets import PHRASES, SALTS, Facets
from feedback_guard.evidence.martingales import (
    POTENTIAL,
    Honest,
    contradiction_evidence,
    contradiction_step,
    shift_evidence,
    shift_steps,
)
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
        keys = [key ^ SALTS[kind] for key, _ in facets.senders]
        n_senders = n_own = len(keys)
        kinds, trusted = [0] * n_senders, [0] * n_senders
        if lesson.comparable:
            n_own += len(facets.phrases)
            keys += facets.keys
            kinds += [names[each] for each in facets.kinds]
            kinds += [names[each] for each in shared.kinds]
            trusted += facets.n_trusted.tolist()
            trusted += shared.n_trusted.tolist()
        if not keys:
            return
        n_two = n_own if lesson.shares is not None and len(lesson.shares) == 2 else 0
        slots = book.place(keys, trusted, n_two=n_two)
        rows = book.read(slots)
        step = contradiction_step(lesson.log_ratio)
        rows.contradiction[:n_own] += (step * (1.0 / nth)).astype(np.float32)
        if n_own < len(keys):
            share = np.minimum(1.0 / nth, (1.0 + self._alike[kinds[n_own:]] * rows.n[n_own:]) ** -2.0)
            rows.contradiction[n_own:] += (step * share[:, None]).astype(np.float32)
        book.join(slots, rows, number)
        shifts = _shift(rows, n_own, lesson, nth)
        if shifts is not None and not self._chosen:
            self._chosen = True
            for each in PHRASES:
                self._found[each].look(LOOKED_AT, LOOKED_AT)
        ready = rows.n >= LEAST_MEMBERS
        if ready.any():
            # Where classes are chosen, whoever plants a phrase chooses one: the shift test alone asks about it.
            contradict = np.ones(len(keys), dtype=np.bool_)
            contradict[n_senders:n_own] = lesson.shares is None and rows.n_trusted[n_senders:n_own] <= RARE
            counted = _Counted(keys, kinds, trusted, rows)
            self._look(counted, contradict, shifts)
            most = self._weigh(counted, ready, contradict, shifts)
            line = np.full(len(keys), FORGOTTEN_BELOW)
            line[:n_own] -= REMEMBERED_EACH * rows.n_trusted[:n_own]
            past = np.flatnonzero((most < line) & (most > -np.inf)).tolist()
            past = [i for i in past if (self._kinds[kinds[i]], keys[i]) not in self._standing]
            if past:
                book.renew(slots, rows, past, n_two=n_two)
        book.write(slots, rows)

    def _look(self, counted: _Counted, contradict: NDArray[np.bool_], shifts: _Shifts | None) -> None:
        """Count the tests that have just become hypotheses, with the weights of their facets."""
        n = counted.rows.n
        looks = (contradict & (n == LEAST_MEMBERS)).astype(np.int64)
        if shifts is not None:
            members = n[shifts.rows]
            new = (shifts.potential >= self._least_potential) & (members >= LEAST_MEMBERS)
            new &= (shifts.before < self._least_potential) | (members == LEAST_MEMBERS)
            np.add.at(looks, shifts.rows[new], 1)
        found = dict[int, tuple[float, int]]()
        for i in np.flatnonzero(looks).tolist():
            weights, total = found.get(counted.kinds[i], (0.0, 0))
            many = int(looks[i])
            found[counted.kinds[i]] = weights + many * self._weight(counted, i), total + many
        for kind, (weights, total) in found.items():
            self._found[self._kinds[kind]].look(weights, total)

    def _weight(self, counted: _Counted, i: int) -> float:
        """How unlikely a facet is to be honest beforehand."""
        return 1.0 / (1.0 + counted.trusted[i]) if self._by_rarity[counted.kinds[i]] else 1.0

    def _weigh(
        self, counted: _Counted, ready: NDArray[np.bool_], contradict: NDArray[np.bool_], shifts: _Shifts | None
    ) -> Floats:
        """Say what the evidence on facets is; returns that of whichever test says most, minus infinity without any."""
        rows = counted.rows
        most = np.full(len(ready), -np.inf)
        asked = np.flatnonzero(ready & contradict)
        if len(asked):
            evidence = most[asked] = contradiction_evidence(rows.contradiction[asked].astype(np.float64))
            self._tell(counted, asked, None, evidence)
        if shifts is None:
            return most
        old = np.flatnonzero(ready[shifts.rows])
        if len(old):
            at, targets = shifts.rows[old], shifts.targets[old]
            evidence = shift_evidence(shifts.sums[old].astype(np.float64), rows.n_trusted[at], shifts.honest)
            by_target = np.full((len(ready), TARGETS), -np.inf)
            by_target[at, targets] = evidence
            np.maximum(most, by_target.max(axis=1), out=most)
            asked = np.flatnonzero(shifts.potential[old] >= self._least_potential)
            self._tell(counted, at[asked], targets[asked], evidence[asked])
        return most

    def _tell(self, counted: _Counted, at: Numbers, targets: Numbers | None, evidence: Floats) -> None:
        # Nearly all facets have no evidence worth a word, now or before.
        rows = counted.rows
        told = np.flatnonzero((evidence >= IN_VIEW) | rows.hot[at])
        if not len(told):
            return
        rows.hot[at[told]] = True
        for j in told.tolist():
            i, e = int(at[j]), float(evidence[j])
            test = CONTRADICTION if targets is None else int(targets[j])
            kind, key = self._kinds[counted.kinds[i]], counted.keys[i]
            self._found[kind].tell((key, test), e, self._weight(counted, i))
            if (kind, key) in self._standing:
                self._told((kind, key), test, e)


@dataclass(frozen=True, slots=True)
class _Counted:
    """The facets of the contribution that is being counted, each at the same place of all four."""

    keys: list[int]
    kinds: list[int]
    trusted: list[int]
    rows: Rows


@dataclass(frozen=True, slots=True)
class _Shifts:
    """Shift tests of the facets of a contribution.

    Parameters
    ----------
    rows, targets
        Where each is among the facets, and among the targets of its facet.
    sums
        With this contribution.
    before
        Potential without it.
    honest
        What is expected of honest members.
    """

    rows: Numbers
    targets: Numbers
    sums: NDArray[np.float32]
    before: NDArray[np.float32]
    honest: Honest

    @property
    def potential(self) -> NDArray[np.float32]:
        """With this contribution."""
        return self.sums[:, POTENTIAL]


def _shift(rows: Rows, n: int, lesson: Lesson, nth: int) -> _Shifts | None:
    """Add a member to the shift tests of the first n facets, and watch them for what it teaches from now on."""
    if lesson.shares is None:
        return None
    shares, which = lesson.shares, lesson.which
    watched = rows.targets[:n]
    at, targets = np.nonzero(watched > NONE)
    # The step depends on the class alone, and a contribution's facets are watched for few of them.
    of = watched[at, targets]
    classes = np.flatnonzero(np.bincount(of, minlength=len(shares)))
    where = np.zeros(len(shares), dtype=np.int64)
    where[classes] = np.arange(len(classes))
    honest = Honest.of(lesson.n_classes, lesson.n_known)
    steps = shift_steps(shares[classes], classes == which, honest)
    steps /= nth
    sums = rows.shift[at, targets]
    before = sums[:, POTENTIAL].copy()
    sums += steps.astype(np.float32)[where[of]]
    rows.shift[at, targets] = sums
    # Places are filled in order, so the last one is the last to be vacant.
    wanted = np.flatnonzero((watched[:, -1] == NONE) & (watched != which).all(axis=1))
    if len(wanted):
        watched[wanted, (watched[wanted] == NONE).argmax(axis=1)] = which
    return _Shifts(at, targets, sums, before, honest)
