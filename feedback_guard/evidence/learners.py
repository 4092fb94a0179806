"""What the stream teaches: a pair of small learners, one anchored on the trusted set, one that also learns from it.

The anchored learner is the classifier of the trusted set, on embeddings and hashed words, frozen in the baseline. The
other one starts from it and learns, from every contribution that was accepted, how much each phrase and each region of
embedding space speaks for each class beyond what the anchored one says: logistic regression on top of the anchor's
log-odds, with a normal prior on each weight that is as wide as what the trusted set leaves open about it, the same as
the shift test forgives (`martingales.SHIFT_WIDTH`). So before the first contribution the two agree, a single
contribution moves little, and where they part is a sum of weights that have names.

It learns at once from what is accepted, before that is mature: its use is to say what a training job *would* learn, in
time. What is pulled back is unlearnt; what a moderator approves is learnt then. What is held, limited or rejected
teaches it nothing.

References
----------
Graepel, T., Candela, J. Q., Borchert, T., Herbrich, R. (2010). Web-scale Bayesian click-through rate prediction. ICML
(one normal distribution for each weight, steps in proportion to what is not known).
Weinberger, K. et al. (2009). Feature hashing for large scale multitask learning. ICML.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedback_guard.evidence import regression
from feedback_guard.evidence.martingales import INFORMATION, SHIFT_WIDTH
from feedback_guard.evidence.telling import MAX_PHRASE_CHARS
from feedback_guard.signals.lesson import LEAST_CHANCE, Lesson

Floats = NDArray[np.float64]
Keys = NDArray[np.uint64]
Slots = NDArray[np.int64]

BITS: Final = 21
"""Two to this power weights, each for a phrase and a class; 24 MB once all are used. Some share a place: which ones
nobody can choose, because the names of phrases are keyed."""
FADES: Final = 50_000
"""Contributions that are learnt until all weights are halved, and what is left of small ones is forgotten: so there is
room for new phrases, however long the stream, and an honest change that the baseline was rebuilt for is not kept."""
NAMED: Final = SHIFT_WIDTH / 2.0
"""Weight, in log-odds, from which a phrase has a name here: half of what an honest unknown word may differ by."""
_FAINT: Final = 0.5 * NAMED
"""What is left of a weight that one contribution moved, once it was halved, is less."""
MAX_NAMED: Final = 1_024
"""Most phrases with names; of more, those that speak loudest."""
MAX_ASKED: Final = 6
"""Most classes that one contribution is read for."""


@dataclass(frozen=True, slots=True)
class Named:
    """A phrase, or a region, that speaks for a class beyond what the trusted set says.

    Parameters
    ----------
    key
        Of the phrase.
    kind
        `word`, `pair`, `shape` or `region`.
    phrase
        Itself: for a moderator's eyes, never for a log or a label.
    which, number
        Of the class, among those of its kind of contributions and of all kinds, as in its `Lesson`.
    taught
        The class in words.
    """

    key: int
    kind: str
    phrase: str
    which: int
    number: int
    taught: str


@dataclass(frozen=True, slots=True)
class Part:
    """Where the pair parts on one contribution. Each row is a class that it was read for.

    Parameters
    ----------
    classes
        Shape (m,). They depend on the content and on what was learnt before, not on what is taught, but for the last.
    chances
        Of each class given the content, as the anchored learner sees it, shape (m,).
    parted
        By how many log-odds the other one speaks more for each, shape (m,).
    n_asked
        How many of the rows are there whatever is taught.
    keys, slots, known
        Phrases, where their weights are, shape (m, n), and in how many trusted contributions they stand.
    weights
        Mean and spread of those weights, shape (m, n, 2).
    """

    classes: Slots
    chances: Floats
    parted: Floats
    n_asked: int
    keys: Keys
    slots: Slots
    known: NDArray[np.int64]
    weights: NDArray[np.float32]


class Pair:
    """The two learners: the anchor by what it said of each contribution, the other one by its weights on top.

    Examples
    --------
    >>> lesson = Lesson("label 'good'", 1, 1.1, np.array([0.75, 0.25]), comparable=True)
    >>> keys, known = np.array([11, 12], dtype=np.uint64), np.array([0, 400])
    >>> pair = Pair()
    >>> for _ in range(10):
    ...     _ = pair.learn(pair.read(keys, known, lesson), lesson, ("zq", "the"), ("word", "word"))
    >>> [(count, named.phrase, named.taught) for named, _, count in pair.loudest()]
    [(10, 'zq', "label 'good'")]
    """

    def __init__(self, bits: int = BITS) -> None:
        self._shift = np.uint64(64 - bits)
        # numpy leaves pages that were never written to the operating system: an unused pair costs next to nothing
        self._weights = np.zeros((1 << bits, 2), dtype=np.float32)
        """Mean and spread of each, side by side: they are read and written together."""
        self._mean, self._spread = self._weights[:, 0], self._weights[:, 1]
        self._taught = np.zeros(1 << bits, dtype=np.int32)
        self._named: dict[tuple[int, int], Named] = {}
        self._learnt = 0
        self._classes_of: dict[int, list[int]] = {}

    def slots(self, keys: Keys, classes: Slots) -> Slots:
        """Where the weights of phrases for classes are, shape (len(classes), len(keys))."""
        slots = np.empty((len(classes), len(keys)), dtype=np.int64)
        regression.place(keys, classes, self._shift, slots)
        return slots

    def read(self, keys: Keys, known: NDArray[np.int64], lesson: Lesson) -> Part | None:
        """Ask both learners about a contribution; None where nobody chooses among classes.

        Parameters
        ----------
        keys, known
            Of its phrases, and in how many trusted contributions each stands.
        lesson
            What it teaches, and what the anchored learner says.
        """
        if lesson.shares is None or not len(keys):
            return None
        asked: list[int] = []
        if self._classes_of:
            for key in keys.tolist():
                for which in self._classes_of.get(key, ()):
                    if which not in asked and len(asked) < MAX_ASKED:
                        asked.append(which)
        n_asked = len(asked)
        # what is taught, and what else the content speaks for: learnt from, and no part of any test
        others = lesson.shares.copy()
        others[lesson.which] = -1.0
        asked += [which for which in (lesson.which, int(others.argmax())) if which not in asked]
        classes = np.array(asked, dtype=np.int64)
        slots = self.slots(keys, classes)
        weights, parted = np.empty((*slots.shape, 2), dtype=np.float32), np.empty(len(classes))
        regression.read(self._weights, slots, weights, parted)
        chances = np.minimum(np.maximum(lesson.shares[classes], LEAST_CHANCE), 1.0 - LEAST_CHANCE)
        return Part(classes, chances, parted, n_asked, keys, slots, known, weights)

    def learn(self, part: Part, lesson: Lesson, words: tuple[str, ...], kinds: tuple[str, ...], nth: int = 1) -> float:
        """Learn from a contribution that was just read; the n-th near copy counts for 1/n.

        Returns
        -------
        float
            By how many log-odds the learner moved towards what is taught, for `unlearn`.
        """
        row = part.classes.tolist().index(lesson.which)
        moved, loudest = regression.learn(
            self._weights, self._taught, part.slots, part.weights, part.known, part.chances, part.parted, row, nth,
            1.0 / SHIFT_WIDTH**2, INFORMATION,
        )  # fmt: skip
        if loudest >= NAMED:
            for i in np.flatnonzero(self._mean[part.slots[row]] >= NAMED).tolist():
                phrase = words[i][:MAX_PHRASE_CHARS]
                self._name(Named(int(part.keys[i]), kinds[i], phrase, lesson.which, lesson.number, lesson.taught))
        self._learnt += 1
        if self._learnt % FADES == 0:
            self._fade()
        return moved

    def unlearn(self, keys: Keys, which: int, moved: float) -> None:
        """Take back what a contribution taught, as nearly as what was learnt since allows."""
        at = self.slots(keys, np.array([which]))[0]
        spread = self._spread[at]
        total = float(spread.sum())
        if total > 0.0:
            self._mean[at] -= (moved * spread / total).astype(np.float32)
            self._taught[at] = np.maximum(self._taught[at] - 1, 0)

    def parted(self, keys: Keys, classes: Slots) -> Floats:
        """By how many log-odds the learner that follows the stream speaks more for classes of a text than the anchor.

        Parameters
        ----------
        keys
            Of the text's phrases.
        """
        return np.asarray(self._mean[self.slots(keys, classes)].sum(axis=1, dtype=np.float64))

    def parted_of(self, keys: Keys, ends: Slots, classes: Slots) -> Floats:
        """`parted` of many texts at once, shape (n, m).

        Parameters
        ----------
        keys, ends
            Phrases of all texts, one after the other, and where those of each of n texts end.
        classes
            Of each text, shape (n, m), below 0 for none: that has 0.
        """
        sums = np.empty(classes.shape)
        regression.read_texts(self._weights, keys, ends, classes, self._shift, sums)
        return sums

    def weights(self, keys: Keys, which: int) -> NDArray[np.float32]:
        """By how much each phrase speaks for a class, shape (len(keys),)."""
        weights: NDArray[np.float32] = self._mean[self.slots(keys, np.array([which]))[0]]
        return weights

    def loudest(self, which: int | None = None) -> list[tuple[Named, float, int]]:
        """The phrases with names, their weights, and how many contributions taught so; the loudest first.

        Parameters
        ----------
        which
            Of one class only, by its number among those of all kinds.
        """
        asked = [named for named in self._named.values() if which is None or named.number == which]
        at = self._slots_of(asked)
        found = [
            (named, weight, count)
            for named, weight, count in zip(asked, self._mean[at].tolist(), self._taught[at].tolist(), strict=True)
            if weight >= NAMED
        ]
        return sorted(found, key=lambda each: (-each[1], each[0].key))

    def _slots_of(self, named: Sequence[Named]) -> Slots:
        keys = np.array([each.key for each in named], dtype=np.uint64)
        slots = np.empty(len(named), dtype=np.int64)
        regression.place_pairs(keys, np.array([each.which for each in named], dtype=np.int64), self._shift, slots)
        return slots

    def _name(self, named: Named) -> None:
        if (named.key, named.which) in self._named:
            return
        self._named[named.key, named.which] = named
        self._classes_of.setdefault(named.key, []).append(named.which)
        if len(self._named) > MAX_NAMED:
            self._forget_names(list(self._named.values()))

    def _forget_names(self, all_: list[Named]) -> None:
        """Keep the loudest three quarters of the names."""
        weights = self._mean[self._slots_of(all_)]
        for i in np.argsort(weights, kind="stable")[: len(all_) // 4].tolist():
            gone = all_[i]
            del self._named[gone.key, gone.which]
            left = [which for which in self._classes_of.pop(gone.key) if which != gone.which]
            if left:
                self._classes_of[gone.key] = left

    def _fade(self) -> None:
        self._mean *= 0.5
        faint = np.abs(self._mean) < _FAINT
        self._weights[faint] = 0.0
        self._taught[faint] = 0
