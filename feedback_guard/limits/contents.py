"""What a contribution says, as the keys that budgets are charged by: keyed numbers, never a contributed word.

These facets are known only once a contribution was read, so they are charged with the verdict, in its transaction.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from feedback_guard.assessment import NOTHING, Content
from feedback_guard.contribution import Contribution, Kind
from feedback_guard.embedding.interface import Vectors
from feedback_guard.errors import SignalError
from feedback_guard.evidence.facets import Background
from feedback_guard.evidence.kinds.interface import FIELDS
from feedback_guard.evidence.phrases import said
from feedback_guard.policy.limits import LimitPolicy, default_rare
from feedback_guard.signals.interface import Observation

MAX_RARE: Final = 512
"""Most rare phrases of one contribution that are charged. One with more finds no room: to charge some of them only
would leave the others without a bound."""
BUCKETS: Final = 2**22
"""Counters that phrases share. So no flood of made-up words fills the disk; two phrases that meet in one counter use
up one budget, which errs on the safe side."""
_KEPT: Final = 50_000
"""Phrases of which it is kept in how many trusted contributions they stand, until all are forgotten; what one
contribution adds comes on top."""
_KEPT_CHARS: Final = 64
"""Longest phrase that is kept, in code points."""
_ANSWERS: Final[Mapping[Kind, str]] = {
    Kind.RATING: "output",
    Kind.CORRECTION: "output",
    Kind.PREFERENCE: "chosen",
    Kind.DEMONSTRATION: "output",
}
_POINT: Final[Mapping[Kind, str]] = {
    Kind.CORRECTION: "output",
    Kind.PREFERENCE: "chosen",
    Kind.DEMONSTRATION: "output",
}
"""Text that lies somewhere, if not the input: many people vote on one output."""

Families = Callable[[Observation], Sequence[str]]
"""Names the families of near copies that a contribution's texts belong to."""
Reference = Callable[[Kind, str], "Vectors | None"]
"""The vectors of trusted texts, by kind and field, shape (n, d)."""


class Contents:
    """Reads contributions for the budgets of one policy that are about what is said.

    Parameters
    ----------
    limits
        The policy's limits.
    background
        How often phrases stand in the trusted set, and the key that names them.
    families
        Names families of near copies; without it only exact copies are one.
    reference
        Gives the vectors of trusted texts; without it none are known.

    Examples
    --------
    >>> from feedback_guard.evidence.observe import canonical_texts
    >>> item = Contribution("1", 0, "ada", Kind.LABEL, "zorblax is fine", "good")
    >>> observation = Observation(item, canonical_texts(item), {})
    >>> background = Background.fit([observation], seed=0)
    >>> limit = LimitPolicy(name="rare", facet="phrase", measure="count", amount=50, rare=2)
    >>> len(Contents([limit], background).of(observation).keys["rare"])
    3
    """

    def __init__(
        self,
        limits: Iterable[LimitPolicy],
        background: Background,
        families: Families | None = None,
        reference: Reference | None = None,
    ) -> None:
        self._limits = [limit for limit in limits if limit.shared]
        self._background = background
        self._families = families
        self._reference = reference
        self._rare_by_default = default_rare(background.n_trusted)
        self._n_trusted: dict[str, int] = {}

    def of(self, observation: Observation) -> Content:
        """What a contribution says.

        Raises
        ------
        SignalError
            If one of its texts was not read.
        """
        if not self._limits:
            return NOTHING
        keys: dict[str, tuple[str, ...]] = {}
        beyond = set()
        where = trusted = None
        for limit in self._limits:
            if limit.facet == "radius":
                where = _where(observation)
                if self._reference is not None:
                    kind = observation.contribution.kind
                    trusted = self._reference(kind, _POINT.get(kind, "input"))
            elif limit.facet == "family":
                keys[limit.name] = tuple(dict.fromkeys((self._families or self._copies)(observation)))
            elif limit.facet == "target":
                keys[limit.name] = (self._target(observation),)
            else:
                found = self._rare(observation, limit)
                keys[limit.name] = found[:MAX_RARE]
                if len(found) > MAX_RARE:
                    beyond.add(limit.name)
        return Content(keys, frozenset(beyond), where, trusted)

    def _copies(self, observation: Observation) -> list[str]:
        return [
            f"{self._background.number(f'copy {which} {_skeleton(observation, which)}'):016x}"
            for which in FIELDS[observation.contribution.kind]
        ]

    def _rare(self, observation: Observation, limit: LimitPolicy) -> tuple[str, ...]:
        """The counters of its rare phrases. All of its text is looked at: what is skipped would not be bounded."""
        names = set[str]()
        for which in FIELDS[observation.contribution.kind]:
            own = said(_skeleton(observation, which))
            if limit.facet == "phrase":
                names.update([f"{which} {token}" for token in own])
            else:
                names.update([f"{which} {left} {right}" for left, right in itertools.pairwise(own)])
        below = limit.rare if limit.rare is not None else self._rare_by_default
        numbers = {self._background.named(name) % BUCKETS for name in self._below(names, below)}
        return tuple([f"{bucket:06x}" for bucket in sorted(numbers)])

    def _below(self, names: set[str], below: int) -> list[str]:
        """Phrases that stand in fewer trusted contributions. Most come again and again: in how many is kept."""
        kept, found, new = self._n_trusted, list[str](), list[str]()
        for name in names:
            n_trusted = kept.get(name)
            if n_trusted is None:
                new.append(name)
            elif n_trusted < below:
                found.append(name)
        if new:
            numbers = np.fromiter(map(self._background.named, new), dtype=np.uint64, count=len(new))
            if len(kept) >= _KEPT:
                kept.clear()
            for name, n_trusted in zip(new, self._background.count(numbers).tolist(), strict=True):
                if n_trusted < below:
                    found.append(name)
                if len(name) <= _KEPT_CHARS:
                    kept[name] = n_trusted
        return found

    def _target(self, observation: Observation) -> str:
        item = observation.contribution
        if item.kind is Kind.LABEL:
            return f"{self._background.number(f'target label {item.label}'):016x}"
        answer = _skeleton(observation, _ANSWERS[item.kind])
        return f"{self._background.number(f'target {_way(item)} {answer}'):016x}"


def _way(item: Contribution) -> str:
    """Which way an answer is taught. Votes on other scales than 0..1 share a budget rather than escape it."""
    if item.kind is not Kind.RATING:
        return "answer"
    return "up" if (item.rating or 0.0) > 0.5 else "down"


def _where(observation: Observation) -> Vectors:
    """The direction of the mean of the windows of what the contributor wrote or chose, as the store will keep it."""
    which = _POINT.get(observation.contribution.kind, "input")
    windows = observation.vectors.get(which)
    if windows is None or not len(windows):
        raise SignalError(f"{which} has no vectors; it was not embedded")
    mean = windows[0].astype(np.float64) if len(windows) == 1 else windows.mean(axis=0, dtype=np.float64)
    mean /= max(math.sqrt(mean.dot(mean)), 1e-9)
    return np.asarray(mean, dtype=np.float16).astype(np.float32)


def _skeleton(observation: Observation, which: str) -> str:
    canonical = observation.texts.get(which)
    if canonical is None:
        raise SignalError(f"{which} has no canonical text; it was not read")
    return canonical.skeleton
