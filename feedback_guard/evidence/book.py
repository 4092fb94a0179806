"""The evidence on each facet, in a bounded number of places.

A facet takes a place when its first member comes. When all are taken, a hand goes round the places, and of those that
it passes, the ones with the fewest members and no evidence worth mentioning make room, the oldest first: so whoever
floods the guard with facets of one member each pushes out nothing but such facets, and a facet that was pushed out
begins anew with less evidence, never with more.

Stated error: a facet with more than four times the mean number of members of the places that the hand passes is never
pushed out. Where N memberships were counted in the B places of the book, what is forgotten of a facet at a time is thus
at most 4 N / B members on average: with a million places and forty facets a contribution, a facet in more than one of
6,000 contributions stays. To push out one with m members, an attacker has to fill the places around it with facets of
m / 4 members on average.

References
----------
Manku, G. S., Motwani, R. (2002). Approximate frequency counts over data streams. VLDB (lossy counting: what is dropped
is what was seen least).
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from feedback_guard.evidence import counting
from feedback_guard.evidence.counting import N_SHIFT, SHARES
from feedback_guard.evidence.index import NOWHERE, Index, Keys, Slots
from feedback_guard.evidence.martingales import contradiction_evidence
from feedback_guard.evidence.packed import WIDTH, packed, unpacked

Floats = NDArray[np.float64]

TARGETS: Final = 3
"""Most classes that a facet is watched for at a time."""
MAX_MEMBERS: Final = 4_096
"""Most members that a facet remembers, the latest ones."""
LOOKS_EVERY: Final = 64
"""Members after which it is looked which of a facet's are too old to be asked for: a power of 2."""
KEEP_ABOVE: Final = 3.0
"""Evidence, as a logarithm, above which a facet is not pushed out."""
STRETCH: Final = 8_192
"""Places that the hand passes at a time: enough for the fewest among them to be few, and quickly looked through."""
_ROW: Final = np.dtype(
    [
        ("key", np.uint64),
        ("arrived", np.int64),
        ("first", np.int64),
        ("n", np.int32),
        ("n_trusted", np.int32),
        ("targets", np.int16, (TARGETS,)),
        ("hot", np.bool_),
        ("contradiction", np.float32, (len(SHARES),)),
        ("shift", np.float32, (TARGETS, N_SHIFT)),
        ("_", np.uint8, (1,)),
    ]
)
"""All that is kept of a facet stands together: in a full book nearly every facet that comes is in no cache, and is
fetched once instead of once for each column."""


class Columns(NamedTuple):
    """What is kept of all places, as views: to write to one is to write to the places."""

    first: Slots
    n: NDArray[np.int32]
    n_trusted: NDArray[np.int32]
    targets: NDArray[np.int16]
    hot: NDArray[np.bool_]
    contradiction: NDArray[np.float32]
    shift: NDArray[np.float32]


