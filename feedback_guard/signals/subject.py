"""A signal under test, and how states are compared: what the conformance checks share."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import safetensors.numpy

from feedback_guard.contribution import Kind
from feedback_guard.signals import material
from feedback_guard.signals.interface import Condition, Finding, Observation, Signal, State

N_TRUSTED = 400
"""Trusted contributions of each kind in the made-up set."""
N_HONEST = 250
"""Honest contributions of each kind that calibration is checked on."""
N_LIVED = 3_000
"""Contributions that a detector has seen before it is restored: enough to fill windows."""
N_MANY = 20_000
"""Contributions after which the state must have stopped growing."""


class CheckFailedError(AssertionError):
    """A signal does not do what every signal must."""


def demand(holds: bool, message: str) -> None:
    """Raise `CheckFailedError` with the message unless it holds."""
    if not holds:
        raise CheckFailedError(message)


@functools.cache
def _trusted() -> tuple[Observation, ...]:
    return tuple(material.stream(tuple(Kind), N_TRUSTED, seed=1))


@functools.cache
def _honest() -> tuple[Observation, ...]:
    return tuple(material.stream(tuple(Kind), N_HONEST, seed=2))


@dataclass
class Subject:
    """A signal under test, fitted once on made-up trusted contributions of every kind."""

    signal: type[Signal]
    seed: int = 0
    _fitted: list[State] = field(default_factory=list)

    @property
    def trusted(self) -> Sequence[Observation]:
        """The made-up trusted set."""
        return _trusted()

    @property
    def honest(self) -> Sequence[Observation]:
        """Honest contributions that are not in the trusted set."""
        return _honest()

    @property
    def state(self) -> State:
        """The frozen state."""
        if not self._fitted:
            self._fitted.append(self.signal.fit(self.trusted, seed=self.seed))
        return self._fitted[0]

    def fresh(self) -> Signal:
        """A detector that has learnt nothing since the baseline."""
        return self.signal.from_state(self.state)

    def lived(self, n: int = 600) -> Signal:
        """A detector that has seen and learnt some of the stream."""
        signal = self.fresh()
        for observation in material.stream(tuple(Kind), n // len(Kind), seed=3):
            signal.witness(observation)
            signal.learn(observation)
        return signal

    def probes(self) -> Iterator[tuple[str, Observation]]:
        """Honest and hostile contributions, each with a name."""
        for observation in self.honest[:20]:
            yield observation.contribution.id, observation
        yield from material.attacks()


def size_bytes(state: State) -> int:
    """How much a state weighs: its arrays and its values as JSON."""
    return sum(array.nbytes for array in state.arrays.values()) + len(json.dumps(dict(state.values)))


def round_trip(state: State) -> State:
    """A state after it was written as JSON and safetensors and read again."""
    arrays = {name: np.ascontiguousarray(array) for name, array in state.arrays.items()}
    read = safetensors.numpy.load(safetensors.numpy.save(arrays))
    return State(json.loads(json.dumps(dict(state.values), allow_nan=False)), read)


def same_state(one: State, other: State) -> bool:
    """Whether two states are equal, to the last bit."""
    return (
        json.dumps(dict(one.values), sort_keys=True) == json.dumps(dict(other.values), sort_keys=True)
        and one.arrays.keys() == other.arrays.keys()
        and all(
            array.dtype == other.arrays[name].dtype
            and array.shape == other.arrays[name].shape
            and array.tobytes() == other.arrays[name].tobytes()
            for name, array in one.arrays.items()
        )
    )


def is_sound(finding: Finding, signal: type[Signal], what: str) -> None:
    """Demand a finding that keeps to its contract: signed, explained, and with a p-value in (0, 1] or a reason."""
    demand(finding.signal == signal.name, f"{what}: the finding is signed {finding.signal!r}, not {signal.name!r}")
    demand(bool(finding.message.strip()), f"{what}: the message is empty")
    if finding.condition is Condition.SCORED:
        p = finding.p_value
        demand(p is not None and math.isfinite(p) and 0.0 < p <= 1.0, f"{what}: p-value {p} is outside (0, 1]")
    else:
        demand(finding.p_value is None, f"{what}: {finding.condition} and yet a p-value; not scored is not a number")
