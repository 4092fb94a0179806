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

from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedback_guard.evidence.martingales import (
    N_SHIFT,
    SHARES,
    contradiction_evidence,
    contrary_share,
    shift_evidence,
)

Slots = NDArray[np.int64]
Floats = NDArray[np.float64]

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
_NONE: Final = -1


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
        self.keys = np.zeros(capacity, dtype=np.uint64)
        self.n = np.zeros(capacity, dtype=np.int32)
        self.n_trusted = np.zeros(capacity, dtype=np.int32)
        self.hot = np.zeros(capacity, dtype=np.bool_)
        self.targets = np.full((capacity, TARGETS), _NONE, dtype=np.int16)
        self._arrived = np.zeros(capacity, dtype=np.int64)
        self._contradiction = np.zeros((capacity, len(SHARES)), dtype=np.float32)
        self._shift = np.zeros((capacity * TARGETS, N_SHIFT), dtype=np.float32)
        self._first = np.zeros(capacity, dtype=np.int64)
        self._members: dict[int, list[int]] = {}
        """Of facets with two members or more: most never have a second."""

    def __len__(self) -> int:
        return len(self._slot_of)

    def slot(self, key: int) -> int | None:
        """Where a facet is; None if it is nowhere."""
        return self._slot_of.get(key)

    def place(
        self, keys: NDArray[np.uint64], n_trusted: NDArray[np.int64], *, two_classes: bool | NDArray[np.bool_]
    ) -> Slots:
        """Where facets are, each with a place of its own from now on.

        Parameters
        ----------
        keys
            At most a quarter of `capacity` facets, without repetition.
        n_trusted
            In how many trusted contributions each stands.
        two_classes
            Whether there are only two classes, for each or for all; both are watched from the beginning then.
        """
        names = keys.tolist()
        found = [self._slot_of.get(key, _NONE) for key in names]
        if _NONE in found:
            new = [i for i, slot in enumerate(found) if slot == _NONE]
            taken = self._take(len(new), found)
            for i, slot in zip(new, taken, strict=True):
                found[i] = slot
                self._slot_of[names[i]] = slot
            own = two_classes if isinstance(two_classes, bool) else two_classes[new]
            self._clear(taken, keys[new], n_trusted[new], two_classes=own)
        return np.array(found, dtype=np.int64)

    def add(self, slots: Slots, member: int, contradiction: Floats) -> None:
        """Count a member of facets, with its step of the contradiction test."""
        before = self.n[slots]
        self.n[slots] = before + 1
        self._contradiction[slots] += contradiction.astype(np.float32)
        self._first[slots[before == 0]] = member
        for slot in slots[before > 0].tolist():
            members = self._members.get(slot)
            if members is None:
                members = self._members[slot] = [int(self._first[slot])]
            members.append(member)
            if len(members) > MAX_MEMBERS:
                del members[: MAX_MEMBERS // 4]

    def add_shift(self, slots: Slots, targets: NDArray[np.int64], steps: Floats) -> None:
        """Add steps of the shift test: for each pair of a facet and a place among its targets, one row."""
        self._shift[slots * TARGETS + targets] += steps.astype(np.float32)

    def renew(self, slots: Slots, *, two_classes: bool | NDArray[np.bool_]) -> None:
        """Begin anew with facets, as if they had just come."""
        self.n[slots] = 0
        self.hot[slots] = False
        self.targets[slots] = np.where(np.reshape(two_classes, (-1, 1)), (0, 1, _NONE), _NONE)
        self._contradiction[slots] = 0.0
        self._shift.reshape(self.capacity, -1)[slots] = 0.0
        for slot in slots.tolist():
            self._members.pop(slot, None)

    def watch(self, slots: Slots, which: int) -> None:
        """Watch facets for a class from the next member on, where there is room for one more."""
        rows = self.targets[slots]
        # Places are filled in order, so the last one is the last to be vacant.
        wanted = (rows[:, -1] == _NONE) & (rows != which).all(axis=1)
        if wanted.any():
            self.targets[slots[wanted], (rows[wanted] == _NONE).argmax(axis=1)] = which

    def members(self, slot: int) -> list[int]:
        """The members of a facet that are remembered, oldest first."""
        many = self._members.get(slot)
        if many is None:
            return [int(self._first[slot])] if self.n[slot] else []
        return many

    def contrary_share(self, slot: int) -> float:
        """Likeliest share of contradictions in a facet, one of `SHARES`."""
        return float(contrary_share(self._contradiction[slot : slot + 1].astype(np.float64))[0])

    def contradiction_evidence(self, slots: Slots) -> Floats:
        """Evidence of each facet by the contradiction test."""
        return contradiction_evidence(self._contradiction[slots].astype(np.float64))

    def shift_evidence(self, slots: Slots, targets: NDArray[np.int64]) -> Floats:
        """Evidence of pairs of a facet and a place among its targets."""
        return shift_evidence(self._shift[slots * TARGETS + targets].astype(np.float64), self.n_trusted[slots])

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

    def _clear(
        self,
        taken: list[int],
        keys: NDArray[np.uint64],
        n_trusted: NDArray[np.int64],
        *,
        two_classes: bool | NDArray[np.bool_],
    ) -> None:
        """Make places as good as new."""
        slots = np.array(taken, dtype=np.int64)
        self._arrived[slots] = np.arange(self._arrivals, self._arrivals + len(taken))
        self._arrivals += len(taken)
        self.keys[slots] = keys
        self.n_trusted[slots] = np.minimum(n_trusted, np.iinfo(np.int32).max)
        self.renew(slots, two_classes=two_classes)

    def _make_room(self, keep: Slots) -> None:
        """Pass a stretch of places, and drop a quarter of their facets: the fewest members, then the first to come."""
        stretch = (self._hand + np.arange(min(STRETCH, self.capacity))) % self.capacity
        self._hand = int(stretch[-1]) + 1
        stretch = np.setdiff1d(stretch, np.concatenate([keep, np.array(self._free, dtype=np.int64)]))
        quarter = max(1, len(stretch) // 4)
        plain = stretch[self.contradiction_evidence(stretch) < KEEP_ABOVE]
        # At least half of them: the quarter that goes has then as many again beside it that have no fewer members.
        candidates = plain if len(plain) >= 2 * quarter else stretch
        fewest = candidates[np.lexsort((self._arrived[candidates], self.n[candidates]))][:quarter]
        for slot in fewest.tolist():
            del self._slot_of[int(self.keys[slot])]
            self._members.pop(slot, None)
        self._free += fewest.tolist()
