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

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedback_guard.evidence.martingales import (
    N_SHIFT,
    SHARES,
    contradiction_evidence,
    contrary_share,
)
from feedback_guard.evidence.packed import WIDTH, packed, unpacked

Slots = NDArray[np.int64]
Floats = NDArray[np.float64]
Raw = NDArray[np.uint64]

TARGETS: Final = 3
"""Most classes that a facet is watched for at a time."""
LEAST_MEMBERS: Final = 5
"""Members below which a facet is no hypothesis: fewer could not convince anybody."""
MAX_MEMBERS: Final = 4_096
"""Most members that a facet remembers, the latest ones."""
KEEP_ABOVE: Final = 3.0
"""Evidence, as a logarithm, above which a facet is not pushed out."""
STRETCH: Final = 8_192
"""Places that the hand passes at a time: enough for the fewest among them to be few, and quickly looked through."""
NONE: Final = -1
"""No class is watched in a place among a facet's targets."""
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
_WIDTH: Final = _ROW.itemsize // np.dtype(np.uint64).itemsize
_BOTH: Final = (0, 1, NONE)
"""What a facet is watched for where there are two classes."""
_MOST_TRUSTED: Final = int(np.iinfo(np.int32).max)


class Rows:
    """The columns of some places, as views: to write to one is to write to the rows.

    Parameters
    ----------
    raw
        The rows, shape (n, `_WIDTH`), contiguous.
    """

    __slots__ = ("arrived", "contradiction", "first", "hot", "keys", "n", "n_trusted", "raw", "shift", "targets")

    def __init__(self, raw: Raw) -> None:
        rows = raw.view(_ROW)[:, 0]
        self.raw = raw
        self.keys: NDArray[np.uint64] = rows["key"]
        self.n: NDArray[np.int32] = rows["n"]
        self.n_trusted: NDArray[np.int32] = rows["n_trusted"]
        self.targets: NDArray[np.int16] = rows["targets"]
        self.hot: NDArray[np.bool_] = rows["hot"]
        self.contradiction: NDArray[np.float32] = rows["contradiction"]
        self.shift: NDArray[np.float32] = rows["shift"]
        self.first: NDArray[np.int64] = rows["first"]
        self.arrived: NDArray[np.int64] = rows["arrived"]


