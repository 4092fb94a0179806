"""The rows of a submission that is about to be recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from feedback_guard.limits.interface import UNIT


class SubmissionRow(NamedTuple):
    """A row of the table `submission`, in the order of its columns."""

    id: str
    route: str
    at_us: int
    anonymous: int
    delivery: str
    version: int
    n_held: int
    waiting: int
    request: bytes | None
    worker: str
    moved_us: int
    detail: str | None


class Objects(NamedTuple):
    """What the JSON in the row of a contribution says."""

    payload: Mapping[str, Any]
    verdict: Mapping[str, Any]


class ContributionRow(NamedTuple):
    """A row of the table `contribution`, in the order of its columns."""

    id: str
    submission: str
    position: int
    payload: str
    verdict: str
    decision: str
    learning: str
    weight_micro: int
    suspicion_micro: int
    charged_micro: int
    vectors: bytes


def micro(value: float) -> int:
    """A share of 0..1 in micro-units."""
    return round(value * UNIT)
