"""What several contributions can share, as numbers: who sent them, and the phrases in them.

A facet is named by a keyed 64-bit number, so that nobody without the key can make two facets collide or choose which
of a long text's phrases are looked at, and so that no contributed word is stored.
"""

from __future__ import annotations

import hashlib
import heapq
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from feedback_guard.contribution import ANONYMOUS, Contribution, Kind
from feedback_guard.errors import BaselineError
from feedback_guard.evidence.kinds.gather import NOTHING, Gathered
from feedback_guard.evidence.kinds.interface import FIELDS
from feedback_guard.evidence.phrases import clauses_of, pairs_of, shapes_of, words_of
from feedback_guard.signals.interface import Observation, State
from feedback_guard.text.words import tokens

Keys = NDArray[np.uint64]

MAX_PHRASES: Final = 256
"""Most phrases of one contribution and kind; of more, those with the smallest keys, which nobody can choose."""
MAX_CLAUSES: Final = 16
"""Most ways to begin clauses of one contribution, chosen likewise."""
_MOST_REMEMBERED: Final = 200_000
_MOST_CHARS: Final = 200
"""Length up to which phrases are remembered with their numbers: users make up words as long as they like."""
MAX_BACKGROUND: Final = 1_000_000
"""Most phrases of the trusted set that are remembered, the most frequent ones."""
COMMON: Final = 0.02
"""Share of trusted contributions from which a word in them is common."""
MAX_COMMON: Final = 200
"""Most common words."""


Phrases = list[tuple[str, list[tuple[str, set[str]]]]]
"""Phrases of a contribution: kind of phrase, field, and those of this kind in this text."""

SALTS: Final[Mapping[Kind, int]] = {
    kind: 0 if kind is Kind.LABEL else int.from_bytes(hashlib.blake2b(kind.encode(), digest_size=8).digest(), "big")
    for kind in Kind
}
"""What keys are turned by, so that a word in labels and the same word in votes are two facets of evidence: the classes
that they teach have nothing to do with each other."""


def of_kind(keys: Keys, kind: Kind) -> Keys:
    """Keys as facets of contributions of one kind."""
    return keys ^ np.uint64(SALTS[kind]) if SALTS[kind] else keys


@dataclass(frozen=True, slots=True)
class Facets:
    """The facets of one contribution.

    Parameters
    ----------
    senders
        Keys of the contributor and of each group, with their kind.
    phrases
        Keys of its phrases, each once; ascending, until evidence turns them by `of_kind`.
    words
        The phrases themselves, in the order of the keys: for a moderator's eyes, never stored.
    kinds
        `word`, `pair` or `shape`, in the order of the keys.
    shared
        Its facets of further kinds (`evidence.kinds`).
    n_trusted
        In how many trusted contributions each phrase stands.
    """

    senders: tuple[tuple[int, str], ...]
    phrases: Keys
    words: tuple[str, ...]
    kinds: tuple[str, ...]
    shared: Gathered = NOTHING
    n_trusted: NDArray[np.int64] = field(default_factory=lambda: NOTHING.n_trusted)


class Clauses(NamedTuple):
    """How a contribution begins its clauses (`phrases.clauses_of`).

    Parameters
    ----------
    keys
        Of the ways, each once, ascending.
    words
        Themselves, in the order of the keys: for a moderator's eyes, never stored.
    n_trusted
        In how many trusted contributions each stands.
    """

    keys: Keys
    words: tuple[str, ...]
    n_trusted: NDArray[np.int64]


