"""What is known of a few facets, and which of them a contribution has.

Nearly every contribution has none of them, and has dozens of facets: whether it has any is asked of all at once, and of
the phrases themselves where those are known, so that their numbers need not be found.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, MutableMapping
from typing import Final, TypeVar

from feedback_guard.evidence.facets import SALTS
from feedback_guard.evidence.phrases import PHRASES
from feedback_guard.evidence.reading import Reading
from feedback_guard.evidence.tally import Facet
from feedback_guard.evidence.telling import MAX_PHRASE_CHARS

T = TypeVar("T")
C = TypeVar("C", bound=Hashable)
_SALTS: Final = tuple(SALTS.values())
_ANY: Final = ""
"""In place of a phrase that is not known."""


class Known(MutableMapping[Facet, T]):
    """A dictionary by facet.

    Examples
    --------
    >>> known = Known[str]()
    >>> known["sender", 5] = "who"
    >>> known.put(("word", 8), "what", phrase="zq")
    >>> list(known), known.pop(("word", 8)), list(known)
    ([('sender', 5), ('word', 8)], 'what', [('sender', 5)])
    """

    def __init__(self) -> None:
        self._known: dict[Facet, T] = {}
        self._keys: dict[int, int] = {}
        """How many facets have each number: one, unless two kinds meet in it by chance."""
        self._phrases: dict[Facet, str] = {}
        self._n_of: dict[str, int] = {}
        """How many phrases are known that read so: the same in two texts, or in two kinds of contributions, are two."""

    def __getitem__(self, facet: Facet) -> T:
        return self._known[facet]

    def __setitem__(self, facet: Facet, value: T) -> None:
        self.put(facet, value)

    def put(self, facet: Facet, value: T, phrase: str = _ANY) -> None:
        """Know something of a facet.

        Parameters
        ----------
        phrase
            What the facet stands for, if it is a phrase and that is known; it may be cut to `MAX_PHRASE_CHARS`.
        """
        self.pop(facet, None)
        self._known[facet] = value
        _add(self._keys, facet[1])
        if facet[0] in PHRASES:
            self._phrases[facet] = phrase if len(phrase) < MAX_PHRASE_CHARS else _ANY
            _add(self._n_of, self._phrases[facet])

    def __delitem__(self, facet: Facet) -> None:
        del self._known[facet]
        _take(self._keys, facet[1])
        if facet in self._phrases:
            _take(self._n_of, self._phrases.pop(facet))

    def __contains__(self, facet: object) -> bool:
        return facet in self._known

    def __iter__(self) -> Iterator[Facet]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def of(self, reading: Reading) -> list[Facet]:
        """The facets of a contribution that are known."""
        known = self._known
        if not known:
            return []
        # A sender that was found lying in one kind of contributions is held in all of them.
        own = [("sender", key ^ salt) for key, _ in reading.senders for salt in _SALTS]
        own += self._may_be_phrases(reading)
        own += zip(reading.shared.kinds, reading.shared.keys.tolist(), strict=True)
        return [facet for facet in own if facet in known]

    def _may_be_phrases(self, reading: Reading) -> Iterable[Facet]:
        """The phrases of a contribution, or none where none of them can be known."""
        names = self._n_of.keys()
        if not names:
            return ()
        if not reading.is_numbered and _ANY not in names:
            said = (phrases for _, texts in reading.phrases for _, phrases in texts)
            if all(names.isdisjoint(phrases) for phrases in said):
                return ()
        facets = reading.facets
        keys = facets.phrases.tolist()
        return () if self._keys.keys().isdisjoint(keys) else zip(facets.kinds, keys, strict=True)


def _add(counts: dict[C, int], what: C) -> None:
    counts[what] = counts.get(what, 0) + 1


def _take(counts: dict[C, int], what: C) -> None:
    counts[what] -= 1
    if not counts[what]:
        del counts[what]
