"""The rows of a submission that is about to be recorded, with the objects that their JSON was made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pydantic import JsonValue

from feedback_guard.ledger.canonical import MAX_INTEGER, canonical_json
from feedback_guard.limits.interface import UNIT
from feedback_guard.store.records import Judged
from feedback_guard.verdict import Verdict

_encode: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


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


def new_row(judged: Judged, submission: str, position: int) -> tuple[ContributionRow, Objects]:
    """The row of a contribution that was just judged, and the objects that its JSON was made of."""
    contribution, verdict = judged.contribution, judged.verdict
    weight = micro(verdict.weight)
    objects = Objects(contribution.to_json(), verdict_object(verdict))
    row = ContributionRow(
        contribution.id,
        submission,
        position,
        payload_text(objects.payload),
        _encode(objects.verdict),
        verdict.decision.value,
        judged.learning.value,
        weight,
        micro(verdict.suspicion),
        weight,
        judged.vectors,
    )
    return row, objects


def payload_text(payload: Mapping[str, JsonValue]) -> str:
    """A contribution as canonical JSON."""
    rating = payload.get("rating")
    if isinstance(rating, float) and rating.is_integer() and abs(rating) <= MAX_INTEGER:
        # Canonical JSON writes such a number as an integer, and integers are written several times as fast.
        payload = {**payload, "rating": int(rating)}
    return canonical_json(payload)


def verdict_object(verdict: Verdict) -> dict[str, Any]:
    """A verdict as it is stored: the contract's JSON object and what only the guard needs."""
    return verdict.to_json() | {
        "retry_after_us": verdict.retry_after_us,
        "observed": verdict.observed,
        "unscored": verdict.unscored,
    }


def micro(value: float) -> int:
    """A share of 0..1 in micro-units."""
    return round(value * UNIT)
