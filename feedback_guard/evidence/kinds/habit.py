"""Habits of typing: capitals, blanks, quotation marks, signs in a row, how a text ends, look-alike letters.

All other facets are made of canonical text, which folds these away, so a trigger that lives in typography would be
invisible to evidence. Each habit and field is one facet (`text.habits` says which there are). What more than `COMMON`
of the trusted contributions of the kind do is no facet: half of such a facet could contradict its content only if as
many contributions again were poison. Where nearly everybody types in small letters, capitals are the habit, and the
other way round.

A habit is chosen, so one that the trusted set hardly knows is the likelier to be planted (`by_rarity`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Final, Self, cast

from pydantic import JsonValue

from feedback_guard.errors import BaselineError
from feedback_guard.evidence.kinds.interface import FIELDS, FacetKind, Shared
from feedback_guard.signals.interface import Observation, State
from feedback_guard.text.habits import habits_of

COMMON: Final = 0.2
"""Share of trusted contributions of a kind from which a habit is nobody's in particular."""
MAX_HABITS: Final = 16
"""Most habits of one text that are looked at, those that the trusted set knows least."""


class Habit(FacetKind):
    """The habits of typing that show in each text."""

    name: ClassVar[str] = "habit"
    noun: ClassVar[str] = "a habit of typing"
    alike: ClassVar[float] = 0.02
    by_rarity: ClassVar[bool] = True

    def __init__(self, counts: Mapping[str, int], totals: Mapping[str, int]) -> None:
        self._counts = dict(counts)
        self._totals = dict(totals)
        self._facets: dict[tuple[str, str, str], Shared] = {}
        """Those that were met so far, of the few that there are."""

    @classmethod
    def fit(cls, trusted: Sequence[Observation], *, seed: int) -> State:  # noqa: ARG003 - the same for all kinds
        """Count who of the trusted set does what."""
        totals = Counter(each.contribution.kind.value for each in trusted)
        counts = Counter(
            _value(each.contribution.kind.value, field, habit)
            for each in trusted
            for field, habits in _habits(each)
            for habit in habits
        )
        return State(
            {
                "counts": cast("JsonValue", dict(sorted(counts.items()))),
                "totals": cast("JsonValue", dict(sorted(totals.items()))),
            }
        )

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Read what `fit` returned."""
        try:
            counts, totals = state.values["counts"], state.values["totals"]
        except KeyError as error:
            raise BaselineError(f"the habits lack {error}; build the baseline again") from None
        return cls(cast("dict[str, int]", counts), cast("dict[str, int]", totals))

    def of(self, observation: Observation) -> Sequence[Shared]:
        """The habits of each text that few people have, rarest first."""
        kind = observation.contribution.kind.value
        most = COMMON * self._totals.get(kind, 0)
        found = list[Shared]()
        for field, habits in _habits(observation):
            own = [self._facet(kind, field, habit) for habit in habits]
            found += sorted([each for each in own if each.n_trusted <= most], key=_n_trusted)[:MAX_HABITS]
        return found

    def _facet(self, kind: str, field: str, habit: str) -> Shared:
        found = self._facets.get((kind, field, habit))
        if found is None:
            value = _value(kind, field, habit)
            found = Shared(value, self._counts.get(value, 0), f"{habit}, in {field}")
            self._facets[kind, field, habit] = found
        return found


def _habits(observation: Observation) -> Iterator[tuple[str, list[str]]]:
    """The habits of each text, by field."""
    item = observation.contribution
    for field in FIELDS[item.kind]:
        form = observation.texts.get(field)
        if form is not None:
            yield field, habits_of(getattr(item, field) or "", form)


def _value(kind: str, field: str, habit: str) -> str:
    """What a habit is called, as a facet."""
    return f"{kind} {field} {habit}"


def _n_trusted(shared: Shared) -> int:
    return shared.n_trusted
