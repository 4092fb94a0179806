"""Where each of many facets is: a table from their keys to places, compiled.

A dictionary would do, at some 150 bytes a facet in objects that lie all over the memory, each looked up by itself: in a
process that knows a million facets hardly any of that is in a cache. Here a key and its place stand side by side, and
all facets of a contribution are looked up in one call.

Keys are secret numbers (`facets.Background.number`), so their lowest bits say where to look first, and nobody can
choose keys that meet. What does not find its row vacant takes the next one that is (linear probing); when something
leaves, those behind it move up, so the table never fills with what is gone.

References
----------
Knuth, D. E. (1998). The Art of Computer Programming 3, 6.4, algorithms L and R.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedback_guard.compiled import compiled

Keys = NDArray[np.uint64]
Slots = NDArray[np.int64]

NOWHERE: Final = -1
"""Place of what is not in the table."""
_LEAST_BITS: Final = 10
_ROW: Final = np.dtype([("key", np.uint64), ("place", np.int32), ("_", np.int32)])
"""A place is stored with 1 added to it, so that 0 says that nothing is here."""


@compiled("int64(uint64[:], int32[:], uint64[:], int64[:])")
def _find(table: Keys, places: NDArray[np.int32], keys: Keys, found: Slots) -> int:
    """Look up keys; says how many are nowhere."""
    last, missing = np.uint64(len(table) - 1), 0
    for i in range(len(keys)):
        at = keys[i] & last
        while places[at] != 0 and table[at] != keys[i]:
            at = (at + np.uint64(1)) & last
        found[i] = places[at] - 1
        if places[at] == 0:
            missing += 1
    return missing


@compiled("int64(uint64[:], int32[:], uint64)")
def _get(table: Keys, places: NDArray[np.int32], key: int) -> np.int64:
    """Look up a key."""
    last = np.uint64(len(table) - 1)
    at = key & last
    while places[at] != 0 and table[at] != key:
        at = (at + np.uint64(1)) & last
    return np.int64(places[at] - 1)


@compiled("int64(uint64[:], int32[:], uint64[:], int64[:], int64[:], int64[:])")
def _place(
    table: Keys, places: NDArray[np.int32], keys: Keys, vacant: Slots, found: Slots, new: Slots
) -> int:  # fmt: skip
    """Look up keys, and put in those that are nowhere; says how many were."""
    last, n_new = np.uint64(len(table) - 1), 0
    for i in range(len(keys)):
        at = keys[i] & last
        while places[at] != 0 and table[at] != keys[i]:
            at = (at + np.uint64(1)) & last
        if places[at] == 0:
            table[at], places[at] = keys[i], vacant[n_new] + 1
            new[n_new] = i
            n_new += 1
        found[i] = places[at] - 1
    return n_new


@compiled("void(uint64[:], int32[:], uint64[:], int64[:])")
def _add(table: Keys, places: NDArray[np.int32], keys: Keys, slots: Slots) -> None:
    """Put in keys that are nowhere."""
    last = np.uint64(len(table) - 1)
    for i in range(len(keys)):
        at = keys[i] & last
        while places[at] != 0:
            at = (at + np.uint64(1)) & last
        table[at], places[at] = keys[i], slots[i] + 1


@compiled("void(uint64[:], int32[:], uint64[:])")
def _drop(table: Keys, places: NDArray[np.int32], keys: Keys) -> None:
    """Take out keys that are there."""
    last = np.uint64(len(table) - 1)
    one = np.uint64(1)
    for i in range(len(keys)):
        at = keys[i] & last
        while table[at] != keys[i] or places[at] == 0:
            at = (at + one) & last
        behind = (at + one) & last
        while places[behind] != 0:
            # It may move up if the vacant place lies between where it is looked for first and where it is.
            first = table[behind] & last
            if ((behind - first) & last) >= ((behind - at) & last):
                table[at], places[at] = table[behind], places[behind]
                at = behind
            behind = (behind + one) & last
        places[at] = 0


class Index:
    """A table that grows with what is in it: at most half of it is taken.

    Examples
    --------
    >>> index = Index()
    >>> found, new = np.empty((2, 2), dtype=np.int64)
    >>> index.place(np.array([11, 12], dtype=np.uint64), np.array([0, 1]), found, new)
    2
    >>> index.drop(np.array([11], dtype=np.uint64))
    >>> index.get(11), index.get(12), len(index)
    (None, 1, 1)
    """

    def __init__(self) -> None:
        self._n = 0
        self._make(_LEAST_BITS)

    def __len__(self) -> int:
        return self._n

    def find(self, keys: Keys) -> tuple[Slots, int]:
        """Where keys are, `NOWHERE` for those that are not there, and how many are not."""
        found = np.empty(len(keys), dtype=np.int64)
        return found, _find(self._keys, self._places, keys, found)

    def get(self, key: int) -> int | None:
        """Where a key is; None if it is not there."""
        found = int(_get(self._keys, self._places, key))
        return None if found == NOWHERE else found

    def place(self, keys: Keys, vacant: Slots, found: Slots, new: Slots) -> int:
        """Look up keys, each once, and put in those that are not there.

        Parameters
        ----------
        vacant
            Places for them, 0 to 2^31 - 2, at least as many as they are.
        found
            Takes where the keys are now.
        new
            Takes which of them were not there.

        Returns
        -------
        int
            How many of them were not.
        """
        self._make_room(len(keys))
        n_new = _place(self._keys, self._places, keys, vacant, found, new)
        self._n += n_new
        return n_new

    def drop(self, keys: Keys) -> None:
        """Take out keys that are there."""
        self._n -= len(keys)
        _drop(self._keys, self._places, keys)

    def items(self) -> tuple[Keys, Slots]:
        """All keys and their places, in no order."""
        at = np.flatnonzero(self._places)
        return self._keys[at], self._places[at].astype(np.int64) - 1

    def _make_room(self, n: int) -> None:
        """See to it that n further keys leave half of the table vacant."""
        needed = 2 * (self._n + n)
        if needed > len(self._keys):
            keys, slots = self.items()
            self._make(needed.bit_length())
            _add(self._keys, self._places, keys, slots)

    def _make(self, bits: int) -> None:
        rows = np.zeros(1 << bits, dtype=_ROW)
        self._keys: Keys = rows["key"]
        self._places: NDArray[np.int32] = rows["place"]
