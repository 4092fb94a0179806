"""The text is far from anything in the trusted set.

The score of a text is its mean cosine distance to the five nearest trusted texts of the same kind and field; of a
long text, that of its most distant window. The trusted texts are scored the same way, each without itself. A
contribution with several texts is as odd as its oddest one, with a Bonferroni factor for having looked at several.

New is not the same as hostile: honest people bring new topics, and most poison is near its topic. That is why this
signal gets a small share of the false-hold rate.

References
----------
Ramaswamy, S., Rastogi, R., Shim, K. (2000). Efficient algorithms for mining outliers from large data sets. SIGMOD.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self, cast

import numpy as np
from pydantic import JsonValue

from feedback_guard.compiled import compiled
from feedback_guard.contribution import TEXT_FIELDS, Kind
from feedback_guard.embedding.interface import Vectors
from feedback_guard.errors import BaselineError
from feedback_guard.signals.calibration import Calibration
from feedback_guard.signals.interface import Array, Condition, Finding, Observation, Signal, State
from feedback_guard.signals.linear import Floats
from feedback_guard.signals.rows import unit_rows

NEIGHBOURS = 5
"""How many nearest trusted texts the distance is the mean of."""
LEAST_TRUSTED = 50
"""Trusted contributions of a kind below which nothing is said about that kind."""
MAX_REFERENCE = 10_000
"""Most trusted vectors of a kind and field to compare with; of a larger set a random part is kept."""
AT_ONCE = 128
"""Most windows of several texts that are compared at once, which bounds what similarities take."""


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """Trusted vectors of one field of one kind, and the ruler for distances to them.

    Parameters
    ----------
    rows
        Unit vectors, shape (n, d), float32.
    ruler
        Distances of trusted texts to the others.
    """

    rows: Floats
    ruler: Calibration

    def distances(self, texts: Sequence[Vectors]) -> Iterator[float]:
        """Of each text, the mean distance of its most distant window to the nearest trusted vectors.

        0 same, 1 unrelated, 2 opposite.
        """
        for similarity, windows in _compared(texts, self.rows):
            yield _distance(similarity, windows, self.rows)


def _compared(texts: Sequence[Vectors], rows: Floats) -> Iterator[tuple[Vectors, Vectors]]:
    """Of each text, the similarities of its windows to rows, shape (n_windows, n), and the windows."""
    while texts:
        n = 1
        while n < len(texts) and sum(map(len, texts[: n + 1])) <= AT_ONCE:
            n += 1
        together, texts = texts[:n], texts[n:]
        windows = np.concatenate(together)
        similarity, start = windows @ rows.T, 0
        for text in together:
            own = slice(start, start + len(text))
            yield similarity[own], windows[own]
            start += len(text)


@compiled("float64(float32[:, ::1], float32[:, ::1], float32[:, ::1])")
def _distance(similarity: Vectors, windows: Vectors, rows: Floats) -> float:
    """The distance of a text's windows, shape (n_windows, d), to rows, shape (n, d).

    The similarities, shape (n_windows, n), say which rows are nearest. How near those are is worked out again: what a
    product of matrices gives depends in its last bits on what else is in them, and a finding must not.
    """
    n = min(NEIGHBOURS, similarity.shape[1])
    nearest, place, farthest = np.empty(n), np.empty(n, np.int64), -np.inf
    for window in range(similarity.shape[0]):
        nearest[:] = -np.inf  # ascending, so the first is the one that goes
        for row in range(similarity.shape[1]):
            each = similarity[window, row]
            if each > nearest[0]:
                at = 0
                while at + 1 < n and nearest[at + 1] < each:
                    nearest[at], place[at] = nearest[at + 1], place[at + 1]
                    at += 1
                nearest[at], place[at] = each, row
        total = 0.0
        for at in range(n):
            if nearest[at] <= -1.0:  # opposite, or not to be looked at
                total += nearest[at]
            else:
                for i in range(windows.shape[1]):
                    total += float(windows[window, i]) * float(rows[place[at], i])
        farthest = max(farthest, 1.0 - total / n)
    return farthest


class Novelty(Signal):
    """The text is far from anything in the trusted set.

    Made by `from_state`; see the module for the idea.
    """

    name: ClassVar[str] = "novelty"
    only_unlike: ClassVar[bool] = True

    def __init__(self, state: State) -> None:
        self._state = state
        self._near: dict[tuple[Kind, str], Neighbourhood] = {}
        for kind in Kind:
            for field in TEXT_FIELDS[kind]:
                name = f"{kind.value}.{field}"
                if f"{name}.rows" in state.arrays:
                    rows = state.arrays[f"{name}.rows"].astype(np.float32)
                    if rows.ndim != 2 or not len(rows) or not np.isfinite(rows).all():
                        raise BaselineError(f"the trusted vectors of {name} are broken; build the baseline again")
                    self._near[kind, field] = Neighbourhood(rows, Calibration.of(state.arrays[f"{name}.scores"]))

    @classmethod
    def fit(cls, trusted: Sequence[Observation], *, seed: int) -> State:
        """Keep the trusted vectors of each kind and field, and measure how far they are from each other."""
        values: dict[str, JsonValue] = {}
        arrays: dict[str, Array] = {}
        for number, kind in enumerate(Kind):
            members = [each for each in trusted if each.contribution.kind is kind]
            about: dict[str, JsonValue] = {"trusted": len(members)}
            values[kind.value] = about
            if len(members) < LEAST_TRUSTED:
                continue
            rng = np.random.default_rng([seed, number])
            if len(members) > MAX_REFERENCE:
                chosen = np.sort(rng.choice(len(members), MAX_REFERENCE, replace=False))
                members = [members[i] for i in chosen]
            about["calibrated_on"] = len(members)
            for field in TEXT_FIELDS[kind]:
                rows, scores = _fit_field([unit_rows(each, field) for each in members], rng)
                arrays[f"{kind.value}.{field}.rows"] = rows
                arrays[f"{kind.value}.{field}.scores"] = scores
                about[f"{field}_vectors"] = len(rows)
        return State(values, arrays)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Make the detector. It copies the vectors to single precision and never writes to the state."""
        return cls(state)

    def state(self) -> State:
        """The state it was made from: nothing is learnt after the baseline."""
        return self._state

    def reference(self, kind: Kind, field: str) -> Vectors | None:
        """The trusted vectors of a kind and field, shape (n, d); None if too few are known. Do not write to them."""
        near = self._near.get((kind, field))
        return None if near is None else near.rows

    def score(self, observation: Observation) -> Finding:
        """Measure how far each text is from the trusted set."""
        return self.score_all([observation])[0]

    def score_all(self, observations: Sequence[Observation]) -> list[Finding]:
        """`score` for each. The trusted vectors, which are more than a processor keeps near, are gone through once."""
        windows: dict[tuple[Kind, str], list[Vectors]] = {}
        for observation in observations:
            kind = observation.contribution.kind
            if (kind, TEXT_FIELDS[kind][0]) in self._near:
                for field in TEXT_FIELDS[kind]:
                    rows = unit_rows(observation, field, self._near[kind, field].rows.shape[1])
                    windows.setdefault((kind, field), []).append(rows)
        distances = {place: self._near[place].distances(texts) for place, texts in windows.items()}
        return [self._finding(each.contribution.kind, distances) for each in observations]

    def _finding(self, kind: Kind, distances: Mapping[tuple[Kind, str], Iterator[float]]) -> Finding:
        """The finding on a contribution of this kind, of which the next distances are."""
        fields = TEXT_FIELDS[kind]
        if (kind, fields[0]) not in self._near:
            about = cast("Mapping[str, JsonValue]", self._state.values[kind.value])
            why = f"{about['trusted']} trusted contributions of this kind; {LEAST_TRUSTED} are needed"
            return Finding(self.name, None, why, Condition.WARMING)
        found = []
        for field in fields:
            near, distance = self._near[kind, field], next(distances[kind, field])
            found.append((near.ruler.p_value(distance), field, distance, len(near.rows)))
        p_field, field, distance, n = min(found)
        p = min(1.0, p_field * len(fields))
        return Finding(
            self.name,
            p,
            f"the {field} has a distance of {distance:.2f} (0 same, 1 unrelated) to the {NEIGHBOURS} nearest of {n} "
            f"trusted texts; {p:.2%} of honest contributions look at least this odd",
        )


def _fit_field(texts: Sequence[Vectors], rng: np.random.Generator) -> tuple[Array, Array]:
    """The vectors to keep, and the distance of each text to those that are not its own."""
    owner = np.repeat(np.arange(len(texts)), [len(windows) for windows in texts])
    rows = np.concatenate(list(texts)).astype(np.float16)
    if len(rows) > MAX_REFERENCE:
        chosen = np.sort(rng.choice(len(rows), MAX_REFERENCE, replace=False))
        rows, owner = rows[chosen], owner[chosen]
    reference = rows.astype(np.float32)
    scores = np.zeros(len(texts))
    for number, (similarity, windows) in enumerate(_compared(texts, reference)):
        similarity[:, owner == number] = -1.0
        scores[number] = _distance(similarity, windows, reference)
    return rows, np.sort(scores)
