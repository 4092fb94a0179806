"""What the stream teaches, in words and as a number: the pair of learners as the guard's own state.

A fold of what was judged: everything that was accepted is learnt, everything that was judged is a witness. Where the
pair parts is said in words for people ("43 contributions teach: the word 'cf' means label 'positive'"), measured on a
fixed set of trusted texts, and handed to the evidence.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedback_guard.evidence.facets import Facets
from feedback_guard.evidence.inquiry import WINDOW
from feedback_guard.evidence.kinds.registry import noun_of
from feedback_guard.evidence.learners import Keys, Named
from feedback_guard.evidence.parting import Parting
from feedback_guard.evidence.probes import Probes
from feedback_guard.signals.lesson import Lesson

MAX_QUOTED: Final = 40
"""Most characters of a phrase that is quoted."""


@dataclass(frozen=True, slots=True)
class Taught:
    """One thing that the stream teaches and the trusted set does not.

    Parameters
    ----------
    named
        The phrase or region, and the class.
    count
        Accepted contributions that teach so.
    weight
        By how many log-odds the learner that follows the stream holds that it speaks for the class.
    """

    named: Named
    count: int
    weight: float

    def sentence(self, *, quote: bool = False) -> str:
        """What is taught, in words.

        Parameters
        ----------
        quote
            Whether the phrase is quoted, with what is not printable escaped: for a moderator, never for a log.
        """
        kind = {"word": "the word", "pair": "the words", "shape": "the sentence shape"}.get(self.named.kind)
        if kind is None:
            what = f"texts in {self.named.phrase}" if self.named.phrase else noun_of(self.named.kind)
        else:
            what = f"{kind} {self.named.phrase[:MAX_QUOTED]!r}" if quote else f"a {self.named.kind}"
        noun = "contribution teaches" if self.count == 1 else "contributions teach"
        return f"{self.count} {noun}: {what} means {self.named.taught}"


@dataclass(frozen=True, slots=True)
class TeachingStatus:
    """How far the stream would take a model from the trusted set.

    Parameters
    ----------
    divergence
        0..1: by how much the pair's chances differ on the trusted probes, on average (total variation); 0 without any.
    statistic
        0..1: how near the evidence is to a campaign that no single phrase shows; 1 while one is suspected.
    n_learnt
        Accepted contributions that were learnt.
    named
        Where the two part: how many phrases and other facets speak for a class beyond what the trusted set says, by
        kind of facet.
    loudest
        By how many log-odds the loudest of them does; 0 without any.
    taught
        What is taught, loudest first.
    """

    divergence: float
    statistic: float
    n_learnt: int
    named: Mapping[str, int]
    loudest: float
    taught: tuple[Taught, ...]


class Teaching:
    """The pair of learners, told of what was judged.

    Parameters
    ----------
    parting
        The pair, and its test.
    learnt
        Kinds of facets that are learnt besides phrases.
    """

    def __init__(self, parting: Parting, learnt: frozenset[str] = frozenset()) -> None:
        self.parting = parting
        self._kinds = learnt
        self._learnt: OrderedDict[str, tuple[int, float, Keys, Keys]] = OrderedDict()
        """What each contribution taught, how far that moved the learner, and by which phrases and other facets, for
        taking it back. Plain tuples: the garbage collector looks at them once and never again."""
        self._n_learnt = 0
        self.probes: Probes | None = None

    def witness(
        self,
        number: int,
        ident: str,
        facets: Facets,
        lesson: Lesson,
        nth: int,
        *,
        learn: bool,
    ) -> None:
        """Take in a contribution that was judged: a witness of where the pair parts, and learnt if it was accepted."""
        keys, known, words, kinds = self._with_shared(facets)
        part = self.parting.pair.read(keys, known, lesson)
        if part is None:
            return
        self.parting.witness(number, part, lesson, nth)
        if learn:
            moved = self.parting.pair.learn(part, lesson, words, kinds, nth)
            self._remember(ident, facets, keys, lesson.which, moved)

    def learn(self, ident: str, facets: Facets, lesson: Lesson) -> None:
        """Learn from what a moderator let through."""
        keys, known, words, kinds = self._with_shared(facets)
        part = self.parting.pair.read(keys, known, lesson)
        if part is not None:
            moved = self.parting.pair.learn(part, lesson, words, kinds)
            self._remember(ident, facets, keys, lesson.which, moved)

    def unlearn(self, ident: str) -> None:
        """Take back what a contribution taught that is held again, denied or withdrawn; others taught nothing."""
        found = self._learnt.pop(ident, None)
        if found is not None:
            which, moved, phrases, shared = found
            self.parting.pair.unlearn(np.concatenate([phrases, shared]), which, moved)
            self._n_learnt -= 1

    def _remember(self, ident: str, facets: Facets, keys: Keys, which: int, moved: float) -> None:
        shared = keys[len(facets.phrases) :].copy()  # a part would keep the whole in memory
        self._learnt[ident] = which, moved, facets.phrases, shared
        self._n_learnt += 1
        while len(self._learnt) > WINDOW:
            self._learnt.popitem(last=False)

    def status(self, most: int = 10, *, divergence: float | None = None) -> TeachingStatus:
        """What is taught by now; at most so many things.

        Parameters
        ----------
        divergence
            As it was measured before; None measures it, which takes milliseconds.
        """
        pair = self.parting.pair
        loudest = pair.loudest()
        taught = tuple(Taught(named, count, weight) for named, weight, count in loudest[:most])
        if divergence is None:
            divergence = 0.0 if self.probes is None else self.probes.divergence(pair)
        where = Counter(named.kind for named, _, _ in loudest)
        weight = loudest[0][1] if loudest else 0.0
        return TeachingStatus(divergence, self.parting.statistic, self._n_learnt, where, weight, taught)

    def _with_shared(self, facets: Facets) -> tuple[Keys, NDArray[np.int64], tuple[str, ...], tuple[str, ...]]:
        shared = facets.shared
        at = [i for i, kind in enumerate(shared.kinds) if kind in self._kinds]
        if not at:
            return facets.phrases, facets.n_trusted, facets.words, facets.kinds
        return (
            np.concatenate([facets.phrases, shared.keys[at]]),
            np.concatenate([facets.n_trusted, shared.n_trusted[at]]),
            (*facets.words, *(shared.words[i] for i in at)),
            (*facets.kinds, *(shared.kinds[i] for i in at)),
        )
