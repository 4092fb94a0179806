"""One line of a list: of what is held, and of what was decided."""

from __future__ import annotations

from dataclasses import dataclass

from feedback_guard.review import words
from feedback_guard.review.display import Shown, excerpt, show
from feedback_guard.review.documents import leading
from feedback_guard.review.queries import Decided, Step
from feedback_guard.store.records import StoredContribution, StoredSubmission
from feedback_guard.store.states import Learning
from feedback_guard.verdict import Decision


@dataclass(frozen=True, slots=True)
class HeldRow:
    """A held item in the list; it is spoken for by its most suspicious contribution."""

    id: str
    at_us: int
    route: str
    kind: str
    others: int
    excerpt: Shown
    target: Shown | None
    contributor: Shown
    suspicion: str
    reason: str
    odds: str


@dataclass(frozen=True, slots=True)
class UndeliveredRow:
    """A request that did not plainly arrive, in the list."""

    id: str
    at_us: int
    route: str
    kind: str
    others: int
    excerpt: Shown
    target: Shown | None
    contributor: Shown
    attempts: int
    delivery: str
    delivery_words: str
    why: Shown | None


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step of a request on its way."""

    at_us: int
    delivery: str
    words: str
    moderator: Shown | None
    note: Shown | None


@dataclass(frozen=True, slots=True)
class DecidedRow:
    """A decision in the list, with what became of the request since."""

    id: str
    at_us: int
    decision: str
    superseded: bool
    moderator: Shown
    note: Shown | None
    kind: str
    others: int
    excerpt: Shown
    target: Shown | None
    delivery: str
    delivery_words: str


def held_row(stored: StoredSubmission) -> HeldRow:
    """The line of a held item."""
    item = leading(stored)
    reason, odds = why_held(item)
    return HeldRow(
        id=stored.id,
        at_us=stored.at_us,
        route=stored.route,
        kind=item.contribution.kind.value,
        others=len(stored.contributions) - 1,
        excerpt=excerpt(item.contribution.input),
        target=_target(item),
        contributor=show(item.contribution.contributor, identifier=True),
        suspicion=words.suspicion(item.verdict.suspicion),
        reason=reason,
        odds=odds,
    )


def why_held(item: StoredContribution) -> tuple[str, str]:
    """The leading reason why a contribution is held, and how odd that is of itself."""
    if item.verdict.decision is Decision.ACCEPT and item.learning is Learning.HELD:
        # What its verdict says of it was no reason to hold it; a campaign that was found later is.
        return words.signal("evidence"), "accepted at first, found later"
    reasons = item.verdict.reasons
    return (words.signal(reasons[0].signal), words.short_odds(reasons[0].p_value)) if reasons else ("", "")


def undelivered_row(stored: StoredSubmission) -> UndeliveredRow:
    """The line of a request that did not plainly arrive."""
    item = leading(stored)
    detail = stored.detail
    why = detail.get("cause") or detail.get("reason") or (f"status {detail['status']}" if "status" in detail else "")
    return UndeliveredRow(
        id=stored.id,
        at_us=stored.at_us,
        route=stored.route,
        kind=item.contribution.kind.value,
        others=len(stored.contributions) - 1,
        excerpt=excerpt(item.contribution.input),
        target=_target(item),
        contributor=show(item.contribution.contributor, identifier=True),
        attempts=stored.attempts,
        delivery=stored.delivery.value,
        delivery_words=words.DELIVERY_WORDS[stored.delivery][0],
        why=show(str(why), max_chars=300) if why else None,
    )


def step_row(step: Step) -> StepRow:
    """The line of a step."""
    text = words.DELIVERY_WORDS[step.to][0]
    if step.attempt:
        text += f", claim {step.attempt}"
    if step.status is not None:
        text += f", status {step.status}"
    if step.retried:
        text = "to be tried again"
    return StepRow(
        at_us=step.at_us,
        delivery=step.to.value,
        words=text,
        moderator=show(step.moderator, identifier=True) if step.moderator else None,
        note=excerpt(step.note) if step.note else None,
    )


def decided_row(entry: Decided, stored: StoredSubmission) -> DecidedRow:
    """The line of a decision."""
    item = next((item for item in stored.contributions if item.contribution.id == entry.contribution), None)
    item = item or leading(stored)
    return DecidedRow(
        id=stored.id,
        at_us=entry.at_us,
        decision=entry.decision.value,
        superseded=item.learning is not entry.decision,
        moderator=show(entry.moderator, identifier=True),
        note=excerpt(entry.note) if entry.note else None,
        kind=item.contribution.kind.value,
        others=len(stored.contributions) - 1,
        excerpt=excerpt(item.contribution.input),
        target=_target(item),
        delivery=stored.delivery.value,
        delivery_words=words.DELIVERY_WORDS[stored.delivery][0],
    )


def _target(item: StoredContribution) -> Shown | None:
    target = item.contribution.target
    return show(target, identifier=True) if target is not None else None
