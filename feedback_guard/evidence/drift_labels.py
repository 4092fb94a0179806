"""The part of the drift alarm that looks at what is taught: labels that the trusted set has never seen.

Honest people who teach a new intent may do so with texts that look like any other, so it need not show in embedding
space. How often an honest contribution brings an unknown label is known from the trusted set: it is split by chance,
and counted how many labels of one half the other half does not know. The whole set knows more than its half, so the
upper bound on that share holds for what is unknown to the whole set all the more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self, cast

import numpy as np
from pydantic import JsonValue

from feedback_guard.contribution import Kind
from feedback_guard.errors import BaselineError
from feedback_guard.evidence.e_detector import GROWTHS, Floats, upper_bounds
from feedback_guard.signals.interface import Array, Observation, State

NAME: Final = "label"
"""What this part is called beside the fields of texts."""


@dataclass(frozen=True, slots=True)
class Labels:
    """What is frozen about labels: which are known, and how often an honest contribution brings another one.

    Parameters
    ----------
    known
        Labels of the trusted set.
    shares, bounds
        Share of honest contributions with an unknown label, and an upper confidence bound on it, shape (1,) each.
    """

    known: frozenset[str]
    shares: Floats
    bounds: Floats

    @classmethod
    def fit(cls, trusted: Sequence[Observation], least: int, error: float, rng: np.random.Generator) -> Self | None:
        """Make it from the trusted set; None if it has fewer than `least` labels to look at."""
        labels = [label for each in trusted if (label := label_of(each)) is not None]
        if len(labels) < least:
            return None
        order = rng.permutation(len(labels))
        half = len(labels) // 2
        known = {labels[i] for i in order[:half]}
        others = [labels[i] for i in order[half:]]
        unknown = np.array([sum(label not in known for label in others)], dtype=np.int64)
        return cls(frozenset(labels), unknown / len(others), upper_bounds(unknown, len(others), error))

    @classmethod
    def restore(cls, state: State) -> Self | None:
        """Read what `values` and `arrays` gave; None if the baseline has no such part.

        Raises
        ------
        BaselineError
            If it is there in part.
        """
        known = state.values.get("labels")
        if known is None:
            return None
        try:
            shares, bounds = (
                np.array(state.arrays[f"{NAME}.{part}"], dtype=np.float64) for part in ("shares", "bounds")
            )
        except KeyError as error:
            raise BaselineError(f"the state of the drift alarm lacks {error}; build the baseline again") from None
        return cls(frozenset(cast("list[str]", known)), shares, bounds)

    @property
    def n_far(self) -> int:
        """As for `Reference`: how many events come first that are shown as one."""
        return 1

    def weights(self) -> Floats:
        """The whole stake on the one event, shape (1, len(GROWTHS))."""
        return np.full((1, len(GROWTHS)), 1.0 / len(GROWTHS))

    def values(self) -> dict[str, JsonValue]:
        """What of it is no array."""
        return {"labels": cast("JsonValue", sorted(self.known))}

    def arrays(self, name: str) -> dict[str, Array]:
        """Copies of the arrays."""
        return {f"{name}.shares": self.shares.copy(), f"{name}.bounds": self.bounds.copy()}

    def name_of(self, _: int) -> str:
        """The event in words; the label itself is a user's word, and stands nowhere."""
        return "one that the trusted set has never seen"

    def happened(self, observation: Observation) -> np.ndarray[tuple[int], np.dtype[np.bool_]] | None:
        """Whether a contribution brings an unknown label, shape (1,); None if it teaches no label."""
        label = label_of(observation)
        return None if label is None else np.array([label not in self.known])


def label_of(observation: Observation) -> str | None:
    """The label that a contribution teaches; None if it teaches something else."""
    item = observation.contribution
    return item.label if item.kind is Kind.LABEL else None
