"""What is known of a few facets, and which of them a contribution has.

Nearly every contribution has none of them, and has dozens of facets: whether it has any is asked by their numbers
alone, all at once.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Final, TypeVar

from feedback_guard.evidence.facets import SALTS, Facets

T = TypeVar("T")
Facet = tuple[str, int]
"""Kind and key."""
_SALTS: Final = tuple(SALTS.values())


class Known(MutableMapping[Facet, T]):
    """A dictionary by facet.

    Examples
    --------
    >>> import numpy as np
    >>> none = np.zeros(0, np.uint64)
    >>> facets = Facets(((5, "contributor"),), none, ("zq", "the"), ("word", "word"), keys=(7, 8))
    >>> known = Known[str]()
    >>> known["word", 8], known["pair", 7], known["sender", 5] = "common", "another", "who"
    >>> known.of(facets)
    [('sender', 5), ('word', 8)]
    >>> known.pop(("sender", 5)), known.of(facets)
    ('who', [('word', 8)])
    """

    def __init__(self) -> None:
        self._known: dict[Facet, T] = {}
        self._keys: dict[int, int] = {}
        """How many facets have each key: one, unless two kinds meet in one by chance."""

    def __getitem__(self, facet: Facet) -> T:
        return self._known[facet]

    def __setitem__(self, facet: Facet, value: T) -> None:
        if facet not in self._known:
            self._keys[facet[1]] = self._keys.get(facet[1], 0) + 1
        self._known[facet] = value

    def __delitem__(self, facet: Facet) -> None:
        del self._known[facet]
        self._keys[facet[1]] -= 1
        if not self._keys[facet[1]]:
            del self._keys[facet[1]]

    def __contains__(self, facet: object) -> bool:
        return facet in self._known

    def __iter__(self) -> Iterator[Facet]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def of(self, facets: Facets) -> list[Facet]:
        """The facets of a contribution that are known."""
        if not self._known:
            return []
        # A sender that was found lying in one kind of contributions is held in all of them.
        senders = [key ^ salt for key, _ in facets.senders for salt in _SALTS]
        keys = self._keys.keys()
        if keys.isdisjoint(facets.keys) and keys.isdisjoint(senders):
            return []
        own = [("sender", key) for key in senders]
        own += zip((*facets.kinds, *facets.shared.kinds), facets.keys, strict=True)
        return [facet for facet in own if facet in self._known]
