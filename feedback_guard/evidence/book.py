"""The evidence on each facet, in a bounded number of places.

A facet takes a place when its first member comes. When all are taken, those with the fewest members and no evidence
worth mentioning make room, the oldest first: so whoever floods the guard with facets of one member each pushes out
nothing but such facets, and a facet that was pushed out begins anew with less evidence, never with more.

References
----------
Manku, G. S., Motwani, R. (2002). Approximate frequency counts over data streams. VLDB (lossy counting: what is dropped
is what was seen least).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedback_guard.evidence.martingales import N_SHIFT, SHARES, contradiction_evidence, shift_evidence

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
_NONE: Final = -1


class Book:
    """Places for the evidence on facets.

    Parameters
    ----------
    capacity
        Most facets. Each takes about 250 bytes, once it is used.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._slot_of: dict[int, int] = {}
        self._free: list[int] = []
        self._high = 0
        # numpy leaves pages that were never written to the operating system: an empty book costs next to nothing
        self.keys = np.zeros(capacity, dtype=np.uint64)
        self.n = np.zeros(capacity, dtype=np.int32)
        self.n_trusted = np.zeros(capacity, dtype=np.int64)
        self.hot = np.zeros(capacity, dtype=np.bool_)
        self.targets = np.full((capacity, TARGETS), _NONE, dtype=np.int16)
        self._contradiction = np.zeros((capacity, len(SHARES)), dtype=np.float32)
        self._shift = np.zeros((capacity, TARGETS, N_SHIFT), dtype=np.float32)
        self._members: dict[int, list[int]] = {}

    def __len__(self) -> int:
        return len(self._slot_of)

    def slot(self, key: int) -> int | None:
        """Where a facet is; None if it is nowhere."""
        return self._slot_of.get(key)

    def place(self, keys: NDArray[np.uint64], n_trusted: NDArray[np.int64], *, two_classes: bool) -> Slots:
        """Where facets are, each with a place of its own from now on.

        Parameters
        ----------
        keys
            At most `capacity` facets, without repetition.
        n_trusted
            In how many trusted contributions each stands.
        two_classes
            Whether there are only two classes; both are watched from the beginning then.
        """
        slots = np.empty(len(keys), dtype=np.int64)
        for i, key in enumerate(keys.tolist()):
            slot = self._slot_of.get(key)
            if slot is None:
                slot = self._take(key)
                self.n_trusted[slot] = n_trusted[i]
                self.targets[slot] = (0, 1, _NONE) if two_classes else _NONE
            slots[i] = slot
        return slots

    def add(self, slots: Slots, member: int, contradiction: Floats) -> None:
        """Count a member of facets, with its step of the contradiction test."""
        self.n[slots] += 1
        self._contradiction[slots] += contradiction.astype(np.float32)
        for slot in slots.tolist():
            members = self._members[slot]
            members.append(member)
            if len(members) > MAX_MEMBERS:
                del members[: MAX_MEMBERS // 4]

    def add_shift(self, slots: Slots, targets: NDArray[np.int64], steps: Floats) -> None:
        """Add steps of the shift test: for each pair of a facet and a place among its targets, one row."""
        self._shift[slots, targets] += steps.astype(np.float32)

    def renew(self, slots: Slots, *, two_classes: bool) -> None:
        """Begin anew with facets, as if they had just come."""
        self.n[slots] = 0
        self.hot[slots] = False
        self.targets[slots] = (0, 1, _NONE) if two_classes else _NONE
        self._contradiction[slots] = 0.0
        self._shift[slots] = 0.0
        for slot in slots.tolist():
            self._members[slot] = []

    def watch(self, slots: Slots, which: int) -> None:
        """Watch facets for a class from the next member on, where there is room for one more."""
        rows = self.targets[slots]
        vacant = rows == _NONE
        wanted = vacant.any(axis=1) & ~(rows == which).any(axis=1)
        self.targets[slots[wanted], vacant[wanted].argmax(axis=1)] = which

    def members(self, slot: int) -> list[int]:
        """The members of a facet that are remembered, oldest first."""
        return self._members.get(slot, [])

    def contradiction(self, slots: Slots) -> Floats:
        """Summed steps of the contradiction test, shape (n, len(SHARES))."""
        return self._contradiction[slots].astype(np.float64)

    def contradiction_evidence(self, slots: Slots) -> Floats:
        """Evidence of each facet by the contradiction test."""
        return contradiction_evidence(self.contradiction(slots))

    def shift_evidence(self, slots: Slots, targets: NDArray[np.int64]) -> Floats:
        """Evidence of pairs of a facet and a place among its targets."""
        return shift_evidence(self._shift[slots, targets].astype(np.float64), self.n_trusted[slots])

    def _take(self, key: int) -> int:
        if self._high < self.capacity:
            slot, self._high = self._high, self._high + 1
        else:
            if not self._free:
                self._make_room()
            slot = self._free.pop()
        self._slot_of[key] = slot
        self.keys[slot] = key
        self.n[slot] = 0
        self.hot[slot] = False
        self._contradiction[slot] = 0.0
        self._shift[slot] = 0.0
        self._members[slot] = []
        return slot

    def _make_room(self) -> None:
        """Drop a quarter of the facets: the ones with the fewest members, then the ones that came first."""
        slots = np.fromiter(self._slot_of.values(), dtype=np.int64, count=len(self._slot_of))  # in order of arrival
        plain = slots[self.contradiction_evidence(slots) < KEEP_ABOVE]
        candidates = plain if len(plain) >= self.capacity // 4 else slots
        fewest = candidates[np.argsort(self.n[candidates], kind="stable")][: max(1, self.capacity // 4)]
        for slot in fewest.tolist():
            del self._slot_of[int(self.keys[slot])]
            del self._members[slot]
        self._free = fewest.tolist()
