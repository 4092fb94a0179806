"""A submission as a page shows it: what it would teach, field by field, why it is held, and where it stands.

A long submission is cut into sheets. The page of the item shows the beginning of each text; an approval is offered
only where everything has been shown: on that page if nothing was cut, otherwise on the last sheet.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

from feedback_guard.contribution import Contribution
from feedback_guard.review import words
from feedback_guard.review.display import PREVIEW_CHARS, PREVIEW_LINES, Shown, show
from feedback_guard.store.records import StoredContribution, StoredSubmission
from feedback_guard.store.states import DELIVERY, LEARNING, Delivery, Learning
from feedback_guard.verdict import Reason

SHEET_CHARS = 20_000
"""Characters on one sheet of the full view."""
REASON_CHARS = 1_000
"""Characters of a reason's message."""

_TAUGHT = ("input", "label", "output", "rating", "chosen", "rejected")
_NAMES = frozenset({"label", "rating", "interaction", "model"})


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a contribution.

    Parameters
    ----------
    name
        As a moderator knows it. For metadata it was chosen by the application, for groups by the policy.
    text
        As it was sent.
    taught
        Whether a model would learn it; the other fields only accompany it.
    short
        Whether it is a name rather than running text.
    """

    name: str
    text: str
    taught: bool
    short: bool


@dataclass(frozen=True, slots=True)
class ShownField:
    """A field ready for a page; `more` counts the characters that were left off."""

    name: str
    shown: Shown
    taught: bool
    short: bool


@dataclass(frozen=True, slots=True)
class ShownReason:
    """A reason in words."""

    heading: str
    message: Shown
    odds: str
    facet: Shown | None


@dataclass(frozen=True, slots=True)
class ShownContribution:
    """A contribution ready for a page."""

    number: int
    id: Shown
    kind: str
    contributor: Shown
    groups: tuple[tuple[Shown, Shown], ...]
    learning: str
    suspicion: str
    odds: str
    unscored: bool
    fields: tuple[ShownField, ...]
    reasons: tuple[ShownReason, ...]
    policy: str
    baseline: str | None


def fields_of(contribution: Contribution) -> Iterator[Field]:
    """Everything that a contribution carries besides who sent it and when."""
    for name in _TAUGHT:
        value = getattr(contribution, name)
        if value is not None:
            text = f"{value:g}" if isinstance(value, float) else str(value)
            yield Field(name, text, taught=True, short=name in _NAMES)
    for name in ("interaction", "model"):
        value = getattr(contribution, name)
        if value is not None:
            yield Field(name, value, taught=False, short=True)
    if contribution.metadata:
        text = json.dumps(dict(contribution.metadata), ensure_ascii=False, indent=1)
        yield Field("metadata", text, taught=False, short=False)


def present(stored: StoredSubmission) -> tuple[list[ShownContribution], int]:
    """The contributions of a submission with the beginning of each text, and how many characters were left off."""
    out: list[ShownContribution] = []
    left_off = 0
    for number, item in enumerate(stored.contributions, 1):
        fields = tuple(
            ShownField(
                field.name,
                show(field.text, max_chars=PREVIEW_CHARS, max_lines=PREVIEW_LINES, identifier=field.short),
                field.taught,
                field.short,
            )
            for field in fields_of(item.contribution)
        )
        left_off += sum(field.shown.more_chars for field in fields)
        out.append(_contribution(number, item, fields))
    return out, left_off


def _contribution(number: int, item: StoredContribution, fields: tuple[ShownField, ...]) -> ShownContribution:
    verdict, contribution = item.verdict, item.contribution
    return ShownContribution(
        number=number,
        id=show(contribution.id, identifier=True),
        kind=contribution.kind.value,
        contributor=show(contribution.contributor, identifier=True),
        groups=tuple(
            (show(name, identifier=True), show(value, identifier=True))
            for name, value in sorted(contribution.groups.items())
        ),
        learning=item.learning.value,
        suspicion=words.suspicion(verdict.suspicion),
        odds=words.odds(1.0 - verdict.suspicion),
        unscored=verdict.unscored,
        fields=fields,
        reasons=tuple(_reason(reason) for reason in verdict.reasons),
        policy=verdict.policy,
        baseline=verdict.baseline,
    )


def _reason(reason: Reason) -> ShownReason:
    return ShownReason(
        heading=words.signal(reason.signal),
        message=show(reason.message, max_chars=REASON_CHARS),
        odds=words.own_odds(reason.p_value, reason.message),
        facet=show(reason.facet, max_chars=REASON_CHARS, identifier=True) if reason.facet else None,
    )


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of a field on a sheet of the full view."""

    number: int
    field: Field
    begins_at: int
    text: str

    @property
    def shown(self) -> Shown:
        """The stretch ready for a page."""
        return show(self.text, identifier=self.field.short)


def sheets(stored: StoredSubmission, size: int = SHEET_CHARS) -> list[list[Passage]]:
    """Everything that the contributions hold, cut into sheets of at most `size` characters.

    Each character stands on exactly one sheet. There is always at least one sheet.
    """
    out: list[list[Passage]] = [[]]
    room = size
    for number, item in enumerate(stored.contributions, 1):
        for field in fields_of(item.contribution):
            at = 0
            while at == 0 or at < len(field.text):
                if room <= 0:
                    out.append([])
                    room = size
                part = field.text[at : at + room]
                out[-1].append(Passage(number, field, at, part))
                # An empty field takes some room too, so that a sheet holds a bounded number of passages.
                room -= len(part) + 50
                at += len(part)
                if not part:
                    break
    return out


def content_sha256(stored: StoredSubmission) -> str:
    """What a decision is made on: a digest over the contributions and the kept request.

    It does not change when the state does.
    """
    whole = {
        "id": stored.id,
        "route": stored.route,
        "contributions": [item.contribution.to_json() for item in stored.contributions],
        "request": hashlib.sha256(stored.request).hexdigest() if stored.request is not None else None,
    }
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode("ascii")).hexdigest()


def may(stored: StoredSubmission, *, approve: bool) -> bool:
    """Whether a decision would change anything: the first one, or a change of mind that is not too late.

    The store has the last word; this only keeps buttons that would fail off a page.
    """
    to_delivery = Delivery.APPROVED if approve else Delivery.DENIED
    if stored.delivery in (Delivery.HELD, Delivery.APPROVED, Delivery.DENIED) and stored.delivery is not to_delivery:
        return to_delivery in DELIVERY[stored.delivery]
    to_learning = Learning.APPROVED if approve else Learning.DENIED
    return any(to_learning in LEARNING[item.learning] for item in stored.contributions)
