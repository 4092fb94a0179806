"""Half-space trees of river over named features of several fields, without their traps.

river's `HalfSpaceTrees` says 0, "normal", until its first window is full, takes a missing feature for normal, builds
its trees when it first learns, and can only be pickled. Here a forest is asked only when its window is full, rows are
complete and finite, trees are built at once, and memory is the rows of the last full window and of the current one:
learning them again restores the forest. Since the masses change only when a window is full, the trees are folded then
into what a row needs on its way down: which feature, which line, and at the end the sum of the masses on the way.

References
----------
Tan, S. C., Ting, K. M., Liu, T. F. (2011). Fast anomaly detection for streaming data. IJCAI.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from feedback_guard.compiled import compiled
from feedback_guard.errors import SignalError
from feedback_guard.signals.shape import names

TREES = 30
HEIGHT = 5
"""Thirty trees of height five: deeper ones leave most leaves empty with a few hundred trusted contributions."""

_N_LINES = 2**HEIGHT - 1
"""Lines in a tree: the first decides between the second and the third, the n-th between those at 2n and 2n + 1."""

Row = Mapping[str, NDArray[np.float32]]
"""Features by field, each in 0..1."""


class _Folded(NamedTuple):
    """Trees of a field as a row goes down them: what it is compared by and with, and what its way adds up to.

    Shapes are (n_trees, _N_LINES), the same, and (n_trees, _N_LINES + 1).
    """

    places: NDArray[np.int64]
    lines: NDArray[np.float64]
    masses: NDArray[np.int64]


@compiled("int64(int64[:, ::1], float64[:, ::1], int64[:, ::1], float64[::1])")
def _mass(
    places: NDArray[np.int64], lines: NDArray[np.float64], masses: NDArray[np.int64], row: NDArray[np.float64]
) -> int:
    """What the ways of a row down all trees add up to."""
    total, n_lines = 0, places.shape[1]
    for tree in range(len(places)):
        at = 0
        while at < n_lines:
            at = 2 * at + (1 if row[places[tree, at]] < lines[tree, at] else 2)
        total += masses[tree, at - n_lines]
    return total


class Forest:
    """One group of half-space trees for each field; the score is the mean of theirs.

    Parameters
    ----------
    fields
        The fields, in order.
    window
        Rows that a window holds.
    seed
        Of the random splits.
    """

    def __init__(self, fields: Sequence[str], *, window: int, seed: int) -> None:
        from river.anomaly import HalfSpaceTrees

        self.window = window
        self._names = {field: names(field) for field in fields}
        self._trees: dict[str, Any] = {
            field: HalfSpaceTrees(n_trees=TREES, height=HEIGHT, window_size=window, seed=seed + number)
            for number, field in enumerate(fields)
        }
        self._last: list[Row] = []
        self._current: list[Row] = []
        self._folded: dict[str, _Folded] | None = None
        self._most = TREES * window * (2 ** (HEIGHT + 1) - 1)

    @property
    def ready(self) -> bool:
        """Whether a window is full, so that a score means something."""
        return bool(self._last)

    def score(self, row: Row) -> float:
        """0..1, higher is odder.

        Raises
        ------
        SignalError
            If no window is full yet: there is no "normal" to compare with.
        """
        if not self.ready:
            raise SignalError("the half-space trees have not seen a full window yet")
        if self._folded is None:
            self._folded = {field: self._fold(field) for field in self._trees}
        total = 0.0
        for field, folded in self._folded.items():
            total += 1.0 - _mass(*folded, row[field].astype(np.float64)) / self._most
        return total / len(self._trees)

    def learn(self, row: Row) -> None:
        """Add a row to the current window."""
        for field, trees in self._trees.items():
            trees.learn_one(self._named(field, row))
        self._current.append(row)
        if len(self._current) == self.window:
            self._last, self._current = self._current, []
            self._folded = None

    def _fold(self, field: str) -> _Folded:
        """The trees of a field, as `HalfSpaceTrees.score_one` goes down them, no further."""
        trees = self._trees[field]
        places_of = {name: place for place, name in enumerate(self._names[field])}
        places = np.zeros((TREES, _N_LINES), dtype=np.int64)
        lines = np.zeros((TREES, _N_LINES))
        masses = np.zeros((TREES, _N_LINES + 1), dtype=np.int64)

        def fold(tree: int, node: Any, at: int, depth: int, mass: int) -> None:
            mass += node.r_mass << depth
            if depth == HEIGHT or node.r_mass < trees.size_limit:
                width = 2 ** (HEIGHT - depth)  # whatever the lines below say, it adds up to the same
                first = (at + 1) * width - 1 - _N_LINES
                masses[tree, first : first + width] = mass
                return
            places[tree, at], lines[tree, at] = places_of[node.feature], node.threshold
            for child, below in enumerate(node.children):
                fold(tree, below, 2 * at + 1 + child, depth + 1, mass)

        for tree, root in enumerate(trees.trees):
            fold(tree, root, 0, 0, 0)
        return _Folded(places, lines, masses)

    def _named(self, field: str, row: Row) -> dict[str, float]:
        values = row[field].tolist()
        return dict(zip(self._names[field], values, strict=True))

    def rows(self) -> tuple[list[Row], list[Row]]:
        """Rows of the last full window and of the current one."""
        return list(self._last), list(self._current)


def primed(fields: Sequence[str], rows: Sequence[Row], *, seed: int) -> Forest:
    """A forest whose one window holds all the rows."""
    forest = Forest(fields, window=len(rows), seed=seed)
    for row in rows:
        forest.learn(row)
    return forest


def stack(fields: Sequence[str], rows: Sequence[Row]) -> NDArray[np.float32]:
    """Rows as one array of shape (n, n_features of all fields), float32."""
    width = sum(len(names(field)) for field in fields)
    if not rows:
        return np.zeros((0, width), dtype=np.float32)
    return np.asarray([np.concatenate([row[field] for field in fields]) for row in rows], dtype=np.float32)


def unstack(fields: Sequence[str], array: NDArray[np.generic]) -> list[dict[str, NDArray[np.float32]]]:
    """What `stack` made, as rows again."""
    ends = np.cumsum([len(names(field)) for field in fields])[:-1]
    return [
        dict(zip(fields, (np.array(part, dtype=np.float32) for part in np.split(each, ends)), strict=True))
        for each in array
    ]
