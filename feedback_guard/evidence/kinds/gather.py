"""The facets of further kinds that a contribution has, as numbers, and the kinds as part of a baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from feedback_guard.errors import BaselineError
from feedback_guard.evidence.kinds.interface import MAX_SHARED, FacetKind
from feedback_guard.evidence.kinds.registry import facet_kinds
from feedback_guard.evidence.places import NOWHERE
from feedback_guard.signals.interface import Array, Observation, State

KINDS: Final = "kinds"
"""What the kinds are called by in a baseline."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """The facets of one contribution that are neither senders nor phrases.

    Parameters
    ----------
    keys
        Keyed numbers, each once.
    n_trusted
        Trusted contributions that have each.
    kinds, words
        The kind of each, and what a moderator reads.
    place
        Where the contribution lies, as a keyed number; `places.NOWHERE` if no kind says so.
    """

    keys: NDArray[np.uint64]
    n_trusted: NDArray[np.int64]
    kinds: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    place: int = NOWHERE


NOTHING: Final = Gathered(np.zeros(0, np.uint64), np.zeros(0, np.int64))


class Kinds:
    """The kinds of facets that a baseline was built with.

    Parameters
    ----------
    kinds
        By name, in a fixed order.
    """

    def __init__(self, kinds: Mapping[str, FacetKind] | None = None) -> None:
        self._kinds = dict(kinds or {})
        self.names = tuple(self._kinds)
        self.alike = {name: kind.alike for name, kind in self._kinds.items()}
        """How alike members of each kind are, 0..1."""
        self.by_rarity = frozenset(name for name, kind in self._kinds.items() if kind.by_rarity)
        """Kinds whose facets are the likelier to be planted the rarer they are."""
        self.learnt = frozenset(name for name, kind in self._kinds.items() if kind.learnt)
        """Kinds that the learner that follows the stream learns."""

    def kind(self, name: str) -> FacetKind:
        """One of them."""
        return self._kinds[name]

    def of(self, observation: Observation, number: Callable[[str], int]) -> Gathered:
        """The facets of a contribution; `number` names them."""
        found: dict[int, tuple[int, str, str]] = {}
        place = NOWHERE
        for name, kind in self._kinds.items():
            own = kind.of(observation)[:MAX_SHARED]
            for each in own:
                found[number(f"shared {name} {each.value}")] = each.n_trusted, name, each.words
            narrowest = kind.place(own)
            if narrowest is not None:
                place = number(f"shared {name} {narrowest.value}")
        if not found:
            return NOTHING
        n_trusted, kinds, words = zip(*found.values(), strict=True)
        keys = np.array(list(found), dtype=np.uint64)
        return Gathered(keys, np.array(n_trusted, dtype=np.int64), kinds, words, place)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Make the kinds of a baseline; none from one that has none.

        Raises
        ------
        BaselineError
            If one of them is not installed.
        """
        own = cast("Mapping[str, Mapping[str, JsonValue]]", state.values.get(KINDS, {}))
        kinds: dict[str, FacetKind] = {}
        for name, values in own.items():
            kind = facet_kinds().get(name)
            if kind is None:
                raise BaselineError(
                    f"the baseline was built with the kind of facet {name!r}, which is not installed here; install the "
                    "package that offers it, or build the baseline again"
                )
            prefix = f"{KINDS}.{name}."
            arrays = {key.removeprefix(prefix): each for key, each in state.arrays.items() if key.startswith(prefix)}
            kinds[name] = kind.from_state(State(values, arrays))
        return cls(dict(sorted(kinds.items())))


def fit_kinds(trusted: Sequence[Observation], *, seed: int) -> State:
    """Fit every kind that is installed, as part of the state of the evidence."""
    values: dict[str, JsonValue] = {}
    arrays: dict[str, Array] = {}
    for name, kind in sorted(facet_kinds().items()):
        state = kind.fit(trusted, seed=seed)
        values[name] = dict(state.values)
        arrays |= {f"{KINDS}.{name}.{key}": array for key, array in state.arrays.items()}
    return State({KINDS: values}, arrays)
