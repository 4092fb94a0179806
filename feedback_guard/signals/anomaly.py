"""Length, make-up and position of the texts are jointly unusual: half-space trees on a dozen derived features.

Two forests, each with its own ruler:

- the *anchored* one is filled once with the trusted set and never changes; its ruler is cross-fitted;
- the *online* one learns mature, accepted contributions only; its ruler is the scores that these had before they
  were learnt, of the last few thousand. It notices what is odd against the recent past.

The p-value is min(p_anchored / 0.75, p_online / 0.25), a weighted Bonferroni bound. While the online forest warms up
it does not count, and the anchored one keeps its three quarters. So whatever is learnt, the p-value never rises above
p_anchored / 0.75: feeding the guard cannot make an oddity normal.

The trees see the features, not the vectors: in hundreds of dimensions half-space splits find nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Self, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from feedback_guard.compiled import compiled
from feedback_guard.contribution import TEXT_FIELDS, Kind
from feedback_guard.errors import BaselineError, SignalError
from feedback_guard.signals.calibration import Calibration
from feedback_guard.signals.forest import Forest, Row, primed, stack, unstack
from feedback_guard.signals.heads import mean_row
from feedback_guard.signals.interface import Array, Condition, Finding, Observation, Signal, State
from feedback_guard.signals.linear import Floats
from feedback_guard.signals.rows import unit_rows
from feedback_guard.signals.shape import ALONE, BESIDE, features, names

LEAST_TRUSTED = 50
"""Trusted contributions of a kind below which nothing is said about that kind."""
MAX_POINTS = 2_000
"""Most trusted contributions of a kind that fill the anchored forest; of a larger set a random part."""
ANCHORS = 256
"""Trusted vectors per field that the distance is measured to."""
FOLDS = 5
WINDOW = 256
"""Contributions in a window of the online forest."""
CAPACITY = 4_096
_SCORED = 512
"""Contributions that were scored last, whose features are remembered until it is known what became of them."""
"""Scores that the online ruler keeps."""
LEAST_RECENT = 256
"""Scores that the online ruler needs before it counts."""
ANCHORED_SHARE = 0.75
"""Share of the signal's false holds that the anchored forest may spend; the online one has the rest."""

_WORDS = {**ALONE, **BESIDE}


@dataclass(frozen=True, slots=True)
class _Anchored:
    """The part that never changes."""

    fields: tuple[str, ...]
    anchors: Mapping[str, Floats]
    forest: Forest
    ruler: Calibration
    usual: NDArray[np.float32]
    spans: NDArray[np.float32]
    """How wide the usual range of each feature is, at least 0.02."""
    places: tuple[tuple[str, str], ...]
    """Field and feature of each number."""
    seed: int


class _Online:
    """The part that learns: a forest and the last scores, oldest first."""

    def __init__(self, anchored: _Anchored, kind: Kind, state: State) -> None:
        self._fields = anchored.fields
        self.forest = Forest(anchored.fields, window=WINDOW, seed=anchored.seed + 1_000)
        self._recent = np.zeros(int(cast("int", state.values["capacity"])))
        self._n = self._next = 0
        for part in ("last", "current"):
            array = state.arrays.get(f"{kind.value}.{part}")
            for row in () if array is None else unstack(self._fields, array):
                self.forest.learn(row)
        for score in cast("list[float]", state.arrays.get(f"{kind.value}.recent", np.zeros(0)).tolist()):
            self._note(score)

    @property
    def counts(self) -> bool:
        """Whether it has seen enough to be asked."""
        return self.forest.ready and self._n >= LEAST_RECENT

    def p_value(self, row: Row) -> float:
        """Share of recent accepted contributions that were at least as odd."""
        score = self.forest.score(row)
        return (1 + int(np.count_nonzero(self._recent[: self._n] >= score))) / (self._n + 1)

    def learn(self, row: Row) -> None:
        """Score, then learn: a score that has seen its own row would be too calm."""
        if self.forest.ready:
            self._note(self.forest.score(row))
        self.forest.learn(row)

    def _note(self, score: float) -> None:
        self._recent[self._next] = score
        self._next = (self._next + 1) % len(self._recent)
        self._n = min(self._n + 1, len(self._recent))

    def arrays(self, kind: Kind) -> dict[str, Array]:
        last, current = self.forest.rows()
        start = self._next if self._n == len(self._recent) else 0
        return {
            f"{kind.value}.last": stack(self._fields, last),
            f"{kind.value}.current": stack(self._fields, current),
            f"{kind.value}.recent": np.roll(self._recent, -start)[: self._n].copy(),
        }


