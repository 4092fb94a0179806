"""The output that contributions speak of: many votes on one answer, many answers that one answer is replaced by.

Named by the application's identifier of the served output, where it sends one, and by the output itself. Whether an
answer is good is one question however many people are asked, so what they say of it is hardly independent, and all
their votes together count for no more than two. That many people find an answer bad which the trusted set finds good is
no evidence of a campaign by itself; how often one output may be voted on is a matter for the budget `target`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import ClassVar, Final, Self

import numpy as np

from feedback_guard.contribution import Kind
from feedback_guard.errors import BaselineError
from feedback_guard.evidence.kinds.interface import FacetKind, Shared
from feedback_guard.signals.interface import Observation, State

MAX_KNOWN: Final = 200_000
"""Most outputs of the trusted set that are remembered, those that are spoken of most."""
_SERVED: Final = {Kind.RATING: ("output",), Kind.PREFERENCE: ("chosen", "rejected")}
"""Texts that the model wrote. Of a correction it is `rejected`, which is in no canonical form."""


class Served(FacetKind):
    """The served outputs that a contribution speaks of."""

    name: ClassVar[str] = "served"
    noun: ClassVar[str] = "a served output"
    alike: ClassVar[float] = 1.0

    def __init__(self, known: dict[int, int]) -> None:
        self._known = known

    @classmethod
    def fit(cls, trusted: Sequence[Observation], *, seed: int) -> State:  # noqa: ARG003 - the same for all kinds
        """Count the outputs that trusted contributions speak of."""
        found = Counter(_number(value) for each in trusted for value in _outputs(each))
        kept = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:MAX_KNOWN]
        return State(
            {},
            {
                "outputs": np.array([number for number, _ in kept], dtype=np.uint64),
                "counts": np.array([n for _, n in kept], dtype=np.int64),
            },
        )

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Read what `fit` returned."""
        try:
            outputs, counts = state.arrays["outputs"], state.arrays["counts"]
        except KeyError as error:
            raise BaselineError(f"the served outputs lack {error}; build the baseline again") from None
        return cls(dict(zip(outputs.tolist(), counts.tolist(), strict=True)))

    def of(self, observation: Observation) -> Sequence[Shared]:
        """Each output once."""
        return [Shared(value, self._known.get(_number(value), 0)) for value in dict.fromkeys(_outputs(observation))]


def _outputs(observation: Observation) -> Iterator[str]:
    item = observation.contribution
    if item.interaction is not None:
        yield f"interaction {item.interaction}"
    for field in _SERVED.get(item.kind, ()):
        if field in observation.texts:
            yield f"{field} {observation.texts[field].skeleton}"
    if item.kind is Kind.CORRECTION and item.rejected is not None:
        yield f"rejected {item.rejected.casefold()}"


def _number(value: str) -> int:
    return int.from_bytes(blake2b(value.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
