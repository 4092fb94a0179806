"""What a page offers to do, as tokens that are good for that alone.

A token to approve names the item, its version and its content, and is given out only where everything that the item
holds has been shown. The address of a later sheet of the full text carries the token of the one before it, so the
last sheet, and with it the approval, is reached only through all the others.
"""

from __future__ import annotations

from dataclasses import dataclass

from feedback_guard.review import csrf
from feedback_guard.review.sessions import Session
from feedback_guard.review.views import content_sha256, may
from feedback_guard.review.ways import Way, ways
from feedback_guard.store.records import StoredSubmission
from feedback_guard.store.states import Resolution


@dataclass(frozen=True, slots=True)
class Offers:
    """The decisions that a page offers; a token is empty where one is not offered."""

    approve: str
    deny: str
    content: str
    ways: tuple[tuple[Way, str], ...] = ()
    """Ways on for the request, each with its token."""


def offers(session: Session, stored: StoredSubmission, *, own: bool, all_shown: bool) -> Offers:
    """The decisions to offer.

    Parameters
    ----------
    session
        Who is looking.
    stored
        At what.
    own
        Whether it came from herself; then nothing is offered.
    all_shown
        Whether this page is the end of everything that the item holds.
    """
    content = content_sha256(stored)

    def token(*, approve: bool) -> str:
        if own or not may(stored, approve=approve):
            return ""
        return session.token(ruling(stored.id, stored.version, content, approve=approve))

    return Offers(
        token(approve=True) if all_shown else "",
        token(approve=False),
        content,
        ()
        if own
        else tuple(
            (way, session.token(going_on(stored.id, stored.version, content, way.resolution))) for way in ways(stored)
        ),
    )


def ruling(item: str, version: int, content: str, *, approve: bool) -> str:
    """Purpose of a token that decides."""
    return f"{'approve' if approve else 'deny'}/{item}/{version}/{content}"


def going_on(item: str, version: int, content: str, resolution: Resolution) -> str:
    """Purpose of a token that goes a way on."""
    return f"{resolution.value}/{item}/{version}/{content}"


def sheet_token(session: Session, stored: StoredSubmission, content: str, number: int) -> str:
    """What proves that a sheet of the full text was given out to this session."""
    return session.token(_sheet(stored, content, number))


def saw_sheet(session: Session, stored: StoredSubmission, content: str, number: int, offered: str) -> bool:
    """Whether that is proven."""
    return csrf.matches(session.key, _sheet(stored, content, number), offered)


def _sheet(stored: StoredSubmission, content: str, number: int) -> str:
    return f"sheet/{stored.id}/{stored.version}/{content}/{number}"
