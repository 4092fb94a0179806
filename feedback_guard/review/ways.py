"""The ways on from a request that did not plainly arrive, in the words of the people who choose one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from feedback_guard.errors import StoreError, TransitionError
from feedback_guard.review.desk import Desk
from feedback_guard.review.rulings import NOTHING_TO_SEND, examine, late, unavailable
from feedback_guard.store.records import StoredSubmission
from feedback_guard.store.states import RESOLUTIONS, Delivery, Learning, Resolution


@dataclass(frozen=True, slots=True)
class Way:
    """A way on.

    Parameters
    ----------
    resolution
        Which.
    label
        On its button.
    meaning
        A sentence beside it.
    done
        What is said when it was gone.
    """

    resolution: Resolution
    label: str
    meaning: str
    done: str


WAYS: Final[Mapping[Resolution, Way]] = {
    Resolution.ARRIVED: Way(
        Resolution.ARRIVED,
        "It arrived",
        "You looked in the application, and the effect is there. Nothing is sent.",
        "The request is recorded as delivered.",
    ),
    Resolution.NOT_ARRIVED: Way(
        Resolution.NOT_ARRIVED,
        "It did not, send it again",
        "You looked in the application, and the effect is not there.",
        "The request is sent again.",
    ),
    Resolution.RETRY: Way(
        Resolution.RETRY,
        "Send it again",
        "What stood in its way is gone. If the application may have done a part of it, look there first.",
        "The request is sent again.",
    ),
    Resolution.GIVE_UP: Way(
        Resolution.GIVE_UP,
        "Give it up",
        "It is not sent again, and credentials kept for it are erased. What the model may learn stays as it is.",
        "The request is given up.",
    ),
}
"""Each resolution in words."""


def ways(stored: StoredSubmission) -> list[Way]:
    """The ways on that an item has now. The store has the last word; this keeps off what would fail."""
    found = RESOLUTIONS.get(stored.delivery, {})
    return [way for resolution, way in WAYS.items() if resolution in found and not _barred(stored, found[resolution])]


def _barred(stored: StoredSubmission, to: Delivery) -> str:
    """Why a request cannot be sent again; empty if it can, or is not to be."""
    if to is not Delivery.APPROVED:
        return ""
    if stored.request is None:
        return NOTHING_TO_SEND
    if any(item.learning in {Learning.DENIED, Learning.HELD, Learning.WITHDRAWN} for item in stored.contributions):
        return "It is denied. Approve it before it is sent again."
    return ""


def why_not(stored: StoredSubmission) -> str:
    """Why the request of an item cannot be sent again although its state would allow it; empty if it can."""
    barred = [_barred(stored, to) for to in RESOLUTIONS.get(stored.delivery, {}).values()]
    return next((reason for reason in barred if reason), "")


async def go_on(
    desk: Desk,
    submission_id: str,
    resolution: Resolution,
    *,
    moderator: str,
    note: str = "",
    version: int | None = None,
    content: str | None = None,
) -> StoredSubmission:
    """Go a way on, under the rules of a decision; parameters as for `rulings.rule`.

    Raises
    ------
    Refused
        404 there is no such item; 403 it is her own; 409 it changed meanwhile, or that is no way on from where it is;
        422 the note is too long; 503 the store did not take it.
    """
    try:
        stored = await examine(desk, submission_id, moderator=moderator, note=note, version=version, content=content)
        to = RESOLUTIONS.get(stored.delivery, {}).get(resolution)
        if to is None:
            open_ways = ", ".join(way.resolution.value for way in ways(stored)) or "none"
            raise late(f"The request is {stored.delivery.value.replace('_', ' ')}; ways on from there: {open_ways}.")
        if reason := _barred(stored, to):
            raise late(reason)
        return await desk.resolve(submission_id, resolution, moderator=moderator, note=note, version=version)
    except TransitionError:
        raise late() from None
    except StoreError:
        raise unavailable() from None
