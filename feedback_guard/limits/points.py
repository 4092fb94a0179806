"""How many accepted contributions lie close to a point of embedding space: exact, among the latest.

A contribution finds room only if those within the radius, with itself, cost no more than the amount. So every set of
accepted points of which no two are farther apart than the radius costs no more than the amount (look at the one that
was accepted last), and hence every ball of half the radius. It does not follow for a ball of the whole radius: later
neighbours may come on opposite sides.

The search is exact. Points are first compared by their projection on a few directions, which only ever brings them
closer together, and by one product for all of them, with room for what that rounds; so nobody who is near is passed
over. Those that remain are measured in full.

References
----------
Koh, P. W., Steinhardt, J., Liang, P. (2022). Stronger data poisoning attacks break data sanitization defenses.
Machine Learning 111 (optimal attacks place points near one another).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from feedback_guard.embedding.interface import Vectors

LATEST: Final = 20_000
"""Most accepted contributions that are remembered for a budget; the bound holds among these."""
_DIRECTIONS: Final = 32
_STRETCH: Final = 4_096
"""Points that several others are compared with at a time: so many, and the products, fit the processor's caches."""
_LEARN_FROM: Final = 512
_ROUNDING: Final = 1e-4
"""What single precision may get wrong of a squared distance. What is so near to the edge counts as inside."""
_LOOSE: Final = 2 * _ROUNDING
"""The same for a squared distance that is worked out of lengths and a product: only who lies beyond is passed over."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A point that was accepted: when, at what cost, where."""

    at_us: int
    cost_micro: int
    where: Vectors


_NOBODY: Final = np.zeros(0, np.int64)


class _Looked(NamedTuple):
    """What was found around a point when it was compared together with others.

    Parameters
    ----------
    where, radius
        What was looked for.
    end
        How many points there were.
    near
        Those that may be within the radius, ascending.
    probe, least
        What further points are multiplied with, and the least product of one that may be within the radius.
    """

    where: Vectors
    radius: float
    end: int
    near: NDArray[np.int64]
    probe: NDArray[np.float32]
    least: float


