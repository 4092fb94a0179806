"""A fixed set of trusted texts on which the pair of learners is compared.

A baseline holds, of each probe, keyed numbers of its phrases and regions and what the anchored learner says of it;
none of its words. A backdoor hardly shows here, since trusted texts do not have the trigger; a stream that teaches
something else about ordinary texts does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from feedback_guard.errors import SignalError
from feedback_guard.evidence.facets import Background, of_kind
from feedback_guard.evidence.learners import Pair
from feedback_guard.signals.disagreement import Disagreement
from feedback_guard.signals.interface import Array, Observation

PROBES: Final = "probes"
"""What their arrays are called by in a baseline."""
MAX_PROBES: Final = 256
"""Most probes: their divergence is then known to about 0.02."""
MAX_CLASSES: Final = 8
"""Classes of a probe that are compared, the likeliest ones."""
_PARTS: Final = ("keys", "ends", "clauses", "clause_ends", "classes", "chances")


@dataclass(frozen=True, slots=True)
class Probes:
    """Trusted texts as the pair reads them.

    Parameters
    ----------
    keys, ends
        Phrases of all probes, one after the other, and where those of each end.
    clauses, clause_ends
        How they begin their clauses, likewise.
    classes, chances
        The likeliest classes of each, and their chances by the anchored learner, shape (n, MAX_CLASSES); -1 where there
        are fewer.
    """

    keys: NDArray[np.uint64]
    ends: NDArray[np.int64]
    clauses: NDArray[np.uint64]
    clause_ends: NDArray[np.int64]
    classes: NDArray[np.int64]
    chances: NDArray[np.float64]

    @classmethod
    def fit(cls, trusted: Sequence[Observation], background: Background, reader: Disagreement, *, seed: int) -> Self:
        """Choose probes by chance among the trusted contributions that teach one of few classes."""
        order = np.random.default_rng([seed, MAX_PROBES]).permutation(len(trusted))
        keys, clauses, classes, chances = [], [], [], []
        for i in order.tolist():
            try:
                lesson = reader.lesson(trusted[i])
            except SignalError:
                continue
            if lesson is None or lesson.shares is None:
                continue
            best = np.argsort(-lesson.shares, kind="stable")[:MAX_CLASSES]
            row, share = np.full(MAX_CLASSES, -1, dtype=np.int64), np.zeros(MAX_CLASSES)
            row[: len(best)], share[: len(best)] = best, lesson.shares[best]
            kind = trusted[i].contribution.kind
            keys.append(of_kind(background.of(trusted[i]).phrases, kind))
            clauses.append(of_kind(background.clauses(trusted[i]).keys, kind))
            classes.append(row)
            chances.append(share)
            if len(keys) == MAX_PROBES:
                break
        if not keys:
            none, ends, empty = np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros((0, MAX_CLASSES))
            return cls(none, ends, none, ends, empty.astype(np.int64), empty)
        return cls(*_joined(keys), *_joined(clauses), np.stack(classes), np.stack(chances))

    def divergence(self, pair: Pair) -> float:
        """Mean total variation between what the two learners say of the probes, 0..1.

        Only the classes that are kept of each probe are compared; of further ones the sum of chances stays.
        """
        if not len(self.ends):
            return 0.0
        parted = pair.parted_of(self.keys, self.ends, self.classes)
        odds = self.chances * np.exp(np.clip(parted, -30.0, 30.0))  # of no class the chance is 0
        kept = self.chances.sum(axis=1, keepdims=True) / odds.sum(axis=1, keepdims=True)
        return float(0.5 * np.abs(odds * kept - self.chances).sum(axis=1).mean())

    def parted(self, pair: Pair, which: int) -> NDArray[np.float64]:
        """By how many log-odds the learner of forms speaks for a class of each probe, shape (n,)."""
        sums = np.concatenate([[0.0], np.cumsum(pair.weights(self.clauses, which), dtype=np.float64)])
        return np.asarray(np.diff(sums[np.concatenate([[0], self.clause_ends])]))

    def arrays(self, prefix: str) -> dict[str, Array]:
        """Everything, as named arrays."""
        return {f"{prefix}.{name}": getattr(self, name) for name in _PARTS}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], prefix: str) -> Self | None:
        """Read what `arrays` wrote; None from a baseline that has no probes."""
        if any(f"{prefix}.{name}" not in arrays for name in _PARTS):
            return None
        keys, ends, clauses, clause_ends, classes, chances = (arrays[f"{prefix}.{name}"] for name in _PARTS)
        return cls(
            keys.astype(np.uint64),
            ends.astype(np.int64),
            clauses.astype(np.uint64),
            clause_ends.astype(np.int64),
            classes.astype(np.int64),
            chances.astype(np.float64),
        )


def _joined(keys: Sequence[NDArray[np.uint64]]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """One after the other, and where each ends."""
    return np.concatenate(keys), np.cumsum([len(each) for each in keys])
