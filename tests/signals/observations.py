"""Short ways to an observation."""

from __future__ import annotations

from dataclasses import replace

from feedback_guard.contribution import Contribution, Kind
from feedback_guard.embedding.interface import Vectors
from feedback_guard.evidence.observe import observe
from feedback_guard.signals import material
from feedback_guard.signals.interface import Observation


def label(text: str, taught: str, vectors: Vectors | None = None) -> Observation:
    """A label, with made-up vectors unless some are given."""
    made = Contribution("c", 0, "somebody", Kind.LABEL, text, taught)
    return observe(made, {"input": material.embed(text) if vectors is None else vectors})


def honest(kind: Kind, n: int, *, seed: int) -> list[Observation]:
    """Made-up honest observations of one kind."""
    return material.stream((kind,), n, seed=seed)


def taught(observation: Observation, **fields: object) -> Observation:
    """The same with something else taught; vectors follow the texts."""
    return material.observation(replace(observation.contribution, **fields))  # type: ignore[arg-type]
