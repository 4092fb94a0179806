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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feedback_guard.errors import SignalError
from feedback_guard.signals.shape import names

TREES = 30
HEIGHT = 5
"""Thirty trees of height five: deeper ones leave most leaves empty with a few hundred trusted contributions."""

_Node = int | tuple[int, float, "_Node", "_Node"]
"""What a way down a tree adds up to, or what goes on by: place of a feature, line, what is below it, what is not."""

Row = Mapping[str, NDArray[np.float32]]
"""Features by field, each in 0..1."""


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
        self._folded: dict[str, list[_Node]] | None = None
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
        for field, trees in self._folded.items():
            values, mass = row[field].tolist(), 0
            for node in trees:
                while isinstance(node, tuple):
                    place, line, below, above = node
                    node = below if values[place] < line else above  # noqa: PLW2901 - a step down the tree
                mass += node
            total += 1.0 - mass / self._most
        return total / len(self._trees)

    def learn(self, row: Row) -> None:
        """Add a row to the current window."""
        for field, trees in self._trees.items():
            trees.learn_one(self._named(field, row))
        self._current.append(row)
        if len(self._current) == self.window:
            self._last, self._current = self._current, []
            self._folded = None

    def _fold(self, field: str) -> list[_Node]:
        """The trees of a field, as `HalfSpaceTrees.score_one` goes down them, no further."""
        trees = self._trees[field]
        places = {name: place for place, name in enumerate(self._names[field])}

        def fold(node: Any, depth: int, mass: int) -> _Node:
            mass += node.r_mass << depth
            if depth == HEIGHT or node.r_mass < trees.size_limit:
                return mass
            below, above = (fold(child, depth + 1, mass) for child in node.children)
            return places[node.feature], float(node.threshold), below, above

        return [fold(tree, 0, 0) for tree in trees.trees]

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
