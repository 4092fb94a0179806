"""Something is hidden in the text, or it is made to be read differently by people and by machines.

What was found while the text was brought into canonical form (`text.obfuscation.Traces`) is drawn together into one
number: for each sort of trace a part that grows with its count and with its density in the text, and levels off.
Sorts that ordinary writing never needs weigh more. The number of a contribution is that of its worst text; against
the same number of trusted contributions it becomes a conformal p-value.

Nearly all honest contributions have no trace at all and a p-value of 1. Where hidden characters are usual, as with
texts pasted from a web page, the trusted set shows it, and they cost nothing.

A kind with `OWN_RULER` trusted contributions or more is compared with its own; the others are compared with each
other together, since a small set of each would make every p-value coarse. Their rate of false alarms holds for the
mixture of kinds that the trusted set has.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np

from feedback_guard.errors import BaselineError, SignalError
from feedback_guard.signals.calibration import Calibration, Mondrian
from feedback_guard.signals.interface import Array, Condition, Finding, Observation, Signal, State
from feedback_guard.text.obfuscation import Traces

OWN_RULER = 1_000
"""Trusted contributions of a kind from which it has a ruler of its own: enough for p-values of 0.001."""

SORTS: tuple[tuple[str, float, float, str, str], ...] = (
    ("tags", 1.0, 4.0, "{} invisible tag character", "{} invisible tag characters"),
    ("bidi", 0.9, 2.0, "{} control that changes the order of reading", "{} controls that change the order of reading"),
    ("zero_width", 0.7, 3.0, "{} invisible character", "{} invisible characters"),
    ("variation_selectors", 0.7, 4.0, "{} selector that selects nothing", "{} selectors that select nothing"),
    ("mixed_script_words", 0.6, 2.0, "{} word with look-alike letters", "{} words with look-alike letters"),
    ("mark_excess", 0.5, 8.0, "{} accent too many", "{} accents too many"),
    ("encoded_chars", 0.4, 48.0, "{} character of encoded text", "{} characters of encoded text"),
)
"""Each sort of trace: its field, its weight, the count at which half of the weight is reached, and its words."""
_COUNTS = operator.attrgetter(*(name for name, *_ in SORTS))
_DENSITY = 200
"""Characters in which the same count gives the same part for density as for number."""


def severity(traces: Traces) -> float:
    """How much is hidden in one text: 0 for nothing, below 5, and never smaller for more of any sort.

    Examples
    --------
    >>> severity(Traces(n_chars=40))
    0.0
    >>> severity(Traces(zero_width=1, n_chars=40)) < severity(Traces(zero_width=12, n_chars=40)) < 0.7
    True
    """
    counts, total = _COUNTS(traces), 0.0
    if not any(counts):
        return total
    for count, (_, weight, half, *_) in zip(counts, SORTS, strict=True):
        if count > 0:
            density = count * _DENSITY / max(traces.n_chars, 1)
            total += weight * (_levelled(count / half) + _levelled(density / half)) / 2.0
    return total


def _levelled(amount: float) -> float:
    return amount / (1.0 + amount)


class Obfuscation(Signal):
    """Something is hidden in the text.

    Made by `from_state`; see the module for the idea.
    """

    name: ClassVar[str] = "obfuscation"

    def __init__(self, state: State) -> None:
        rulers = {name: Calibration(np.array(array, dtype=np.float64)) for name, array in state.arrays.items()}
        if not rulers:
            raise BaselineError("the state of obfuscation holds no scores; build the baseline again")
        rest = rulers.pop("rest", None)
        self._rulers = Mondrian(rest, rulers)

    @classmethod
    def fit(cls, trusted: Sequence[Observation], *, seed: int) -> State:  # noqa: ARG003 - nothing is drawn at random
        """Note how much is hidden in each trusted contribution."""
        if not trusted:
            raise BaselineError("obfuscation needs trusted contributions to compare with; the trusted set has none")
        scores = [_score(observation) for observation in trusted]
        kinds = [observation.contribution.kind.value for observation in trusted]
        rulers = Mondrian.of(scores, kinds, minimum=OWN_RULER)
        arrays: dict[str, Array] = {name: ruler.scores for name, ruler in rulers.by_class.items()}
        if rulers.rest is not None:
            arrays["rest"] = rulers.rest.scores
        return State({}, arrays)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Restore the detector."""
        return cls(state)

    def score(self, observation: Observation) -> Finding:
        """Say what is hidden, and how often as much is hidden in trusted contributions."""
        kind = observation.contribution.kind
        if self._rulers.rest is None and kind.value not in self._rulers.by_class:
            what = f"the trusted set has no {kind.value} to compare with"
            return Finding(self.name, None, what, Condition.ABSTAINED)
        score = _score(observation)
        p_value = self._rulers.p_value(score, kind.value)
        if score <= 0.0:
            return Finding(self.name, p_value, "nothing is hidden in the text")
        ruler = self._rulers.of_class(kind.value)
        as_odd = round(p_value * (ruler.n + 1)) - 1
        message = f"{_in_words(observation)}; {as_odd} of {ruler.n} trusted contributions hide as much"
        return Finding(self.name, p_value, message)

    def state(self) -> State:
        """The frozen scores of the trusted set."""
        arrays: dict[str, Array] = {name: ruler.scores.copy() for name, ruler in self._rulers.by_class.items()}
        if self._rulers.rest is not None:
            arrays["rest"] = self._rulers.rest.scores.copy()
        return State({}, arrays)


def _score(observation: Observation) -> float:
    missing = [name for name in observation.contribution.texts if name not in observation.texts]
    if missing:
        raise SignalError(f"{missing[0]} has no canonical text; it was not read")
    return max(severity(canonical.traces) for canonical in observation.texts.values())


def _in_words(observation: Observation) -> str:
    """What was found, summed over the texts, heaviest first."""
    parts = []
    for name, weight, half, one, many in SORTS:
        count = sum(getattr(canonical.traces, name) for canonical in observation.texts.values())
        if count:
            parts.append((weight * _levelled(count / half), (one if count == 1 else many).format(f"{count:,}")))
    words = [part for _, part in sorted(parts, key=lambda part: -part[0])]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