class Book:
    """Places for the evidence on facets.

    Parameters
    ----------
    capacity
        Most facets. Each takes about 350 bytes, once it is used.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._slot_of: dict[int, int] = {}
        self._free: list[int] = []
        self._high = 0
        self._hand = 0
        self._arrivals = 0
        # numpy leaves pages that were never written to the operating system: an empty book costs next to nothing
        self._all = Rows(np.zeros((capacity, _WIDTH), dtype=np.uint64))
        self.n, self.n_trusted, self.targets = self._all.n, self._all.n_trusted, self._all.targets
        self.keys = self._all.keys
        self._members: dict[int, bytearray] = {}
        """Of facets with two members or more, packed: most never have a second."""

    def __len__(self) -> int:
        return len(self._slot_of)

    def slot(self, key: int) -> int | None:
        """Where a facet is; None if it is nowhere."""
        return self._slot_of.get(key)

    def place(self, keys: Sequence[int], n_trusted: Sequence[int], *, n_two: int) -> Slots:
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
        get = self._slot_of.get
        found = [get(key, NONE) for key in keys]
        if NONE in found:
            new = [i for i, slot in enumerate(found) if slot == NONE]
            taken = self._take(len(new), found)
            for i, slot in zip(new, taken, strict=True):
                found[i] = slot
                self._slot_of[keys[i]] = slot
            n_new_two = bisect_left(new, n_two)
            self._clear(taken, [keys[i] for i in new], [n_trusted[i] for i in new], n_two=n_new_two)
        return np.array(found, dtype=np.int64)

    def read(self, slots: Slots) -> Rows:
        """What is known of facets, to be changed and given to `write`."""
        return Rows(self._all.raw.take(slots, axis=0))

    def write(self, slots: Slots, rows: Rows) -> None:
        """Keep what was read and changed."""
        self._all.raw[slots] = rows.raw

    def join(self, slots: Slots, rows: Rows, member: int) -> None:
        """Count a member of facets that were read."""
        rows.first[rows.n == 0] = member
        name, members = packed(member), self._members
        for slot, n, first in zip(slots.tolist(), rows.n.tolist(), rows.first.tolist(), strict=True):
            if not n:
                continue
            own = members.get(slot)
            if own is None:
                own = members[slot] = bytearray(packed(first))
            own += name
            if len(own) > MAX_MEMBERS * WIDTH:
                del own[: MAX_MEMBERS // 4 * WIDTH]
        rows.n += 1

    def renew(self, slots: Slots, rows: Rows, at: Sequence[int], *, n_two: int) -> None:
        """Begin anew with some of the facets that were read, as if they had just come.

        Parameters
        ----------
        at
            Which of them, ascending.
        n_two
            See `place`; counted among all that were read.
        """
        for i in at:
            rows.n[i] = 0
            rows.hot[i] = False
            rows.targets[i] = _BOTH if i < n_two else NONE
            rows.contradiction[i] = 0.0
            rows.shift[i] = 0.0
            self._members.pop(int(slots[i]), None)

    def members(self, slot: int) -> list[int]:
        """The members of a facet that are remembered, oldest first."""
        many = self._members.get(slot)
        if many is None:
            return [int(self._all.first[slot])] if self.n[slot] else []
        return unpacked(many)

    def contrary_share(self, slot: int) -> float:
        """Likeliest share of contradictions in a facet, one of `SHARES`."""
        return float(contrary_share(self._all.contradiction[slot : slot + 1].astype(np.float64))[0])

    def contradiction_evidence(self, slots: Slots) -> Floats:
        """Evidence of each facet by the contradiction test."""
        return contradiction_evidence(self._all.contradiction[slots].astype(np.float64))

    def _take(self, n: int, keep: list[int]) -> list[int]:
        """Take n places, of others than those that are to be kept."""
        taken = [self._free.pop() for _ in range(min(n, len(self._free)))]
        fresh = min(n - len(taken), self.capacity - self._high)
        taken += range(self._high, self._high + fresh)
        self._high += fresh
        while len(taken) < n:
            self._make_room(np.array([*keep, *taken], dtype=np.int64))
            taken += [self._free.pop() for _ in range(min(n - len(taken), len(self._free)))]
        return taken

    def _clear(self, taken: list[int], keys: list[int], n_trusted: list[int], *, n_two: int) -> None:
        """Make places as good as new."""
        rows = np.zeros(len(taken), dtype=_ROW)
        rows["key"] = np.array(keys, dtype=np.uint64)
        rows["n_trusted"] = [min(n, _MOST_TRUSTED) for n in n_trusted]
        rows["arrived"] = np.arange(self._arrivals, self._arrivals + len(taken))
        targets = rows["targets"]
        targets[:] = NONE
        if n_two:
            targets[:n_two] = _BOTH
        self._arrivals += len(taken)
        self._all.raw[taken] = rows.view(np.uint64).reshape(len(taken), _WIDTH)

    def _make_room(self, keep: Slots) -> None:
        """Pass a stretch of places, and drop a quarter of their facets: the fewest members, then the first to come."""
        stretch = (self._hand + np.arange(min(STRETCH, self.capacity))) % self.capacity
        self._hand = int(stretch[-1]) + 1
        stretch = np.setdiff1d(stretch, np.concatenate([keep, np.array(self._free, dtype=np.int64)]))
        quarter = max(1, len(stretch) // 4)
        plain = stretch[self.contradiction_evidence(stretch) < KEEP_ABOVE]
        # At least half of them: the quarter that goes has then as many again beside it that have no fewer members.
        candidates = plain if len(plain) >= 2 * quarter else stretch
        fewest = candidates[np.lexsort((self._all.arrived[candidates], self.n[candidates]))][:quarter]
        for slot, key in zip(fewest.tolist(), self.keys[fewest].tolist(), strict=True):
            del self._slot_of[key]
            self._members.pop(slot, None)
        self._free += fewest.tolist()