class Anomaly(Signal):
    """Length, make-up and position of the texts are jointly unusual.

    Made by `from_state`; see the module for the idea.
    """

    name: ClassVar[str] = "anomaly"
    only_unlike: ClassVar[bool] = True

    def __init__(self, state: State) -> None:
        self._frozen = State(
            state.values, {name: array for name, array in state.arrays.items() if not _is_online(name)}
        )
        self._anchored: dict[Kind, _Anchored] = {}
        self._online: dict[Kind, _Online] = {}
        self._rows: OrderedDict[int, tuple[Observation, Row]] = OrderedDict()
        for kind in Kind:
            if f"{kind.value}.points" in state.arrays:
                self._anchored[kind] = _restore(kind, state)
                self._online[kind] = _Online(self._anchored[kind], kind, state)

    @classmethod
    def fit(cls, trusted: Sequence[Observation], *, seed: int) -> State:
        """Measure the trusted set and calibrate the anchored forest by cross-fitting."""
        from importlib.metadata import version

        values: dict[str, JsonValue] = {"river": version("river"), "capacity": CAPACITY}
        arrays: dict[str, Array] = {}
        for number, kind in enumerate(Kind):
            members = [each for each in trusted if each.contribution.kind is kind]
            about: dict[str, JsonValue] = {"trusted": len(members)}
            values[kind.value] = about
            if len(members) < LEAST_TRUSTED:
                continue
            rng = np.random.default_rng([seed, number])
            about["seed"] = int(rng.integers(2**30))
            order = rng.permutation(len(members))[:MAX_POINTS]
            arrays.update(_fit_kind(kind, [members[i] for i in order], int(cast("int", about["seed"]))))
            about["points"] = len(order)
        return State(values, arrays)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Make the detector, with what it has learnt since if the state has it.

        Raises
        ------
        BaselineError
            If this version of river builds other trees than the one that calibrated them.
        """
        return cls(state)

    def state(self) -> State:
        """The anchored part as it was, and the rows and scores of the online part."""
        learnt: dict[str, Array] = {}
        for kind, online in self._online.items():
            learnt.update(online.arrays(kind))
        return State(self._frozen.values, {**self._frozen.arrays, **learnt})

    def score(self, observation: Observation) -> Finding:
        """Ask both forests."""
        kind = observation.contribution.kind
        anchored = self._anchored.get(kind)
        if anchored is None:
            about = cast("Mapping[str, JsonValue]", self._frozen.values[kind.value])
            why = f"{about['trusted']} trusted contributions of this kind; {LEAST_TRUSTED} are needed"
            return Finding(self.name, None, why, Condition.WARMING)
        row = self._row(observation, anchored)
        p_anchored = anchored.ruler.p_value(anchored.forest.score(row))
        p = min(1.0, p_anchored / ANCHORED_SHARE)
        against = "the trusted set"
        online = self._online[kind]
        if online.counts:
            p_online = min(1.0, online.p_value(row) / (1.0 - ANCHORED_SHARE))
            if p_online < p:
                p, against = p_online, "recent accepted contributions"
        return Finding(
            self.name,
            p,
            f"length, make-up and position of the texts against {against}: {_oddest(anchored, row)}; "
            f"{p:.2%} of honest contributions look at least this odd",
        )

    def learn(self, observation: Observation) -> None:
        """Learn into the online forest. What has no vectors teaches nothing."""
        learn = self.later(observation)
        if learn is not None:
            learn()

    def later(self, observation: Observation) -> Callable[[], object] | None:
        """Learning from a contribution, by its features alone."""
        kind = observation.contribution.kind
        anchored = self._anchored.get(kind)
        if anchored is None:
            return None
        try:
            row = self._row(observation, anchored)
        except SignalError:
            return None
        self._rows.pop(id(observation), None)
        return partial(self._online[kind].learn, row)

    def _row(self, observation: Observation, anchored: _Anchored) -> Row:
        """The features of a contribution, worked out once for scoring it and for learning from it."""
        known = self._rows.get(id(observation))
        if known is not None and known[0] is observation:
            return known[1]
        row = features(observation, anchored.anchors)
        self._rows[id(observation)] = observation, row
        if len(self._rows) > _SCORED:
            self._rows.popitem(last=False)
        return row


def _is_online(name: str) -> bool:
    return name.rsplit(".", 1)[-1] in ("last", "current", "recent")


def _oddest(anchored: _Anchored, row: Row) -> str:
    """The feature farthest outside its usual range, in words and numbers."""
    flat = row[anchored.fields[0]] if len(row) == 1 else np.concatenate([row[field] for field in anchored.fields])
    low, high = anchored.usual
    at = _farthest(flat, low, high, anchored.spans)
    if at < 0:
        return "each is within its usual range"
    field, feature = anchored.places[at]
    usual = f"usually {float(low[at]):.2f} to {float(high[at]):.2f}"
    return f"{_WORDS[feature]} of the {field} is {float(flat[at]):.2f}, {usual}"


@compiled("int64(float32[::1], float32[::1], float32[::1], float32[::1])")
def _farthest(
    row: NDArray[np.float32], low: NDArray[np.float32], high: NDArray[np.float32], spans: NDArray[np.float32]
) -> int:
    """The place of what lies farthest beyond its usual range, as a share of the range; -1 where nothing does."""
    farthest, most = -1, np.float32(0.0)
    for i in range(len(row)):
        beyond = max(low[i] - row[i], row[i] - high[i]) / spans[i]
        if beyond > most:
            farthest, most = i, beyond
    return farthest


def _fit_kind(kind: Kind, members: Sequence[Observation], seed: int) -> dict[str, Array]:
    """Features, anchors and cross-fitted scores of shuffled trusted contributions of one kind."""
    fields = TEXT_FIELDS[kind]
    anchors = {
        field: np.concatenate([mean_row(unit_rows(each, field)) for each in members[:ANCHORS]]).astype(np.float16)
        for field in fields
    }
    wide = {field: array.astype(np.float32) for field, array in anchors.items()}
    rows = [features(each, wide, own=i if i < ANCHORS else None) for i, each in enumerate(members)]
    scores = np.zeros(len(rows))
    for fold in range(FOLDS):
        forest = primed(fields, [row for i, row in enumerate(rows) if i % FOLDS != fold], seed=seed)
        for i in range(fold, len(rows), FOLDS):
            scores[i] = forest.score(rows[i])
    points = stack(fields, rows)
    final = primed(fields, rows, seed=seed)
    return {
        f"{kind.value}.points": points,
        f"{kind.value}.scores": np.sort(scores),
        f"{kind.value}.usual": np.quantile(points, [0.05, 0.95], axis=0).astype(np.float32),
        f"{kind.value}.proof": np.asarray([final.score(row) for row in rows[:8]]),
        **{f"{kind.value}.{field}.anchors": array for field, array in anchors.items()},
    }


def _restore(kind: Kind, state: State) -> _Anchored:
    fields = TEXT_FIELDS[kind]
    about = cast("Mapping[str, JsonValue]", state.values[kind.value])
    seed = int(cast("int", about["seed"]))
    rows = unstack(fields, state.arrays[f"{kind.value}.points"])
    forest = primed(fields, rows, seed=seed)
    proof = np.asarray([forest.score(row) for row in rows[:8]])
    if not np.allclose(proof, state.arrays[f"{kind.value}.proof"].astype(np.float64), rtol=0, atol=1e-12):
        raise BaselineError(
            f"the half-space trees come out otherwise than when they were calibrated with river "
            f"{state.values['river']}; build the baseline again"
        )
    usual = state.arrays[f"{kind.value}.usual"].astype(np.float32)
    places = tuple((field, feature) for field in fields for feature in names(field))
    if usual.shape != (2, len(places)):
        raise BaselineError(f"the usual ranges of {kind.value} are of other features; build the baseline again")
    return _Anchored(
        fields,
        {field: state.arrays[f"{kind.value}.{field}.anchors"].astype(np.float32) for field in fields},
        forest,
        Calibration.of(state.arrays[f"{kind.value}.scores"]),
        usual,
        np.maximum(usual[1] - usual[0], 0.02),
        places,
        seed,
    )
