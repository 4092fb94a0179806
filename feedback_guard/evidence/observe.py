"""Puts together what signals may look at: a contribution, its canonical texts, its vectors."""

from __future__ import annotations

from collections.abc import Mapping

from feedback_guard.contribution import Contribution
from feedback_guard.embedding.interface import Vectors
from feedback_guard.signals.interface import Observation
from feedback_guard.text.canonical import CanonicalText, canonicalise


def canonical_texts(contribution: Contribution) -> dict[str, CanonicalText]:
    """Bring each running text of a contribution into canonical form, by field.

    Raises
    ------
    ContributionError
        If a text cannot be brought into canonical form.
    """
    return {name: canonicalise(text) for name, text in contribution.texts.items()}


def observe(
    contribution: Contribution,
    vectors: Mapping[str, Vectors],
    texts: Mapping[str, CanonicalText] | None = None,
) -> Observation:
    """Make an observation.

    Parameters
    ----------
    contribution
        As it was offered.
    vectors
        Unit vectors of its canonical texts, by field, rounded to half precision; empty if it could not be embedded.
    texts
        Canonical texts by field, if the caller already has them; otherwise they are made here.

    Raises
    ------
    ContributionError
        If a text cannot be brought into canonical form.
    """
    if texts is None:
        texts = canonical_texts(contribution)
    return Observation(contribution, dict(texts), dict(vectors))
