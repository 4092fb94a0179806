"""What moderators ask the store beyond the items themselves: who decided what, and what else a contributor sent."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, func, select

from feedback_guard.ledger.canonical import canonical_json
from feedback_guard.review import bounds
from feedback_guard.review.words import counted
from feedback_guard.store.records import StoredSubmission
from feedback_guard.store.states import Delivery, Learning
from feedback_guard.store.tables import contribution, ledger

_KINDS = (Learning.APPROVED.value, Learning.DENIED.value)
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision on a submission, as the ledger has it.

    Parameters
    ----------
    seq
        Position in the ledger of its first entry.
    submission
        What was decided on.
    contribution
        One of the contributions that it moved.
    """

    seq: int
    at_us: int
    submission: str
    contribution: str
    decision: Learning
    moderator: str
    note: str


@dataclass(frozen=True, slots=True)
class History:
    """What else came from a contributor lately: counts by state, among the last `bounds.RECENT` contributions."""

    counts: dict[Learning, int] = field(default_factory=dict)

    def sentence(self) -> str:
        """The counts in words.

        Examples
        --------
        >>> History({Learning.ACCEPTED: 4, Learning.HELD: 1}).sentence()
        'Among the last 2,000 contributions 5 others are by this contributor: 4 accepted, 1 held.'
        """
        total = sum(self.counts.values())
        if not total:
            return f"No other contribution by this contributor among the last {bounds.RECENT:,}."
        parts = ", ".join(f"{self.counts[state]:,} {state.value}" for state in Learning if self.counts.get(state))
        verb = counted(total, "other is", "others are")
        return f"Among the last {bounds.RECENT:,} contributions {verb} by this contributor: {parts}."


def histories(connection: Connection, contributors: Iterable[str], apart_from: str) -> dict[str, History]:
    """What else came from some contributors lately, without the submission that is being looked at.

    The payload is canonical JSON: its keys are sorted, and quotes within a text are escaped. So the first
    `"contributor":` is the contribution's own, whatever its texts and metadata hold.
    """
    recent = (
        select(contribution.c.learning, contribution.c.payload, contribution.c.submission)
        .order_by(contribution.c.submission.desc())
        .limit(bounds.RECENT)
        .subquery()
    )
    position = func.instr if connection.dialect.name == "sqlite" else func.strpos
    key = position(recent.c.payload, '"contributor":')
    out: dict[str, History] = {}
    for name in dict.fromkeys(contributors):
        exact = position(recent.c.payload, f'"contributor":{canonical_json(name)}')
        rows = connection.execute(
            select(recent.c.learning, func.count())
            .where(exact == key, exact > 0, recent.c.submission != apart_from)
            .group_by(recent.c.learning)
        )
        out[name] = History({Learning(learning): count for learning, count in rows})
    return out


def decisions(connection: Connection, limit: int, below: int | None) -> list[Decided]:
    """The last decisions, newest first.

    Parameters
    ----------
    limit
        At most so many submissions.
    below
        Only ledger entries before this one. At most `bounds.WINDOW` entries are looked through.
    """
    out: list[Decided] = []
    for entry in _walk(connection, below):
        if out and _same(out[-1], entry):
            out[-1] = entry
        elif len(out) == limit:
            break
        else:
            out.append(entry)
    return out


def decisions_on(connection: Connection, stored: StoredSubmission) -> list[Decided]:
    """All decisions on one submission, oldest first."""
    ids = [item.contribution.id for item in stored.contributions]
    rows = connection.execute(
        select(ledger).where(ledger.c.subject.in_(ids), ledger.c.kind.in_(_KINDS)).order_by(ledger.c.seq).limit(_CHUNK)
    )
    out: list[Decided] = []
    for entry in map(_decided, rows):
        if not (out and _same(out[-1], entry)):
            out.append(entry)
    return out


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a request on its way to the application, as the ledger has it.

    Parameters
    ----------
    to
        Where it came to stand.
    status
        The application's, if it answered.
    moderator, note
        Whoever decided it; empty where nobody did.
    attempt
        Number of the claim, where the step is one.
    retried
        Whether it was let through again by itself.
    """

    at_us: int
    to: Delivery
    status: int | None
    moderator: str
    note: str
    attempt: int | None
    retried: bool


def steps_of(connection: Connection, submission: str) -> list[Step]:
    """The last `bounds.STEPS` steps of a request, oldest first."""
    rows = connection.execute(
        select(ledger)
        .where(ledger.c.subject == submission, ledger.c.kind == "delivery")
        .order_by(ledger.c.seq.desc())
        .limit(bounds.STEPS)
    ).all()
    return [_step(row) for row in reversed(rows)]


def _step(row: Row[Any]) -> Step:
    body = json.loads(row.body)
    to = Delivery(body["to"])
    return Step(
        at_us=row.at_us,
        to=to,
        status=body.get("status"),
        moderator=body.get("moderator", ""),
        note=body.get("note", ""),
        attempt=body.get("fence") if to is Delivery.DISPATCHING else None,
        retried="retry" in body,
    )


def _walk(connection: Connection, below: int | None) -> Iterator[Decided]:
    """Ledger entries of decisions, newest first, a chunk at a time."""
    top = below if below is not None else (connection.execute(select(func.max(ledger.c.seq))).scalar() or 0) + 1
    bottom = top - bounds.WINDOW
    while top > bottom:
        rows = connection.execute(
            select(ledger)
            .where(ledger.c.seq < top, ledger.c.seq >= bottom, ledger.c.kind.in_(_KINDS))
            .order_by(ledger.c.seq.desc())
            .limit(_CHUNK)
        ).all()
        yield from map(_decided, rows)
        if len(rows) < _CHUNK:
            return
        top = rows[-1].seq


def _same(first: Decided, second: Decided) -> bool:
    """Whether two entries are of one decision: it moves every contribution of a submission, one entry each."""
    return (first.submission, first.at_us, first.decision) == (second.submission, second.at_us, second.decision)


def _decided(row: Row[Any]) -> Decided:
    body = json.loads(row.body)
    return Decided(
        seq=row.seq,
        at_us=row.at_us,
        submission=body["submission"],
        contribution=row.subject,
        decision=Learning(row.kind),
        moderator=body["moderator"],
        note=body["note"],
    )
