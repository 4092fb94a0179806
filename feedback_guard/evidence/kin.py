"""Which contributions are near copies of each other, so that a text that is sent again and again is counted as one.

Evidence multiplies what independent contributions say. Near copies are not independent: if the model misreads one, it
misreads all of them. So the n-th of a family counts for 1/n of a contribution. (That many accounts send near copies is
a matter for the signal `near_duplicate`.)

References
----------
Broder, A. Z. (1997). On the resemblance and containment of documents. Compression and Complexity of Sequences.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedback_guard.compiled import compiled
from feedback_guard.evidence.packed import WIDTH, packed, unpacked

BANDS: Final = 10
ROWS: Final = 3
"""Two texts that share 70 % of their phrases meet in some band with a probability of 0.98, 15 % with one of 0.03."""
ALIKE: Final = 0.4
"""Share of common phrases from which two texts are near copies."""
LEAST_PHRASES: Final = 3
"""Phrases below which a text is nobody's copy."""
MAX_MEMBERS: Final = 1_000
"""Most members that a family remembers, the latest ones; further ones count as so many."""
CAPACITY: Final = 40_000
"""Most families that are remembered, the latest ones."""
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)


@compiled("uint64[:](uint64[:], uint64[:])")
def _bands(phrases: NDArray[np.uint64], stretch: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One number for each band, from the phrases that stand for the text in its rows.

    A number takes a fifth of what all of them take; two that meet by chance are told apart by their phrases.
    """
    bands = np.empty(BANDS, dtype=np.uint64)
    for band in range(BANDS):
        mixed = np.uint64(band + 1)
        for row in range(ROWS):
            by, least = stretch[band * ROWS + row], ~np.uint64(0)
            for phrase in phrases:
                least = min(least, (phrase * by) >> np.uint64(20))
            mixed = (mixed ^ least) * _MIX
            mixed ^= mixed >> np.uint64(29)
        bands[band] = mixed
    return bands


class Kin:
    """Counts the members of families of near copies.

    Parameters
    ----------
    seed
        Secret; decides which phrases stand for a text.

    Examples
    --------
    >>> kin = Kin(7)
    >>> one = np.arange(1, 20, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    >>> [len(kin.of(text, n)) for n, text in enumerate([one, one, one[1:], one + np.uint64(3)])]
    [1, 2, 3, 1]
    """

    def __init__(self, seed: int) -> None:
        rng = np.random.Generator(np.random.PCG64(seed))
        self._stretch = rng.integers(0, 2**64, size=BANDS * ROWS, dtype=np.uint64) | np.uint64(1)
        self._family_of: OrderedDict[int, int] = OrderedDict()
        self._families: OrderedDict[int, tuple[NDArray[np.uint64], bytearray]] = OrderedDict()
        """The phrases of the first, and the members, packed."""
        self._next = 0

    def of(self, phrases: NDArray[np.uint64], number: int) -> list[int]:
        """The numbers of a text's family, its own last: it joins.

        Parameters
        ----------
        phrases
            Keys, ascending. Leave out common ones: they make strangers look alike.
        number
            What the text is called from now on.
        """
        if len(phrases) < LEAST_PHRASES:
            return [number]
        bands: list[int] = _bands(phrases, self._stretch).tolist()
        near = dict.fromkeys(self._family_of[band] for band in bands if band in self._family_of)
        own = set(phrases.tolist()) if near else set[int]()
        for family in near:
            leader, members = self._families.get(family, (phrases[:0], bytearray()))
            common = len(own.intersection(leader.tolist()))
            if common >= ALIKE * (len(leader) + len(phrases) - common):
                members += packed(number)
                if len(members) > MAX_MEMBERS * WIDTH:
                    del members[:WIDTH]
                return unpacked(members)
        family, self._next = self._next, self._next + 1
        self._families[family] = phrases, bytearray(packed(number))
        for band in bands:
            self._family_of[band] = family
        while len(self._families) > CAPACITY:
            self._families.popitem(last=False)
        while len(self._family_of) > CAPACITY * BANDS:
            self._family_of.popitem(last=False)
        return [number]
