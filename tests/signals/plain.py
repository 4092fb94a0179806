"""A small signal that conforms, and one broken in each way that the suite must notice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from feedback_guard.errors import BaselineError, SignalError
from feedback_guard.signals.calibration import Calibration
from feedback_guard.signals.interface import Condition, Finding, Observation, Signal, State


def _distance(observation: Observation, centre: NDArray[np.float64]) -> float:
    rows = observation.vectors.get("input")
    if rows is None or rows.ndim != 2 or rows.shape[0] == 0 or rows.shape[1] != len(centre):
        raise SignalError("the input has no vectors of the right shape")
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    if not np.isfinite(rows).all() or np.any(np.abs(lengths - 1) > 0.01):
        raise SignalError("the input's vectors are not unit vectors")
    return float(np.float32(1.0 - (rows.astype(np.float64) @ centre).min()))


class Plain(Signal):
    """Distance from the centre of the trusted set, and the recent past kept as a window of lengths."""

    name: ClassVar[str] = "plain"
    window: ClassVar[int] = 500
    minimum: ClassVar[int] = 30

    def __init__(self, centre: NDArray[np.float64], ruler: Calibration, recent: list[int]) -> None:
        self.centre, self.ruler, self.recent = centre, ruler, recent

    @classmethod
    def fit(cls, trusted: Sequence[Observation], *, seed: int) -> State:
        if len(trusted) < cls.minimum:
            raise BaselineError(f"{len(trusted)} trusted contributions; {cls.minimum} are needed")
        half = len(trusted) // 2
        centre = np.mean([t.vectors["input"][0] for t in trusted[:half]], axis=0, dtype=np.float64)
        centre = np.asarray(centre / np.linalg.norm(centre), dtype=np.float64)
        scores = Calibration.of([_distance(t, centre) for t in trusted[half:]]).scores
        return State({"recent": []}, {"centre": centre, "scores": scores})

    @classmethod
    def from_state(cls, state: State) -> Self:
        recent = state.values["recent"]
        assert isinstance(recent, list)
        centre, scores = (np.array(state.arrays[name], dtype=np.float64) for name in ("centre", "scores"))
        return cls(centre, Calibration(scores), [int(n) for n in recent])  # type: ignore[arg-type]

    def score(self, observation: Observation) -> Finding:
        p = self.ruler.p_value(_distance(observation, self.centre))
        return Finding(self.name, p, f"farther from the centre than {1 - p:.0%} of the trusted set")

    def learn(self, observation: Observation) -> None:
        self.recent = [*self.recent, len(observation.texts["input"].text)][-self.window :]

    def state(self) -> State:
        return State({"recent": list(self.recent)}, {"centre": self.centre.copy(), "scores": self.ruler.scores.copy()})


class NoNumbers(Plain):
    """Gives a p-value of 0."""

    def score(self, observation: Observation) -> Finding:
        return Finding(self.name, 0.0, super().score(observation).message)


class BlindToNan(Plain):
    """Scores broken vectors as if they were normal."""

    def score(self, observation: Observation) -> Finding:
        try:
            return super().score(observation)
        except SignalError:
            return Finding(self.name, 1.0, "normal")


class FallsOverEmptyText(Plain):
    """Divides by the length of the text."""

    def score(self, observation: Observation) -> Finding:
        1 / len(observation.texts["input"].text)
        return super().score(observation)


class LearnsWhileScoring(Plain):
    """Learns from what it scores."""

    def score(self, observation: Observation) -> Finding:
        self.learn(observation)
        return super().score(observation)


class OrdersFields(Plain):
    """Takes whichever field comes first."""

    def score(self, observation: Observation) -> Finding:
        first = next(iter(observation.vectors.values()))
        return super().score(Observation(observation.contribution, observation.texts, {"input": first}))


class Chatterbox(Plain):
    """Repeats the text to the moderator."""

    def score(self, observation: Observation) -> Finding:
        finding = super().score(observation)
        return Finding(self.name, finding.p_value, f"odd: {observation.contribution.input}")


class Forgetful(Plain):
    """Scores by what it learnt, and leaves it out of the state."""

    def score(self, observation: Observation) -> Finding:
        finding = super().score(observation)
        return Finding(self.name, finding.p_value, f"{finding.message}, {len(self.recent)} learnt")

    def state(self) -> State:
        return State({"recent": []}, super().state().arrays)


class SharesItsList(Plain):
    """Hands out its live memory as a state."""

    def learn(self, observation: Observation) -> None:
        self.recent.append(len(observation.texts["input"].text))
        del self.recent[: -self.window]

    def state(self) -> State:
        return State({"recent": self.recent}, {"centre": self.centre, "scores": self.ruler.scores})  # type: ignore[dict-item]


class KeepsReferences(Plain):
    """Keeps the arrays that it is given."""

    def __init__(self, centre: NDArray[np.float64], ruler: Calibration, recent: list[int]) -> None:
        super().__init__(centre, ruler, recent)
        self.last: NDArray[np.generic] = centre

    def learn(self, observation: Observation) -> None:
        self.last = observation.vectors["input"]

    def state(self) -> State:
        state = super().state()
        return State(state.values, {**state.arrays, "last": self.last})


class CertainFromThree(Plain):
    """Is sure of itself after three examples, whatever they are."""

    minimum = 1

    def score(self, observation: Observation) -> Finding:
        return Finding(self.name, 0.01 if self.ruler.n < 30 else 0.5, "certain")


class CalmWhileWarming(Plain):
    """Calls it a p-value when it has nothing to go by."""

    def score(self, observation: Observation) -> Finding:
        finding = super().score(observation)
        return Finding(self.name, finding.p_value, finding.message, Condition.WARMING)


class MixesUp(Plain):
    """Scored with others, a contribution has the finding of the most distant one."""

    def score_all(self, observations: Sequence[Observation]) -> list[Finding]:
        found = super().score_all(observations)
        return [min(found, key=lambda finding: finding.p_value or 1.0)] * len(found) if found else []


class LearnsFromCompany(Plain):
    """Keeps what it scored with others."""

    def score_all(self, observations: Sequence[Observation]) -> list[Finding]:
        found = super().score_all(observations)
        for observation in observations:
            self.learn(observation)
        return found


class LearnsWhatBecameOfIt(Plain):
    """Keeps a contribution for later by reference, and learns from what has become of it."""

    def later(self, observation: Observation) -> Callable[[], object]:
        taken = len(self.recent)
        return lambda: self.recent.append(len(observation.texts["input"].text) + len(self.recent) - taken)


class LearnsAtOnce(Plain):
    """Does now what it was asked to do later."""

    def later(self, observation: Observation) -> Callable[[], object] | None:
        self.learn(observation)
        return None


class AnotherEachTime(Plain):
    """Draws from a generator that no seed was given to."""

    @classmethod
    def fit(cls, trusted: Sequence[Observation], *, seed: int) -> State:
        state = super().fit(trusted, seed=seed)
        return State(state.values, {**state.arrays, "noise": np.random.default_rng().random(3)})


class HoldsTooMany(Plain):
    """Takes a tenth of its scores for the ruler: the calmest."""

    @classmethod
    def fit(cls, trusted: Sequence[Observation], *, seed: int) -> State:
        state = super().fit(trusted, seed=seed)
        scores = state.arrays["scores"]
        return State(state.values, {**state.arrays, "scores": scores[: len(scores) // 2]})


class Adopts(Plain):
    """Moves its centre towards what it learns: the boiling frog's friend."""

    def learn(self, observation: Observation) -> None:
        moved = 0.98 * self.centre + 0.02 * observation.vectors["input"][0]
        self.centre = moved / np.linalg.norm(moved)


