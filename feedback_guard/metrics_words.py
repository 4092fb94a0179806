"""The closed sets that labels of metrics take their values from. Anything else is counted as `other`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from feedback_guard.contribution import Kind
from feedback_guard.errors import Refused
from feedback_guard.store.states import Delivery
from feedback_guard.verdict import Decision

OTHER: Final = "other"
"""Label value of whatever is not in its closed set."""
DIRECT: Final = "direct"
"""Label value of contributions that came through no route."""
STAGES: Final = ("limits", "text", "embedding", "assess", "record", "total")
"""Stages of the way of a contribution, as `feedback_guard_stage_seconds` names them."""
QUEUES: Final = ("embedding", "writer")
OUTCOMES: Final = (
    "accepted",
    "held",
    "limited",
    "refused",
    "repeated",
    "in_flight",
    "bad_input",
    "unavailable",
    "aborted",
    "passed",
)
"""How a request to a guarded route ended."""
RECEIPTS: Final = (
    "valid",
    "replaced",
    *(reason.value for reason in Refused),
    "issued",
    "unnamed",
    "unreadable",
    "too_large",
    "unsigned",
)
"""What became of a receipt that feedback came with, and of one that a served answer was to have."""
REDIS_OUTCOMES: Final = ("refused", "room", "unknown", "failed", "skipped")
"""What comes of a lookup in Redis: a refusal, room, no copies, no answer, not asked."""
PARTS: Final = (
    "limits",
    "text",
    "embedding",
    "disagreement",
    "novelty",
    "anomaly",
    "near_duplicate",
    "obfuscation",
    "signals",
    "drift",
    "scoring",
    "fold",
    "assess",
    "store",
    "learning",
    "identity",
    "extract",
    "answer",
    "delivery",
    "receipt",
)
"""Parts of the guard that may fail."""
UPSTREAM: Final = ("unreachable", "busy", "lost", "timeout")
"""How the application behind a gateway fails: no connection; too many; one that ended before its answer; no answer in
time. It is no failure of the guard."""
KINDS: Final = tuple(kind.value for kind in Kind)
DECISIONS: Final = tuple(decision.value for decision in Decision)
CAMPAIGN_DECISIONS: Final = ("approve", "deny")
NEWCOMERS: Final = ("taken", "waiting")
FACETS: Final = ("word", "pair", "shape", "habit", "region", "radius", "served")
"""Kinds of facets that come with the guard; those that packages offer count as `other`."""
DELIVERIES: Final = tuple(state.value for state in Delivery)


def known(value: str, allowed: Iterable[str]) -> str:
    """The value if it is one of a closed set, else `other`."""
    return str(value) if value in allowed else OTHER