@dataclass(frozen=True)
class Background:
    """How often each phrase stands in the trusted set, and the key that names facets.

    Parameters
    ----------
    key
        Secret.
    phrases, counts
        Keys of phrases, ascending, and in how many trusted contributions each stands.
    n_trusted
        How many trusted contributions there were.
    common
        The commonest words and signs of the trusted set.
    """

    key: bytes
    phrases: Keys
    counts: NDArray[np.int64]
    n_trusted: int
    common: frozenset[str] = frozenset()
    _memo: dict[str, int] = field(default_factory=dict, compare=False, repr=False)
    _phrases: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict, compare=False, repr=False)
    """Of phrases that came before, by field: number, and in how many trusted contributions each stands."""

    @classmethod
    def fit(cls, trusted: Sequence[Observation], *, seed: int) -> Self:
        """Count the phrases of the trusted set."""
        # The trusted set is not public, so neither is a key that is made from it; nor does a rebuild change it.
        told = repr((seed, [sorted(each.contribution.texts.items()) for each in trusted]))
        key = hashlib.blake2b(told.encode("utf-8", "surrogatepass"), digest_size=32, person=b"facets").digest()
        words: Counter[str] = Counter()
        for each in trusted:
            words.update({token for text in each.texts.values() for token in tokens(text.skeleton)})
        often = [word for word, n in words.most_common(MAX_COMMON) if n >= COMMON * len(trusted)]
        common = frozenset(often)
        empty = cls(key, np.zeros(0, np.uint64), np.zeros(0, np.int64), len(trusted), common)
        found: Counter[int] = Counter()
        for each in trusted:
            found.update(empty.of(each).phrases.tolist())
            found.update(empty.clauses(each).keys.tolist())
        kept = dict(sorted(found.items(), key=lambda item: (-item[1], item[0]))[:MAX_BACKGROUND])
        names = np.array(sorted(kept), dtype=np.uint64)
        return cls(key, names, np.array([kept[int(name)] for name in names], dtype=np.int64), len(trusted), common)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Read what `state` wrote.

        Raises
        ------
        BaselineError
            If a part is missing.
        """
        try:
            return cls(
                bytes.fromhex(str(state.values["key"])),
                state.arrays["phrases"].astype(np.uint64),
                state.arrays["counts"].astype(np.int64),
                int(str(state.values["n_trusted"])),
                frozenset(cast("list[str]", state.values["common"])),
            )
        except KeyError as error:
            raise BaselineError(f"the state of the evidence lacks {error}; build the baseline again") from None

    def state(self) -> State:
        """Everything, as data; no words of the trusted set are in it but the commonest."""
        return State(
            {"key": self.key.hex(), "n_trusted": self.n_trusted, "common": cast("JsonValue", sorted(self.common))},
            {"phrases": self.phrases, "counts": self.counts},
        )

    def count(self, phrases: Keys) -> NDArray[np.int64]:
        """In how many trusted contributions each phrase stands."""
        if not len(self.phrases):
            return np.zeros(len(phrases), dtype=np.int64)
        at = self.phrases.searchsorted(phrases)
        np.minimum(at, len(self.phrases) - 1, out=at)
        return np.where(self.phrases[at] == phrases, self.counts[at], 0)

    def phrases_of(self, observation: Observation) -> Phrases:
        """All phrases of a contribution, without their numbers: of each kind, of each text."""
        texts = observation.texts
        read_of = [(name, texts[name].skeleton) for name in FIELDS[observation.contribution.kind] if name in texts]
        return [
            (kind, [(name, read(text)) for name, text in read_of])
            for kind, read in (("word", words_of), ("pair", pairs_of), ("shape", self._shapes_of))
        ]

    def clauses(self, observation: Observation) -> Clauses:
        """How a contribution begins its clauses."""
        texts, found = observation.texts, dict[int, tuple[str, int]]()
        for name in FIELDS[observation.contribution.kind]:
            if name in texts:
                memo = self._phrases.setdefault(name, {})
                for phrase in clauses_of(texts[name].skeleton):
                    number, n_trusted = memo.get(phrase) or self._look_up(name, phrase, memo)
                    found[number] = phrase, n_trusted
        keys = heapq.nsmallest(MAX_CLAUSES, found)
        n_trusted_of = np.array([found[key][1] for key in keys], dtype=np.int64)
        return Clauses(np.array(keys, dtype=np.uint64), tuple(found[key][0] for key in keys), n_trusted_of)

    def of(
        self,
        observation: Observation,
        phrases_of: Phrases | None = None,
        senders_of: tuple[tuple[int, str], ...] | None = None,
    ) -> Facets:
        """The facets of a contribution.

        Parameters
        ----------
        phrases_of, senders_of
            What the functions of these names said of it, where they were asked before.
        """
        named: dict[int, tuple[str, str, int]] = {}
        for kind, texts in self.phrases_of(observation) if phrases_of is None else phrases_of:
            own: dict[int, tuple[str, str, int]] = {}
            for name, phrases in texts:
                memo = self._phrases.get(name)
                if memo is None:
                    memo = self._phrases[name] = {}
                for phrase in phrases:
                    number, n_trusted = memo.get(phrase) or self._look_up(name, phrase, memo)
                    own[number] = phrase, kind, n_trusted
            if len(own) > MAX_PHRASES:
                own = {key: own[key] for key in heapq.nsmallest(MAX_PHRASES, own)}
            named.update(own)
        keys = sorted(named)
        senders = self.senders_of(observation.contribution) if senders_of is None else senders_of
        words, kinds, counts = zip(*[named[key] for key in keys], strict=True) if keys else ((), (), ())
        n_trusted_of = np.array(counts, dtype=np.int64)
        return Facets(senders, np.array(keys, dtype=np.uint64), words, kinds, n_trusted=n_trusted_of)

    def _look_up(self, name: str, phrase: str, memo: dict[str, tuple[int, int]]) -> tuple[int, int]:
        """Number of a phrase in a text, and in how many trusted contributions it stands; remembered."""
        number = self.number(f"{name} {phrase}")
        at = bisect_left(self.phrases.data, number)  # of one number, quicker than by numpy
        known = at < len(self.phrases) and int(self.phrases[at]) == number
        found = number, int(self.counts[at]) if known else 0
        if len(phrase) <= _MOST_CHARS:
            if len(memo) >= _MOST_REMEMBERED:
                memo.clear()
            memo[phrase] = found
        return found

    def senders_of(self, contribution: Contribution) -> tuple[tuple[int, str], ...]:
        """Keys of the contributor and of each group, with their kind."""
        return tuple((self.number(f"{kind} {value}"), kind) for kind, value in _senders(contribution))

    def _shapes_of(self, text: str) -> set[str]:
        return shapes_of(text, self.common)

    def number(self, name: str) -> int:
        """A keyed number of 64 bits in place of a name."""
        data = name.encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.blake2b(data, key=self.key, digest_size=8).digest(), "big")

    def named(self, name: str) -> int:
        """`number`, remembered: for what comes again and again."""
        found = self._memo.get(name)
        if found is None:
            found = self.number(name)
            if len(name) <= _MOST_CHARS:
                if len(self._memo) >= _MOST_REMEMBERED:
                    self._memo.clear()
                self._memo[name] = found
        return found


def _senders(contribution: Contribution) -> Iterable[tuple[str, str]]:
    if contribution.contributor != ANONYMOUS:
        yield "contributor", contribution.contributor
    for name, value in sorted(contribution.groups.items()):
        yield f"group:{name}", value
