"""The second look at a phrase: what its members say if those that lie in one place are misread together.

The shift test takes members to err independently once the phrase is known. Honest members of a word that stands for a
topic do not: where the trusted set knows little of the topic, the classifier misreads all of them, whatever they say,
and the word looks as if it were taught against its content. Of a planted phrase the members lie everywhere, since
whoever plants it writes it into texts of all topics.

So a phrase whose evidence is worth looking at is counted once more, and of the members in one place, the narrowest
region of embedding space that the trusted set divides (`kinds.region`), the n-th counts for 1/n, as if they were near
copies. Where members lie follows from their contents, not from what they teach, and a likelihood ratio to a power
between 0 and 1 has a mean of at most 1 under the null; so the smaller of the two numbers is as good an e-value as the
first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedback_guard.compiled import compiled
from feedback_guard.evidence import counting
from feedback_guard.evidence.martingales import Honest
from feedback_guard.signals.lesson import LEAST_CHANCE, Lesson

Floats = NDArray[np.float64]

WINDOW: Final = 50_000
"""Latest contributions of which it is known where they lie."""
MOST: Final = 512
"""Most members that are counted once more, the latest ones: whoever sends thousands must not make each cost more."""
NOWHERE: Final = 0
"""Place of a contribution of which nothing says where it lies: it lies nowhere with another."""


@dataclass(slots=True)
class Places:
    """Where the latest contributions lie, and what they taught, in rings.

    Parameters
    ----------
    where
        Place of each.
    taught, chance
        The class that each taught, and its chance given the content.
    other, other_chance
        The class that its content speaks for next, and its chance.
    share
        1/n for the n-th near copy of a text.
    """

    where: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(WINDOW, dtype=np.uint64))
    taught: NDArray[np.int32] = field(default_factory=lambda: np.full(WINDOW, -1, dtype=np.int32))
    chance: NDArray[np.float32] = field(default_factory=lambda: np.zeros(WINDOW, dtype=np.float32))
    other: NDArray[np.int32] = field(default_factory=lambda: np.full(WINDOW, -1, dtype=np.int32))
    other_chance: NDArray[np.float32] = field(default_factory=lambda: np.zeros(WINDOW, dtype=np.float32))
    share: NDArray[np.float32] = field(default_factory=lambda: np.ones(WINDOW, dtype=np.float32))
    newest: int = 0

    def remember(self, number: int, place: int, lesson: Lesson, nth: int) -> None:
        """Remember a contribution; nothing of one that does not choose among classes."""
        if lesson.shares is None:
            return
        at, others = number % WINDOW, lesson.shares.copy()
        others[lesson.which] = -1.0
        other = int(others.argmax())
        self.where[at], self.share[at] = place, 1.0 / nth
        self.taught[at], self.chance[at] = lesson.which, lesson.shares[lesson.which]
        self.other[at], self.other_chance[at] = other, lesson.shares[other]
        self.newest = number

    def evidence(self, members: Sequence[int], which: int, n_trusted: int, honest: Honest) -> float:
        """Logarithm of the e-value of a phrase and a class, if members in one place are misread together.

        Parameters
        ----------
        members
            The phrase's members by number, oldest first; the latest `MOST` count.
        which
            The class.
        n_trusted
            In how many trusted contributions the phrase stands.
        honest
            What is expected of honest members.

        Examples
        --------
        >>> places, shares = Places(), np.array([0.9, 0.1])
        >>> for number in range(1, 21):
        ...     place = number if number > 10 else 7
        ...     places.remember(number, place, Lesson("label 'good'", 1, 2.2, shares, comparable=True), nth=1)
        >>> together, apart = ([*range(1, 11)], [*range(11, 21)])
        >>> [places.evidence(each, 1, 0, Honest(2, 0.6)) > 7.0 for each in (together, apart)]
        [False, True]
        """
        at = np.array(members[-MOST:], dtype=np.int64)
        at = at[at > self.newest - WINDOW] % WINDOW
        chances, taught, shares = _counted_again(
            at, which, self.taught, self.chance, self.other, self.other_chance, self.share, LEAST_CHANCE
        )
        steps = counting.shift_steps(chances, taught, honest.other, honest.sure)
        sums = (shares * shares_of(self.where[at])) @ steps
        return float(counting.shift_evidence(sums[None], np.array([n_trusted]), honest.priors())[0])


@compiled(
    "Tuple((float64[::1], boolean[::1], float64[::1]))"
    "(int64[::1], int64, int32[::1], float32[::1], int32[::1], float32[::1], float32[::1], float64)"
)
def _counted_again(
    at: NDArray[np.int64],
    which: int,
    taught: NDArray[np.int32],
    chance: NDArray[np.float32],
    other: NDArray[np.int32],
    other_chance: NDArray[np.float32],
    share: NDArray[np.float32],
    least: float,
) -> tuple[Floats, NDArray[np.bool_], Floats]:
    """Of each member, by where it is in the rings: the chance of a class, whether it taught it, its share."""
    chances, taught_it, shares = np.empty(len(at)), np.empty(len(at), dtype=np.bool_), np.empty(len(at))
    for i in range(len(at)):
        each = at[i]
        taught_it[i] = taught[each] == which
        # Of a class that was neither taught nor spoken for next, the least chance is the most lenient.
        q = chance[each] if taught_it[i] else other_chance[each] if other[each] == which else least
        chances[i] = min(max(q, least), 1.0 - least)
        shares[i] = share[each]
    return chances, taught_it, shares


@compiled("float64[::1](uint64[::1])")
def shares_of(places: NDArray[np.uint64]) -> Floats:
    """For how much of one each member counts by where it lies, oldest first.

    Examples
    --------
    >>> shares_of(np.array([7, 8, 7, NOWHERE, NOWHERE, 7], dtype=np.uint64)).round(2).tolist()
    [1.0, 1.0, 0.5, 1.0, 1.0, 0.33]
    """
    size = 2
    while size < 2 * len(places):
        size *= 2
    holder, many, shares = np.full(size, -1, dtype=np.int64), np.zeros(size, dtype=np.int64), np.empty(len(places))
    for i in range(len(places)):
        if places[i] == NOWHERE:
            shares[i] = 1.0
            continue
        slot = np.int64(places[i] % np.uint64(size))
        while holder[slot] >= 0 and places[holder[slot]] != places[i]:
            slot = (slot + 1) % size
        holder[slot] = i
        many[slot] += 1
        shares[i] = 1.0 / many[slot]
    return shares