class Book:
    """Places for the evidence on facets.

    Parameters
    ----------
    capacity
        Most facets. Each takes about 350 bytes, once it is used.
    window
        Latest contributions that anybody asks for. A facet forgets older members sooner or later, so that what is
        remembered of all of them together is bounded.
    """

    def __init__(self, capacity: int, window: int = sys.maxsize) -> None:
        self.capacity = capacity
        self._window = window
        self._index = Index()
        self._free: list[int] = []
        self._high = 0
        self._hand = 0
        self._arrivals = 0
        # numpy leaves pages that were never written to the operating system: an empty book costs next to nothing
        rows = np.zeros(capacity, dtype=_ROW)
        self.columns = Columns(*(rows[name] for name in Columns._fields))
        self.n, self.n_trusted, self.targets = self.columns.n, self.columns.n_trusted, self.columns.targets
        self.keys: NDArray[np.uint64] = rows["key"]
        self._arrived: Slots = rows["arrived"]
        self._members: dict[int, bytearray] = {}
        """Of facets with two members or more, packed: most never have a second."""

    def __len__(self) -> int:
        return len(self._index)

    def slot(self, key: int) -> int | None:
        """Where a facet is; None if it is nowhere."""
        return self._index.get(key)

    def place(self, keys: Keys, n_trusted: Slots, *, n_two: int) -> Slots:
        """Where facets are, each with a place of its own from now on.

        Parameters
        ----------
        keys
            At most a quarter of `capacity` facets, without repetition.
        n_trusted
            In how many trusted contributions each stands.
        n_two
            How many, from the first, have only two classes; both are watched from the beginning then.
        """
        found, new = np.empty((2, len(keys)), dtype=np.int64)
        n_new = self._index.place(keys, self._vacant(keys), found, new)
        if n_new:
            columns, known = self.columns, n_trusted
            counting.clear(self.keys, self._arrived, *columns, found, new[:n_new], keys, known, n_two, self._arrivals)
            self._take(n_new)
        return found

    def join(self, slots: Slots, before: Slots, member: int) -> None:
        """Remember a further member of facets that had so many before, and whose columns count it already."""
        name, members = packed(member), self._members
        for slot, n in zip(slots.tolist(), before.tolist(), strict=True):
            if not n:
                continue
            own = members.get(slot)
            if own is None:
                own = members[slot] = bytearray(packed(int(self.columns.first[slot])))
            own += name
            if len(own) % (LOOKS_EVERY * WIDTH) == 0:
                del own[: bisect_right(memoryview(bytes(own)).cast("q"), member - self._window) * WIDTH]
                if len(own) >= MAX_MEMBERS * WIDTH:
                    del own[: MAX_MEMBERS // 4 * WIDTH]

    def renew(self, slot: int, *, two: bool) -> None:
        """Begin anew with a facet, as if it had just come.

        Parameters
        ----------
        two
            Whether it has only two classes, see `place`.
        """
        columns = self.columns
        counting.renew(columns.n, columns.targets, columns.hot, columns.contradiction, columns.shift, slot, two)
        self._members.pop(slot, None)

    def members(self, slot: int, most: int = MAX_MEMBERS) -> list[int]:
        """The members of a facet that are remembered, oldest first; the latest so many, 1 or more."""
        many = self._members.get(slot)
        if many is None:
            return [int(self.columns.first[slot])] if self.n[slot] else []
        return unpacked(many[-most * WIDTH :])

    def contrary_share(self, slot: int) -> float:
        """Likeliest share of contradictions in a facet, one of `SHARES`."""
        return float(SHARES[self.columns.contradiction[slot].argmax()])

    def contradiction_evidence(self, slots: Slots) -> Floats:
        """Evidence of each facet by the contradiction test."""
        return contradiction_evidence(self.columns.contradiction[slots].astype(np.float64))

    def _vacant(self, keys: Keys) -> Slots:
        """As many places that are not taken as facets could need, or more than they do; room is made for them."""
        if len(self._free) + self.capacity - self._high < len(keys):
            found, missing = self._index.find(keys)
            while len(self._free) + self.capacity - self._high < missing:
                self._make_room(found[found != NOWHERE])
        fresh = np.arange(self._high, min(self._high + len(keys), self.capacity))
        if not self._free:
            return fresh
        return np.concatenate([np.array(self._free[: -len(keys) - 1 : -1], dtype=np.int64), fresh])

    def _take(self, n: int) -> None:
        """The first n of the vacant places are taken."""
        freed = min(n, len(self._free))
        del self._free[len(self._free) - freed :]
        self._high += n - freed
        self._arrivals += n

    def _make_room(self, keep: Slots) -> None:
        """Pass a stretch of places, and drop a quarter of their facets: the fewest members, then the first to come."""
        stretch = (self._hand + np.arange(min(STRETCH, self.capacity))) % self.capacity
        self._hand = int(stretch[-1]) + 1
        stretch = stretch[stretch < self._high]
        stretch = np.setdiff1d(stretch, np.concatenate([keep, np.array(self._free, dtype=np.int64)]))
        quarter = max(1, len(stretch) // 4)
        plain = stretch[self.contradiction_evidence(stretch) < KEEP_ABOVE]
        # At least half of them: the quarter that goes has then as many again beside it that have no fewer members.
        candidates = plain if len(plain) >= 2 * quarter else stretch
        fewest = candidates[np.lexsort((self._arrived[candidates], self.n[candidates]))][:quarter]
        self._index.drop(self.keys[fewest])
        for slot in fewest.tolist():
            self._members.pop(slot, None)
        self._free += fewest.tolist()
