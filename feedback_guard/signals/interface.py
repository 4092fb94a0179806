"""What a signal is: a detector's finding about one contribution, as a calibrated p-value.

The life of a signal has two parts. `fit` looks once at the trusted set and returns a frozen `State`: data, never
code. An instance is made from that state and scores contributions. Scores run as p-values: a small one means that
few honest contributions look at least this odd. `suspicion` (0..1, higher is more suspicious) is made from them in
`combine.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from feedback_guard.contribution import Contribution
from feedback_guard.embedding.interface import Vectors
from feedback_guard.text.canonical import CanonicalText

Array = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Observation:
    """All that a signal may look at: a contribution with its texts in canonical form and embedded.

    Parameters
    ----------
    contribution
        As it was offered.
    texts
        Canonical form of each running text, by field (`Contribution.texts`).
    vectors
        Unit vectors of each running text, by field: shape (n_windows, d), float32, at least one row.
        Already rounded to half precision, so that live scoring and a rebuild from the store agree.
    """

    contribution: Contribution
    texts: Mapping[str, CanonicalText]
    vectors: Mapping[str, Vectors]


@dataclass(frozen=True, slots=True)
class State:
    """A signal's memory as data: JSON values and arrays, stored as JSON and safetensors."""

    values: Mapping[str, JsonValue] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)


class Condition(StrEnum):
    """Why there is, or is not, a p-value."""

    SCORED = "scored"
    ABSTAINED = "abstained"
    """This signal has nothing to say about such a contribution (another kind, an unknown label)."""
    WARMING = "warming"
    """Not enough has been seen yet. It is not the same as normal."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one signal found in one contribution.

    Parameters
    ----------
    signal
        The signal's name.
    p_value
        In (0, 1]: the share of honest contributions that look at least this odd. None unless scored.
    message
        A sentence for a moderator, with numbers; it never repeats contributed text.
    condition
        Whether it was scored, and if not, why.
    facet
        What the finding shares with other contributions, as `kind:value`, if anything.
    """

    signal: str
    p_value: float | None
    message: str
    condition: Condition = Condition.SCORED
    facet: str | None = None


class Signal(ABC):
    """A detector. One per file; each passes `feedback_guard.signals.checks`.

    `score` is pure: it changes nothing and may be called any number of times. Only the owner of the guard's state
    calls `learn`, one contribution at a time and in the order of the ledger. What `learn` changes can add
    suspicion; it can never lift the threshold that the trusted set gave.
    """

    name: ClassVar[str]
    only_unlike: ClassVar[bool] = False
    """Whether it says no more than that a contribution is unlike the trusted set. Once the whole stream is, by the
    drift alarm, that is no reason to hold one contribution."""

    @classmethod
    @abstractmethod
    def fit(cls, trusted: Sequence[Observation], *, seed: int) -> State:
        """Look once at the trusted set, in its order, and return the frozen state.

        Calibration scores are leave-one-out or cross-fitted, so that p-values are honest for contributions
        that the state has not seen.

        Raises
        ------
        BaselineError
            If the trusted set cannot support this signal; the message says what is missing.
        """

    @classmethod
    @abstractmethod
    def from_state(cls, state: State) -> Self:
        """Make the detector from a frozen state, together with anything learnt since if the state has it."""

    @abstractmethod
    def score(self, observation: Observation) -> Finding:
        """What there is to say about a contribution that has not been learnt."""

    def score_all(self, observations: Sequence[Observation]) -> list[Finding]:
        """What `score` gives for each of several contributions. A detector that is cheaper so overrides it.

        Raises
        ------
        Exception
            Whatever `score` raises for one of them; the caller then asks for each by itself.
        """
        return [self.score(observation) for observation in observations]

    def witness(self, observation: Observation) -> None:  # noqa: B027
        """Note that a contribution arrived, accepted or not. Default: nothing is kept."""

    def learn(self, observation: Observation) -> None:  # noqa: B027
        """Learn from a mature, accepted contribution. Default: the state stays as the trusted set made it."""

    def later(self, observation: Observation) -> Callable[[], object] | None:
        """What an accepted contribution leaves to be done once it is mature: calling it is `learn`; None if nothing.

        It waits with up to a hundred thousand others, so whoever learns from a few numbers keeps those alone.

        Examples
        --------
        >>> from feedback_guard.signals.anomaly import Anomaly
        >>> Anomaly.later is Signal.later, Signal.learn is Anomaly.learn
        (False, False)
        """
        return None if type(self).learn is Signal.learn else partial(self.learn, observation)

    @abstractmethod
    def state(self) -> State:
        """Everything needed for `from_state` to restore an equal detector."""
