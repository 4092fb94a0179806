"""The audit set: vetted contributions that neither the baseline nor any user has seen, to measure others against.

A contribution *speaks about* the audit item that its content is nearest to, if the two are near enough that vetted
contributions so near agree nine times in ten. Whether it agrees with what was vetted there moves the prediction of that
item by Bayes' rule; `limits.reputation` measures the change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from feedback_guard.contribution import Contribution, Kind
from feedback_guard.embedding.interface import Vectors
from feedback_guard.errors import SignalError
from feedback_guard.evidence.drift_reference import vector_of
from feedback_guard.limits.bankroll import MICRO, PICO
from feedback_guard.limits.reputation import UNKNOWN_BELIEF, Probe
from feedback_guard.signals.disagreement import Disagreement
from feedback_guard.signals.interface import Observation
from feedback_guard.signals.lesson import LEAST_CHANCE

FIELDS: Final[Mapping[Kind, tuple[str, ...]]] = {Kind.LABEL: ("input",), Kind.RATING: ("input", "output")}
"""Kinds that can be audited, and the texts that likeness is measured on. What teaches free text, or an order of two
answers, has no item to agree with: it is measured by moderators' decisions only."""


@dataclass(frozen=True, slots=True)
class Audited:
    """The audit items of one kind.

    Parameters
    ----------
    vectors
        Unit vectors, shape (n, d), float32.
    taught
        Digest of what was vetted for each.
    priors
        Chance that the anchored model gives to it, in pico-units.
    reach
        Least likeness (cosine) at which a contribution speaks about an item.
    agree, differ
        Likelihood ratios of a contribution that agrees, and of one that does not, in micro-units. They are the square
        roots of the ratios that were counted: the neighbour and the model read much of the same words, so that half
        of what she says was known.
    middle
        Ratings above it vote up.
    """

    vectors: Vectors
    taught: tuple[str, ...]
    priors: tuple[int, ...]
    reach: float
    agree: int
    differ: int
    middle: float = 0.0


@dataclass(frozen=True)
class AuditSet:
    """Vetted contributions to measure others against. `audit_build` makes one, `audit_files` keeps it.

    Parameters
    ----------
    digest
        `sha256:` and the digest of the manifest, which covers the arrays.
    fingerprint
        Of the embedding model that made the vectors.
    baseline
        Digest of the baseline whose model gave the first predictions.
    kinds
        Items by kind.
    notes
        Sentences on what this set cannot measure.
    """

    digest: str
    fingerprint: str
    baseline: str
    kinds: Mapping[Kind, Audited] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def probe(self, observation: Observation) -> Probe | None:
        """The audit item that a contribution speaks about; None if there is none."""
        items = self.kinds.get(observation.contribution.kind)
        if items is None:
            return None
        vector = place_of(observation)
        if vector is None or vector.shape != items.vectors.shape[1:]:
            return None
        likeness = np.round((items.vectors @ vector).astype(np.float64), 4)
        nearest = int(likeness.argmax())
        if likeness[nearest] < items.reach:
            return None
        agrees = items.taught[nearest] == taught_by(observation.contribution, items.middle)
        name = hashlib.sha256(f"{self.digest}/{observation.contribution.kind}/{nearest}".encode()).hexdigest()
        return Probe(name, items.priors[nearest], items.agree if agrees else items.differ)

    @property
    def information(self) -> float:
        """Units of information that the set can pay out at most: the loss of the first predictions."""
        return sum((1.0 - prior / PICO) ** 2 for items in self.kinds.values() for prior in items.priors)


def taught_by(contribution: Contribution, middle: float) -> str:
    """Digest of what a contribution teaches: its label, or whether it votes up."""
    votes_up = (contribution.rating or 0.0) > middle
    said = contribution.label or "" if contribution.kind is Kind.LABEL else "up" if votes_up else "down"
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()


def belief_in(reader: Disagreement, observation: Observation) -> int:
    """Chance of what a contribution teaches, as the anchored model reads its content, in pico-units.

    Where the model cannot tell it is one half; beyond 49 to 1 it is not believed.
    """
    try:
        lesson = reader.lesson(observation)
    except SignalError:
        return UNKNOWN_BELIEF
    if lesson is None or lesson.which < 0:
        return UNKNOWN_BELIEF
    if lesson.shares is not None:
        chance = float(lesson.shares[lesson.which])
    else:
        chance = 1.0 / (1.0 + float(np.exp(lesson.log_ratio)))
    return round(min(1.0 - LEAST_CHANCE, max(LEAST_CHANCE, chance)) * MICRO) * (PICO // MICRO)


def place_of(observation: Observation) -> Vectors | None:
    """Where a contribution lies: one unit vector for all the texts that likeness is measured on."""
    fields = FIELDS.get(observation.contribution.kind)
    if fields is None:
        return None
    parts = [vector_of(observation, name) for name in fields]
    if any(part is None for part in parts):
        return None
    whole = np.concatenate([part for part in parts if part is not None]) / np.sqrt(len(parts))
    return np.asarray(whole, dtype=np.float32)