class NeverForgets(Plain):
    """Keeps everything."""

    window = 10**9

    def learn(self, observation: Observation) -> None:
        self.recent.append(len(observation.texts["input"].text))


class KeepsObjects(Plain):
    """Puts a set and an array of objects into its state."""

    def state(self) -> State:
        state = super().state()
        return State(state.values, {**state.arrays, "names": np.asarray(["a", None], dtype=object)})

    @classmethod
    def fit(cls, trusted: Sequence[Observation], *, seed: int) -> State:
        state = super().fit(trusted, seed=seed)
        return State({**state.values, "pair": (1, 2)}, state.arrays)  # type: ignore[dict-item]


BROKEN: Mapping[str, tuple[type[Signal], ...]] = {
    "finite_in_finite_out": (NoNumbers, CalmWhileWarming),
    "broken_vectors_are_refused": (BlindToNan,),
    "odd_texts_are_judged": (FallsOverEmptyText,),
    "score_is_pure": (LearnsWhileScoring,),
    "together_as_alone": (MixesUp, LearnsFromCompany),
    "order_of_fields_is_no_matter": (OrdersFields,),
    "messages_repeat_nothing": (Chatterbox,),
    "restore_equals_original": (Forgetful,),
    "states_are_apart": (SharesItsList,),
    "inputs_are_left_alone": (KeepsReferences,),
    "learning_later_is_learning": (LearnsWhatBecameOfIt, LearnsAtOnce),
    "warm_up_is_stated": (CertainFromThree,),
    "same_seed_same_state": (AnotherEachTime,),
    "honest_are_calibrated": (HoldsTooMany,),
    "slow_poisoning_widens_nothing": (Adopts,),
    "state_is_bounded": (NeverForgets,),
    "state_is_data": (KeepsObjects,),
}
"""For each check, signals that must fail it."""
