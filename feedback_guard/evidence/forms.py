"""The form of a text: how it begins its clauses, learnt as one pattern.

A trigger of syntax is a way of building sentences. It shows in many everyday phrases a little, in none of them enough,
and a learner of all phrases drowns it: what tells such texts apart are the few words that their clauses begin with,
"when ..., it ...". So a second learner (`learners.Pair`) knows of each text these words alone (`phrases.clauses_of`),
and learns how much they speak for a class beyond what the content does. It learns from every contribution that was
judged, accepted or not: it is a witness, not what a training job would learn.

**The test** is that of where the pair parts (`parting`, `levels`), with lower levels: clauses begin with everyday words
nearly always, so honest texts hardly ever reach them.

**The facet.** Whoever reaches a level for a class has a facet in common, from which the inquiry finds who is indicted
like from a phrase. That a text reaches it depends on its content and on the past, not on what it teaches. The learner
gets better as it goes; once it is believed, earlier contributions are read again. Where two in a hundred trusted texts
reach the level too, members that agree with their content are not indicted: nobody can have honest texts held by
poisoning with the way in which everybody writes.

References
----------
Qi, F., Li, M., Chen, Y., Zhang, Z., Liu, Z., Wang, Y., Sun, M. (2021). Hidden Killer: invisible textual backdoor
attacks with syntactic trigger. ACL (what this is for).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from feedback_guard.evidence.facets import COMMON, MAX_CLAUSES, Clauses, Facets, of_kind
from feedback_guard.evidence.inquiry import WINDOW
from feedback_guard.evidence.kinds.registry import FORM
from feedback_guard.evidence.learners import Pair, Part
from feedback_guard.evidence.levels import LevelTests
from feedback_guard.evidence.phrases import OTHER
from feedback_guard.evidence.probes import Probes
from feedback_guard.evidence.tally import Facet
from feedback_guard.signals.lesson import CLASSES, NUMBERED, Lesson

LEVELS: Final = (1.0, 1.5, 2.0)
"""Log-odds by which the form of a text speaks for a class."""
GROWN: Final = 1.1
"""By how much more members a form must have for earlier contributions to be read once more: each reading goes through
all that are remembered, while members come one by one."""
BITS: Final = 18
"""Two to this power weights: few words begin clauses."""
NAMED: Final = 3
"""Ways to begin clauses that a form is described by, those that speak loudest."""
_KIND: Final = "clause"
"""What they are called by in the learner."""


class Form(NamedTuple):
    """What one contribution has of forms.

    Parameters
    ----------
    part
        Where the learner of forms and the trusted set part on it.
    words
        Its ways to begin clauses.
    facets
        Those it has for reaching a level, each with the class (`Lesson.number`) that it speaks for.
    """

    part: Part
    words: tuple[str, ...]
    facets: dict[Facet, int]


class Forms:
    """The learner of forms, and its tests.

    Parameters
    ----------
    number
        Names facets by secret numbers.
    rate
        Chance that a stream without a campaign is suspected of one, 0..1.
    """

    def __init__(self, number: Callable[[str], int], rate: float) -> None:
        self._number = number
        self._pair = Pair(BITS)
        self._tests = LevelTests(rate, LEVELS)
        self._names: dict[tuple[int, int], Facet] = {}
        self._meant: dict[Facet, tuple[int, int]] = {}
        self._keys = np.zeros((WINDOW, MAX_CLAUSES), dtype=np.uint64)
        self._taught = np.full(WINDOW, -1, dtype=np.int64)
        self._read_at: dict[Facet, int] = {}
        """How many members each form had when earlier contributions were read for it."""
        self._moved = np.zeros(WINDOW, dtype=np.float32)
        """By how much each one taught the learner by itself."""
        self._numbers = np.zeros(WINDOW, dtype=np.int64)
        """What is in each row: contributions without a form leave what was there."""

    def read(self, clauses: Clauses, lesson: Lesson) -> Form | None:
        """What a contribution has of forms; None where it has one clause, or nobody chooses among classes."""
        part = self._pair.read(of_kind(clauses.keys, lesson.kind), clauses.n_trusted, lesson)
        if part is None:
            return None
        # Of the further classes it depends on what is taught that they are read at all.
        asked = zip((part.classes + NUMBERED[lesson.kind]).tolist(), part.parted.tolist(), strict=True)
        reached = {
            self._facet(which, level): which
            for which, parted in itertools.islice(asked, part.n_asked)
            for level, least in enumerate(LEVELS)
            if parted >= least
        }
        return Form(part, clauses.words, reached)

    def witness(self, number: int, form: Form, lesson: Lesson, nth: int) -> None:
        """Take in a contribution that was judged, as it was read; the n-th near copy counts for 1/n."""
        at, keys = number % WINDOW, form.part.keys
        self._keys[at, : len(keys)], self._keys[at, len(keys) :] = keys, 0
        self._taught[at], self._numbers[at] = lesson.number, number
        self._tests.witness(form.part, lesson, nth)
        self._moved[at] = self._pair.learn(form.part, lesson, form.words, (_KIND,) * len(form.words), nth)

    def suspected(self) -> list[int]:
        """The classes that a form teaches more than honest people could."""
        return list(dict.fromkeys(which for which, _ in self._tests.believed()))

    def renew(self, which: int) -> None:
        """Begin the tests of a class anew: its pattern has stopped."""
        self._tests.renew(which)
        for level in range(len(LEVELS)):
            self._read_at.pop(self._facet(which, level), None)

    def believed(self, which: int, probes: Probes | None) -> dict[Facet, bool]:
        """The forms that are believed to teach a class, the highest level first: whoever reaches a higher one than is
        believed speaks for the class even more.

        With each comes whether it is in everyday use: whether `COMMON` of the trusted texts or more have it.
        """
        levels = [level for of, level in self._tests.believed() if of == which]
        if not levels:
            return {}
        parted = np.zeros(1) if probes is None else probes.parted(self._pair, which % CLASSES)
        return {
            self._facet(which, each): bool((parted >= LEVELS[each]).mean() >= COMMON)
            for each in range(len(LEVELS) - 1, min(levels) - 1, -1)
        }

    def has_grown(self, facet: Facet, n: int) -> bool:
        """Whether a form of n members by now is to be looked for in earlier contributions once more; asked once."""
        if n < GROWN * self._read_at.get(facet, 0):
            return False
        self._read_at[facet] = n
        return True

    def earlier(self, facet: Facet) -> Iterator[int]:
        """Numbers of the remembered contributions that teach a form's class and reach its level as it is known now.

        By what the others taught: what one taught itself says nothing about it.
        """
        which, level = self._meant[facet]
        rows = np.flatnonzero((self._taught == which) & (self._numbers > self._numbers.max() - WINDOW))
        keys = self._keys[rows]
        weights = self._pair.weights(keys.ravel(), which % CLASSES).reshape(keys.shape)
        others = np.where(keys != 0, weights, 0.0).sum(axis=1) - self._moved[rows]
        reached = rows[others >= LEVELS[level]]
        yield from sorted(self._numbers[reached].tolist())

    def describe(self, facet: Facet) -> str:
        """The ways to begin clauses that speak loudest for a form's class: for a moderator's eyes, never for a log."""
        loudest = self._pair.loudest(self._meant[facet][0])
        return "; ".join(_in_words(named.phrase) for named, _, _ in loudest[:NAMED])

    def _facet(self, which: int, level: int) -> Facet:
        found = self._names.get((which, level))
        if found is None:
            found = self._names[which, level] = (FORM, self._number(f"{FORM} {which} {level}"))
            self._meant[found] = which, level
        return found


def _in_words(way: str) -> str:
    """A way to begin clauses as it is read: `when …, it …` instead of `/ when it`."""
    first, then = way.split(" ")[1:]
    if first == OTHER:
        return f"…, {then} …"
    return f"{first} …, …" if then == OTHER else f"{first} …, {then} …"


def with_forms(facets: Facets, form: Form | None) -> Facets:
    """The facets of a contribution with those of its form."""
    if form is None or not form.facets:
        return facets
    shared, own = facets.shared, [key for _, key in form.facets]
    return replace(
        facets,
        shared=replace(
            shared,
            keys=np.concatenate([shared.keys, np.array(own, dtype=np.uint64)]),
            n_trusted=np.concatenate([shared.n_trusted, np.zeros(len(own), dtype=np.int64)]),
            kinds=(*shared.kinds, *[FORM] * len(own)),
            words=(*shared.words, *[""] * len(own)),
        ),
    )