@dataclass
class Points:
    """The latest accepted points of one budget.

    Examples
    --------
    >>> points = Points()
    >>> for angle in (0.0, 0.1, 1.5):
    ...     points.add(Placed(0, 1, np.array([np.cos(angle), np.sin(angle)], dtype=np.float32)))
    >>> points.cost_within(np.array([1.0, 0.0], dtype=np.float32), 0.2, since_us=0)
    2
    """

    latest: int = LATEST
    n: int = 0
    _rows: NDArray[np.float16] = field(default_factory=lambda: np.zeros((0, 0), np.float16))
    """As precise as the store keeps them."""
    _short: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    """What is compared first: of each point its projection, or itself while there are few, and minus half of the
    squared length of that. The product with another's projection and 1 is greater the smaller their distance."""
    _about: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    _basis: NDArray[np.float32] | None = None
    _looked: dict[int, _Looked] = field(default_factory=dict)
    """By the identity of what was looked for."""

    def add(self, placed: Placed) -> None:
        """Remember an accepted point. One of another dimension, made with another model, takes the place of all."""
        if self._rows.shape[1] != len(placed.where):
            self.n, self._basis = 0, None
            self._looked.clear()
            self._rows = np.zeros((64, len(placed.where)), np.float16)
            self._short = np.zeros((64, len(placed.where) + 1), np.float32)
            self._about = np.zeros((64, 2), np.int64)
        if self.n == len(self._rows):
            self._make_room()
        self._rows[self.n] = placed.where
        self._about[self.n] = placed.at_us, placed.cost_micro
        short = placed.where if self._basis is None else self._basis @ placed.where
        self._short[self.n, :-1] = short
        self._short[self.n, -1] = -0.5 * (short @ short)
        self.n += 1
        if self._basis is None and self.n >= _LEARN_FROM:
            self._learn()

    def look(self, wheres: Sequence[Vectors], radius: float) -> None:
        """Compare several points at once with what is remembered.

        `cost_within` of each, by the same object, is then left with what is added later: what is remembered is fetched
        once for all of them.
        """
        self._looked.clear()
        if not self.n or any(self._rows.shape[1] != len(where) for where in wheres):
            return
        probes = np.ones((len(wheres), self._short.shape[1]), np.float32)
        short = probes[:, :-1]
        short[:] = wheres if self._basis is None else np.stack(wheres) @ self._basis.T
        least = 0.5 * (np.einsum("ij,ij->i", short, short) - (radius * radius + _ROUNDING + _LOOSE))
        near: dict[int, list[NDArray[np.int64]]] = {}
        for begin in range(max(0, self.n - self.latest), self.n, _STRETCH):
            alike = probes @ self._short[begin : min(begin + _STRETCH, self.n)].T
            for i in np.flatnonzero(alike.max(axis=1) >= least).tolist():
                near.setdefault(i, []).append(begin + np.flatnonzero(alike[i] >= least[i]))
        for i, (where, bound) in enumerate(zip(wheres, least.tolist(), strict=True)):
            found = np.concatenate(near[i]) if i in near else _NOBODY
            self._looked[id(where)] = _Looked(where, radius, self.n, found, probes[i], bound)

    def cost_within(self, where: Vectors, radius: float, *, since_us: int) -> int:
        """What the remembered points within a distance cost together, in micro-units.

        Parameters
        ----------
        where
            Unit vector, shape (d,).
        radius
            Euclidean distance.
        since_us
            Older points do not count.
        """
        if not self.n or self._rows.shape[1] != len(where):
            return 0
        first, candidates = max(0, self.n - self.latest), _NOBODY
        edge = radius * radius + _ROUNDING
        looked = self._looked.get(id(where))
        if looked is not None and looked.where is where and looked.radius == radius:
            probe, least = looked.probe, looked.least
            if len(looked.near):
                candidates = looked.near[looked.near >= first]
            first = max(first, looked.end)
        else:
            short = where if self._basis is None else self._basis @ where
            probe = np.ones(len(short) + 1, np.float32)
            probe[:-1] = short
            least = 0.5 * (float(short @ short) - edge - _LOOSE)
        if first < self.n:
            # Nearly all points are far, so they are compared by what one product says of all of them.
            alike = self._short[first : self.n] @ probe
            if alike.max() >= least:
                candidates = np.concatenate([candidates, first + np.flatnonzero(alike >= least)])
        if not len(candidates):
            return 0
        about = self._about[candidates]
        difference = self._rows[candidates].astype(np.float32) - where
        near = (np.einsum("ij,ij->i", difference, difference) <= edge) & (about[:, 0] >= since_us)
        return int(about[near, 1].sum())

    def drop(self, n: int) -> None:
        """Forget the latest n points: they were taken back."""
        self.n -= n
        if any(self.n < each.end for each in self._looked.values()):
            self._looked.clear()

    def _make_room(self) -> None:
        """Grow, or, when twice as many as count are there, forget older ones; the latest may yet be taken back."""
        if self.n >= 2 * self.latest:
            self._looked.clear()
            n = self.latest + self.latest // 2
            kept = slice(self.n - n, self.n)
            self._rows[:n], self._about[:n] = self._rows[kept].copy(), self._about[kept].copy()
            self._short[:n] = self._short[kept].copy()
            self.n = n
            return
        self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        self._about = np.concatenate([self._about, np.zeros_like(self._about)])
        self._short = np.concatenate([self._short, np.zeros_like(self._short)])

    def _learn(self) -> None:
        """Choose the directions in which the points differ most. Any that stand at right angles would be right."""
        self._looked.clear()
        _, _, directions = np.linalg.svd(self._rows[: self.n].astype(np.float32), full_matrices=False)
        self._basis = np.ascontiguousarray(directions[:_DIRECTIONS], dtype=np.float32)
        short = self._rows[: self.n].astype(np.float32) @ self._basis.T
        self._short = np.zeros((len(self._rows), len(self._basis) + 1), np.float32)
        self._short[: self.n, :-1] = short
        self._short[: self.n, -1] = -0.5 * np.einsum("ij,ij->i", short, short)
