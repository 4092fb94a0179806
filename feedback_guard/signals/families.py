"""Families of almost equal texts among the latest contributions, and the accounts in them. Bounded in every direction.

A family has a leader, the first text of its kind that came; a text belongs to the family whose leader it shares most
shingles with, if that is at least half of them. A family holds each account once, at the time it last came. Families
are found by the bands of their leaders' signatures in a fixed table: a bucket holds a few leaders, the latest ones.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from feedback_guard.errors import BaselineError
from feedback_guard.signals.hashing import SKETCH_SIZE, alike, displace, place
from feedback_guard.signals.interface import Array
from feedback_guard.signals.sketch import BANDS, Sketch, Sketcher

ALIKE = 0.5
"""Share of common shingles from which two texts count as almost the same."""
WAYS = 8
"""Leaders in a bucket of the table."""
MAX_COMPARED = 12
"""Most leaders that a text is compared with; those that agree in most bands come first."""
MAX_MEMBERS = 500
"""Most accounts that a family remembers unless told otherwise: more would change no decision."""
ACCOUNT_SHARE = 50
"""One account may fill this fraction of the window (1/50); what it sends beyond is not remembered, so that it cannot
push the others out."""


@dataclass(frozen=True, slots=True)
class Family:
    """A family that a text would belong to.

    Parameters
    ----------
    ident
        Where the index keeps it.
    likeness
        Share of shingles that the text has in common with its leader, 0.5..1.
    members
        When each account last came, in contributions, oldest first. Not a copy.
    """

    ident: int
    likeness: float
    members: Mapping[int, int]


class FamilyIndex:
    """Families among the latest `capacity` contributions.

    Parameters
    ----------
    sketcher
        Hashes with the secret key.
    capacity
        Length of the window, in contributions. Memory grows with it: about 0.7 KB for each text without a family.
    max_members
        Most accounts that a family remembers, the latest ones.
    """

    def __init__(self, sketcher: Sketcher, capacity: int, *, max_members: int = MAX_MEMBERS) -> None:
        self.sketcher = sketcher
        self.capacity = capacity
        self.max_members = max_members
        self.n_seen = 0
        slots = 1 << max(6, (capacity // 6).bit_length())
        # numpy leaves pages that were never written to the operating system, so an empty index costs next to nothing
        self._leaders = np.zeros((capacity, SKETCH_SIZE), dtype=np.uint32)
        self._lengths = np.zeros(capacity, dtype=np.uint8)
        self._keys = np.zeros((capacity, BANDS), dtype=np.uint32)
        self._table = np.zeros((BANDS * slots, WAYS), dtype=np.int32)
        self._members: dict[int, dict[int, int]] = {}
        self._window: deque[tuple[int, int, int]] = deque()
        self._of_account: dict[int, int] = {}
        self._free: list[int] = []
        self._high = 0
        self._asked: tuple[Sketch, list[Family]] | None = None

    def near(self, sketch: Sketch) -> list[Family]:
        """Families that a text belongs to or might, most alike first. Do not write to the list.

        What is asked several times in a row, before anything is added, is looked up once.
        """
        if self._asked is None or self._asked[0] is not sketch:
            self._asked = sketch, self._look_up(sketch)
        return self._asked[1]

    def _look_up(self, sketch: Sketch) -> list[Family]:
        found, likeness = np.empty(MAX_COMPARED, dtype=np.int64), np.empty(MAX_COMPARED)
        n = alike(*sketch, self._table, self._keys, self._leaders, self._lengths, ALIKE, found, likeness)
        if not n:
            return []
        return [
            Family(ident, like, self._members[ident])
            for ident, like in zip(found[:n].tolist(), likeness[:n].tolist(), strict=True)
        ]

    def add(self, sketch: Sketch, account: int) -> None:
        """Remember that an account sent a text, once for each account and family."""
        if self._of_account.get(account, 0) >= max(1, self.capacity // ACCOUNT_SHARE):
            return
        families = self.near(sketch)
        if families and account in families[0].members:
            return
        self._asked = None
        self.n_seen += 1
        ident = families[0].ident if families else None
        while self._window and self._window[0][0] <= self.n_seen - self.capacity:
            seen, old, who = self._window.popleft()
            if self._members.get(old, {}).get(who) == seen:
                self._forget(old, who)
        if ident is None or ident not in self._members:  # it may have gone with its last account just now
            ident = self._found(sketch)
        members = self._members[ident]
        if len(members) >= self.max_members:
            self._forget(ident, next(iter(members)))
        members[account] = self.n_seen
        self._of_account[account] = self._of_account.get(account, 0) + 1
        self._window.append((self.n_seen, ident, account))

    def leader(self, ident: int) -> bytes:
        """The sketch of a family's leader, as bytes: names the family as long as it lives."""
        return self._leaders[ident, : self._lengths[ident]].tobytes()

    def arrays(self) -> dict[str, Array]:
        """Everything but the key, as copies."""
        live = np.array(sorted(self._members), dtype=np.int32)
        entries = [entry for entry in self._window if self._members.get(entry[1], {}).get(entry[2]) == entry[0]]
        places = np.flatnonzero(self._table)
        return {
            "entries": np.array(entries, dtype=np.int64).reshape(-1, 3),
            "families": live,
            "lengths": self._lengths[live],
            "leaders": np.concatenate([self._leaders[i, : self._lengths[i]] for i in live] or [self._leaders[0, :0]]),
            "places": places.astype(np.int64),
            "placed": self._table.ravel()[places],
            "counters": np.array([self.n_seen, self._high], dtype=np.int64),
        }

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Take on what `arrays` of an index with the same key and capacity gave. For an empty index only.

        Raises
        ------
        BaselineError
            If they speak of families that such an index has no place for.
        """
        placed, lengths = arrays["placed"].astype(np.int32), arrays["lengths"].astype(np.int64)
        if not ((placed >= 0) & (placed <= self.capacity)).all() or not (lengths <= SKETCH_SIZE).all():
            raise BaselineError("the families of near copies are those of another index; build the baseline again")
        self._asked = None
        self.n_seen, self._high = (int(counter) for counter in arrays["counters"])
        live = [int(ident) for ident in arrays["families"]]
        ends = np.cumsum(lengths)
        leaders = arrays["leaders"].astype(np.uint32)
        for ident, end, length in zip(live, ends.tolist(), lengths.tolist(), strict=True):
            leader = leaders[end - length : end]
            self._keep(ident, Sketch(leader, self.sketcher.bands(leader)))
        self._table.ravel()[arrays["places"].astype(np.int64)] = placed
        for seen, ident, account in arrays["entries"].astype(np.int64).tolist():
            self._members[ident][account] = seen
            self._of_account[account] = self._of_account.get(account, 0) + 1
            self._window.append((seen, ident, account))
        self._free = sorted(set(range(self._high)) - set(live))

    def _keep(self, ident: int, leader: Sketch) -> None:
        self._members[ident] = {}
        self._leaders[ident, : len(leader.hashes)] = leader.hashes
        self._lengths[ident] = len(leader.hashes)
        self._keys[ident] = leader.bands

    def _found(self, leader: Sketch) -> int:
        """Make a family with the text of this sketch as its leader."""
        if self._free:
            ident = heapq.heappop(self._free)
        else:
            ident, self._high = self._high, self._high + 1
        self._keep(ident, leader)
        place(self._table, leader.bands, ident)
        return ident

    def _forget(self, ident: int, account: int) -> None:
        """Let an account leave a family, and the family go with its last one."""
        del self._members[ident][account]
        self._of_account[account] -= 1
        if not self._of_account[account]:
            del self._of_account[account]
        if not self._members[ident]:
            del self._members[ident]
            displace(self._table, self._keys[ident], ident)
            heapq.heappush(self._free, ident)
