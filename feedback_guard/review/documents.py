"""A submission as JSON: for the API, for the plain view, and for the command line."""

from __future__ import annotations

from typing import Any

from feedback_guard.clock import format_iso8601
from feedback_guard.review.views import content_sha256
from feedback_guard.review.ways import ways
from feedback_guard.store.records import StoredContribution, StoredSubmission
from feedback_guard.store.states import Learning


def leading(stored: StoredSubmission) -> StoredContribution:
    """The contribution that speaks most against its submission: the most suspicious of those that are held."""
    held = [item for item in stored.contributions if item.learning is Learning.HELD]
    return max(held or stored.contributions, key=lambda item: item.verdict.suspicion)


def item_document(stored: StoredSubmission) -> dict[str, Any]:
    """Everything about a submission except the kept request, which may hold credentials."""
    return {
        **_head(stored),
        "content_sha256": content_sha256(stored),
        "request_bytes": len(stored.request) if stored.request is not None else None,
        "detail": dict(stored.detail),
        "attempts": stored.attempts,
        "next_attempt_at": format_iso8601(stored.due_us) if stored.due_us else None,
        "credentials_kept": stored.has_credentials,
        "ways_on": [way.resolution.value for way in ways(stored)],
        "contributions": [
            {
                "contribution": item.contribution.to_json(),
                "verdict": item.verdict.to_json(),
                "unscored": item.verdict.unscored,
                "learning": item.learning.value,
            }
            for item in stored.contributions
        ],
    }


def row_document(stored: StoredSubmission) -> dict[str, Any]:
    """A submission in a list: when, where, who, how suspicious, and why."""
    item = leading(stored)
    return {
        **_head(stored),
        "contributions": len(stored.contributions),
        "kind": item.contribution.kind.value,
        "contributor": item.contribution.contributor,
        "suspicion": item.verdict.suspicion,
        "reason": item.verdict.reasons[0].to_json() if item.verdict.reasons else None,
    }


def _head(stored: StoredSubmission) -> dict[str, Any]:
    return {
        "id": stored.id,
        "at": format_iso8601(stored.at_us),
        "route": stored.route,
        "held": stored.held,
        "delivery": stored.delivery.value,
        "version": stored.version,
    }
