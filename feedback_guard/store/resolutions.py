"""What a moderator says about a request that did not plainly arrive: compare-and-swap on the version she saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import bindparam, select

from feedback_guard.errors import TransitionError, UsageError
from feedback_guard.store import tables
from feedback_guard.store.decisions import MAX_NOTE_CHARS, read_submission
from feedback_guard.store.deliveries import find, move
from feedback_guard.store.group import Group
from feedback_guard.store.records import StoredSubmission
from feedback_guard.store.states import RESOLUTIONS, Delivery, Learning, Resolution

_C: Final = tables.contribution.c
_BARRED: Final = (Learning.DENIED.value, Learning.HELD.value, Learning.WITHDRAWN.value)
_UNAPPROVED: Final = select(_C.id).where(_C.submission == bindparam("which"), _C.learning.in_(_BARRED)).limit(1)


@dataclass(frozen=True, slots=True)
class Resolved:
    """A resolution: which, by whom, why, on what version, when."""

    resolution: Resolution
    moderator: str
    note: str
    version: int | None
    now_us: int


def resolve(group: Group, submission_id: str, resolved: Resolved) -> StoredSubmission:
    """See `Transaction.resolve`."""
    if not resolved.moderator:
        raise UsageError("a resolution names the moderator who made it")
    if len(resolved.note) > MAX_NOTE_CHARS:
        raise UsageError(f"a note has at most {MAX_NOTE_CHARS} characters, not {len(resolved.note)}")
    row = find(group, submission_id)
    if resolved.version is not None and resolved.version != row.version:
        raise TransitionError(
            f"submission {submission_id} is at version {row.version} by now, not {resolved.version}; look at it again"
        )
    before = Delivery(row.delivery)
    to = RESOLUTIONS.get(before, {}).get(resolved.resolution)
    if to is None:
        ways = ", ".join(way.value for way in RESOLUTIONS.get(before, {})) or "none"
        raise TransitionError(
            f"submission {submission_id} is {before.value}; {resolved.resolution.value} is no way on from there, "
            f"there is: {ways}"
        )
    if to is Delivery.APPROVED:
        if not row.kept or row.request is None:
            raise TransitionError(f"submission {submission_id} has no kept request that could be sent again")
        if group.connection.execute(_UNAPPROVED, {"which": submission_id}).first() is not None:
            raise TransitionError(f"submission {submission_id} is denied; approve it before it is sent again")
    move(
        group,
        row,
        to,
        now_us=resolved.now_us,
        detail={"moderator": resolved.moderator, "was": before.value},
        told={"resolution": resolved.resolution.value, "moderator": resolved.moderator, "note": resolved.note},
    )
    stored = read_submission(group.connection, submission_id)
    if stored is None:
        raise TransitionError(f"there is no submission {submission_id!r}")
    return stored
