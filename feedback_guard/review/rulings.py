"""The rules of a decision, whichever way it is made: by a page, by the JSON API, or on the command line.

1. Nobody decides on what came from her own name.
2. A decision is made on one version of the item, and on the content that was shown.
3. What has happened since is not overwritten: whoever is late is told so.
"""

from __future__ import annotations

import asyncio
import re

from feedback_guard.errors import StoreError, TransitionError
from feedback_guard.names import same_person
from feedback_guard.review import bounds
from feedback_guard.review.desk import Desk
from feedback_guard.review.problems import Refused
from feedback_guard.review.views import content_sha256
from feedback_guard.store.records import StoredSubmission

_ITEM = re.compile(rf"[A-Za-z0-9_-]{{1,{bounds.MAX_ID_CHARS}}}")
NO_ITEM = "There is no such item."
LATE = "Somebody was faster"
NOTHING_TO_SEND = "The request is not kept, so it cannot be sent again: only what was held is."


def is_item_id(text: str) -> bool:
    """Whether a text can be an item's identifier at all."""
    return _ITEM.fullmatch(text) is not None


async def find(desk: Desk, submission_id: str) -> StoredSubmission:
    """Find an item.

    Raises
    ------
    Refused
        With 404 if there is none.
    """
    stored = await asyncio.to_thread(desk.store.submission, submission_id) if is_item_id(submission_id) else None
    if stored is None:
        raise Refused(404, NO_ITEM)
    return stored


def is_own(stored: StoredSubmission, moderator: str) -> bool:
    """Whether an item came from the moderator herself."""
    return any(same_person(item.contribution.contributor, moderator) for item in stored.contributions)


async def rule(
    desk: Desk,
    submission_id: str,
    *,
    approve: bool,
    moderator: str,
    note: str = "",
    version: int | None = None,
    content: str | None = None,
) -> StoredSubmission:
    """Make a decision.

    Parameters
    ----------
    desk
        Where.
    submission_id
        The item.
    approve
        True approves, False denies.
    moderator
        Who decides; stands in the ledger.
    note
        Stands in the ledger; at most `bounds.MAX_NOTE_CHARS` code points.
    version
        The version that the decision is made on; None means the present one.
    content
        `content_sha256` of what the moderator saw; None leaves it unchecked.

    Raises
    ------
    Refused
        404 there is no such item; 403 it is her own; 409 it changed meanwhile, or the decision cannot follow its
        state; 422 the note is too long; 503 the store did not take it.
    """
    try:
        await examine(desk, submission_id, moderator=moderator, note=note, version=version, content=content)
        return await desk.decide(submission_id, approve=approve, moderator=moderator, note=note, version=version)
    except TransitionError:
        raise late() from None
    except StoreError:
        raise unavailable() from None


def check_note(note: str) -> None:
    """Refuse a note that is too long, or no text.

    Raises
    ------
    Refused
        With 422.
    """
    if len(note) > bounds.MAX_NOTE_CHARS:
        raise Refused(422, f"A note has at most {bounds.MAX_NOTE_CHARS:,} characters.")
    if any("\ud800" <= char <= "\udfff" for char in note):
        raise Refused(422, "The note holds half of a character (a lone surrogate).")


async def examine(
    desk: Desk, submission_id: str, *, moderator: str, note: str, version: int | None, content: str | None
) -> StoredSubmission:
    """Find an item, and refuse what no decision on it may be; parameters as for `rule`.

    Raises
    ------
    Refused
        404 there is no such item; 403 it is her own; 409 it changed meanwhile; 422 the note is too long.
    """
    check_note(note)
    stored = await find(desk, submission_id)
    if is_own(stored, moderator):
        raise Refused(
            403, "It came from your own name. Somebody else has to decide.", title="Not on your own contribution"
        )
    if content is not None and content != content_sha256(stored):
        raise late("Its content is not what the decision was made on. Look at it again.")
    if version is not None and version != stored.version:
        raise late("It changed after you opened it. Look at it again, then decide.")
    return stored


def late(
    detail: str = "It changed after you opened it, or that decision is no longer possible. Look at it again.",
) -> Refused:
    """What has happened since is not overwritten."""
    return Refused(409, detail, title=LATE)


def unavailable() -> Refused:
    """Nothing changed."""
    return Refused(
        503, "The store did not take the decision: nothing changed. Try again.", headers={"Retry-After": "5"}
    )
