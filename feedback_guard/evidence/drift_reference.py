"""The frozen reference of the drift alarm: what is far from the trusted texts, and where in space they lie.

The trusted texts are split once, by chance, in two halves. The first is what distances are measured to and what the
regions are made of; the second, which had no part in that, says how often an honest text falls into each event.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from feedback_guard.embedding.interface import Vectors
from feedback_guard.errors import BaselineError, SignalError
from feedback_guard.evidence.e_detector import GROWTHS, Floats, upper_bounds
from feedback_guard.evidence.regions import make_regions, region_of
from feedback_guard.signals.interface import Array, Observation
from feedback_guard.signals.rows import unit_rows

MAX_REFERENCE = 2_048
"""Most trusted texts that distances are measured to; more are sampled, to bound the time per contribution."""
MAX_CALIBRATION = 50_000
"""Most trusted texts that frequencies are estimated from."""
FAR = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
"""Events of distance: lying farther out than all but this share of the trusted texts."""
DIVISIONS = (4, 8, 16, 32)
"""Numbers of regions that the space is divided into, side by side: wide and narrow topics show in different ones. A
division is used when the reference has `TEXTS_PER_REGION` texts for each of its regions."""
TEXTS_PER_REGION = 10

_PARTS = ("texts", "centres", "sizes", "far", "shares", "bounds")


@dataclass(frozen=True, slots=True)
class Reference:
    """What is frozen about one field: events, and how often they happen to honest texts.

    Parameters
    ----------
    texts
        Trusted vectors, shape (m, d), float32.
    centres
        Centres of the regions of all divisions, one after the other, shape (sum of sizes, d), float32.
    sizes
        Number of regions of each division.
    far
        Distances beyond which a text is far, one for each entry of `FAR`, shape (f,).
    shares
        Share of the calibration texts in each event: far ones, then the regions, shape (f + sum of sizes,).
    bounds
        Upper confidence bounds on the true shares.
    """

    texts: Vectors
    centres: Vectors
    sizes: NDArray[np.int64]
    far: Floats
    shares: Floats
    bounds: Floats

    @classmethod
    def fit(cls, vectors: Vectors, error: float, rng: np.random.Generator) -> Self:
        """Make it from trusted vectors, one row each; its bounds are true but for a share `error` of trusted sets."""
        texts, rest, divisions = divide(vectors, rng)
        calibration = rest[:MAX_CALIBRATION]
        distances = np.concatenate([_distances(texts, part)[:, 0] for part in _parts(calibration)])
        far = np.sort(distances)[::-1][[round(share * (len(distances) - 1)) for share in FAR]]
        counts = [(distances[:, None] > far).sum(axis=0)]
        counts += [np.bincount(region_of(calibration, centres), minlength=len(centres)) for centres in divisions]
        found = np.concatenate(counts).astype(np.int64)
        bounds, sizes = upper_bounds(found, len(calibration), error), np.array([len(each) for each in divisions])
        return cls(texts, np.concatenate(divisions), sizes, far, found / len(calibration), bounds)

    @classmethod
    def restore(cls, name: str, arrays: Mapping[str, Array]) -> Self:
        """Read what `arrays` gave.

        Raises
        ------
        BaselineError
            If a part is missing.
        """
        try:
            texts, centres = (np.array(arrays[f"{name}.{part}"], dtype=np.float32) for part in _PARTS[:2])
            sizes = np.array(arrays[f"{name}.sizes"], dtype=np.int64)
            far, shares, bounds = (np.array(arrays[f"{name}.{part}"], dtype=np.float64) for part in _PARTS[3:])
        except KeyError as error:
            raise BaselineError(f"the state of the drift alarm lacks {error}; build the baseline again") from None
        return cls(texts, centres, sizes, far, shares, bounds)

    @property
    def n_far(self) -> int:
        """Events of distance, which come first and are shown as one."""
        return len(self.far)

    def nearest(self, vectors: Vectors) -> list[int]:
        """The reference text that each vector, shape (n, d), is nearest to; several at once cost little more than one.

        Of two that are equally near it may be either.
        """
        found: list[int] = (vectors @ self.texts.T).argmax(axis=1).tolist()
        return found

    def happened(self, vector: Vectors, nearest: int) -> NDArray[np.bool_]:
        """Which events a text falls into: any number of far ones, and one region of each division.

        Parameters
        ----------
        vector
            Of the text, shape (d,).
        nearest
            As `nearest` found it. Its likeness is worked out here: what a product of matrices gives depends in its last
            bits on what else is in them, and the same contributions have to give the same state.
        """
        n_far = len(self.far)
        events = np.zeros(len(self.shares), dtype=np.bool_)
        events[:n_far] = _rounded(1.0 - float(self.texts[nearest].dot(vector))) > self.far
        likeness = (self.centres @ vector).tolist()
        start = 0
        for size in self.sizes.tolist():
            own = likeness[start : start + size]
            events[n_far + start + own.index(max(own))] = True
            start += size
        return events

    def weights(self) -> Floats:
        """Half of the stake on distances, half on the divisions in equal parts; adds up to 1.

        Returns
        -------
        ndarray of shape (f + sum of sizes, len(GROWTHS))
        """
        far = np.full(len(self.far), 0.5 / len(self.far))
        stakes = np.concatenate([far, np.repeat(0.5 / len(self.sizes) / self.sizes, self.sizes)])
        return np.repeat(stakes[:, None] / len(GROWTHS), len(GROWTHS), axis=1)

    def arrays(self, name: str) -> dict[str, Array]:
        """Copies of all parts, each under the name of the field."""
        return {f"{name}.{part}": np.array(getattr(self, part)) for part in _PARTS}

    def name_of(self, event: int) -> str:
        """An event in words."""
        if event < len(self.far):
            return f"farther from every reference text than {1.0 - self.shares[event]:.0%} of trusted texts are"
        region = event - len(self.far)
        for size in self.sizes:
            if region < size:
                return f"region {region + 1} of {size}"
            region -= int(size)
        return "a region"


def divide(vectors: Vectors, rng: np.random.Generator) -> tuple[Vectors, Vectors, list[Vectors]]:
    """Divide embedding space, at several sizes, by a random half of some texts.

    The same vectors and generator give the same regions, whoever asks.

    Returns
    -------
    tuple
        The texts of that half, the other texts, and the centres of the regions of each division.
    """
    order = rng.permutation(len(vectors))
    half = len(vectors) // 2
    texts = vectors[order[:half]][:MAX_REFERENCE]
    sizes = [k for k in DIVISIONS if k * TEXTS_PER_REGION <= len(texts)] or [2]
    return texts, vectors[order[half:]], [make_regions(texts, k, rng) for k in sizes]


def vector_of(observation: Observation, name: str, dimension: int | None = None) -> Vectors | None:
    """One unit vector for a text: the mean of its windows. None if there is none that can be used."""
    if name not in observation.vectors:
        return None
    try:
        rows = unit_rows(observation, name, dimension)
    except SignalError:
        return None
    if len(rows) == 1:
        return np.asarray(rows[0], dtype=np.float32)
    mean = rows.mean(axis=0, dtype=np.float64)
    length = float(np.linalg.norm(mean))
    return np.asarray(mean / length, dtype=np.float32) if length > 1e-6 else None


def _distances(reference: Vectors, vectors: Vectors) -> Floats:
    """Cosine distance of each vector to the nearest reference text, shape (n, 1).

    It is rounded, so that the order of additions inside a matrix product decides nothing.
    """
    nearest = (vectors @ reference.T).max(axis=1, keepdims=True)
    return _rounded(1.0 - nearest.astype(np.float64))


def _rounded(distances: Floats | float) -> Floats:
    return np.asarray(np.rint(distances * 10_000.0) / 10_000.0, dtype=np.float64)


def _parts(vectors: Vectors, size: int = 2_048) -> Iterator[Vectors]:
    for start in range(0, len(vectors), size):
        yield vectors[start : start + size]
