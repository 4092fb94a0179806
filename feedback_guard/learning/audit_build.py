"""Make an audit set: which vetted contributions are held out, how near is near enough, and what agreement is worth."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from feedback_guard.contribution import Kind
from feedback_guard.embedding.interface import Vectors
from feedback_guard.errors import BaselineError
from feedback_guard.learning.audit import FIELDS, Audited, AuditSet, belief_in, place_of, taught_by
from feedback_guard.learning.audit_files import audit_digest
from feedback_guard.limits.bankroll import MICRO
from feedback_guard.signals.disagreement import Disagreement
from feedback_guard.signals.interface import Observation

MAX_AUDIT: Final = 20_000
"""Most items. Each contribution is compared with all of its kind: so many take about 2 ms."""
LEAST_AUDIT: Final = 50
"""Items of a kind below which that kind is not audited."""
AGREEMENT: Final = 0.9
"""Share of vetted neighbours that must agree; the reach is the least likeness at which they do."""
LEAST_PAIRS: Final = 20
"""Neighbours from which the agreement is believed."""
NEVER: Final = 2.0
"""A likeness that nothing has: the reach of a kind that cannot be audited."""


def belongs_to_audit(contribution: str, key: bytes, share: float) -> bool:
    """Whether a vetted contribution is held out, by a keyed digest of its name: nobody without the key can tell.

    Examples
    --------
    >>> sum(belongs_to_audit(f"c{n}", b"a key of your own", 0.25) for n in range(1000))
    267
    """
    drawn = hmac.new(key, contribution.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()
    return int.from_bytes(drawn[:8], "big") < share * 2.0**64


def build(observations: Sequence[Observation], reader: Disagreement, *, fingerprint: str, baseline: str) -> AuditSet:
    """Make an audit set.

    Parameters
    ----------
    observations
        Vetted contributions that the baseline was made without.
    reader
        The baseline's model, which gives the first prediction of each.
    fingerprint, baseline
        Of the embedding model and of the baseline.

    Raises
    ------
    BaselineError
        If there are too many, an id stands twice, or no kind can be audited.
    """
    if len(observations) > MAX_AUDIT:
        raise BaselineError(f"an audit set has at most {MAX_AUDIT:,} contributions, not {len(observations):,}")
    if len({each.contribution.id for each in observations}) < len(observations):
        raise BaselineError("an id stands twice in the audit set; each contribution counts once")
    kinds: dict[Kind, Audited] = {}
    notes: list[str] = []
    for kind in Kind:
        members = [each for each in observations if each.contribution.kind is kind]
        placed = [(each, place) for each in members if (place := place_of(each)) is not None]
        if not members:
            continue
        if kind not in FIELDS:
            notes.append(f"a {kind.value} has no item to agree with; it is measured by moderators' decisions only")
        elif len(placed) < LEAST_AUDIT:
            notes.append(f"{len(placed)} items of kind {kind.value}; {LEAST_AUDIT} are needed to audit it")
        else:
            kinds[kind] = _audited(placed, reader)
            if kinds[kind].reach >= NEVER:
                notes.append(f"neighbours of kind {kind.value} do not agree nine times in ten; it cannot be audited")
    if not any(items.reach < NEVER for items in kinds.values()):
        raise BaselineError("this set can audit nothing: " + ("; ".join(notes) or "it is empty"))
    made = AuditSet("", fingerprint, baseline, kinds, tuple(notes))
    return replace(made, digest=audit_digest(made))


def _audited(placed: Sequence[tuple[Observation, Vectors]], reader: Disagreement) -> Audited:
    # As they will be read back: in half precision.
    vectors = np.asarray([place for _, place in placed], dtype=np.float16).astype(np.float32)
    votes = [each.contribution.rating for each, _ in placed if each.contribution.rating is not None]
    middle = (min(votes) + max(votes)) / 2.0 if votes else 0.0
    taught = tuple(taught_by(each.contribution, middle) for each, _ in placed)
    reach, hits, n = _reach(vectors, taught)
    n_taught = max(2, len(set(taught)))
    right = (hits + 1) / (n + 2)
    wrong = max(0.01, (1.0 - right) / (n_taught - 1))
    return Audited(
        vectors=vectors,
        taught=taught,
        priors=tuple(belief_in(reader, each) for each, _ in placed),
        reach=reach,
        agree=round(float(np.sqrt(right / wrong)) * MICRO),
        differ=round(float(np.sqrt((1.0 - right) / (1.0 - wrong))) * MICRO),
        middle=middle,
    )


def _reach(vectors: Vectors, taught: Sequence[str]) -> tuple[float, int, int]:
    """The least likeness at which nearest neighbours agree often enough; with how many do, of how many."""
    nearest: list[tuple[float, bool]] = []
    for start in range(0, len(vectors), 1_024):
        likeness = vectors[start : start + 1_024] @ vectors.T
        for row in range(len(likeness)):
            likeness[row, start + row] = -NEVER
        for row, other in enumerate(likeness.argmax(axis=1).tolist()):
            nearest.append((round(float(likeness[row, other]), 4), taught[start + row] == taught[other]))
    nearest.sort(reverse=True)
    best, hits = (NEVER, 0, 0), 0
    for n, (likeness_, agrees) in enumerate(nearest, start=1):
        hits += agrees
        if n >= LEAST_PAIRS and hits >= AGREEMENT * n:
            best = (likeness_, hits, n)
    return best
