"""Questions to the record. Each looks at one state of the database and changes nothing."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection, Select, bindparam, case, func, select, text, tuple_

from feedback_guard.errors import StoreError
from feedback_guard.ledger.chain import GENESIS, Checkpoint, Entry
from feedback_guard.settings import MAX_REVIEW_PAGE
from feedback_guard.store import tables
from feedback_guard.store.handover import TELLING, WORDED, event
from feedback_guard.store.records import Event, HeldSummary, KeptRequests, StoredContribution, StoredSubmission
from feedback_guard.store.rows import SUBMISSIONS, AnyRow, stored_contribution, stored_submission
from feedback_guard.store.states import Delivery

_S: Final = tables.submission.c
_C: Final = tables.contribution.c
_L: Final = tables.ledger.c
_CONTRIBUTION: Final = select(tables.contribution).where(_C.id == bindparam("which"))
_OF: Final = (
    select(tables.contribution)
    .where(_C.submission.in_(bindparam("which", expanding=True)))
    .order_by(_C.submission, _C.position)
)
_EVENTS: Final = (
    select(
        _L.seq,
        _L.kind,
        _L.at_us.label("event_us"),
        _L.subject,
        case((_L.kind.in_(WORDED), _L.body)).label("ruling"),
        tables.contribution,
    )
    .outerjoin(tables.contribution, (_C.id == _L.subject) & _L.kind.in_(TELLING))
    .order_by(_L.seq)
)
_AFTER: Final = _EVENTS.where(_L.seq > bindparam("seq")).limit(bindparam("most"))
_LAST: Final = _EVENTS.where(_L.seq == select(func.max(_L.seq)).scalar_subquery())
_HISTORY: Final = (
    select(tables.ledger).where(_L.subject == bindparam("which")).order_by(_L.seq).limit(bindparam("most"))
)
_HEAD: Final = select(_L.seq, _L.hash).order_by(_L.seq.desc()).limit(1)
_WAITING: Final = SUBMISSIONS.where(_S.waiting == 1)
_STUCK: Final = SUBMISSIONS.where(text(f"({tables.STUCK})"))
_R: Final = tables.replay.c
_KEPT: Final = (
    select(_R.application, _S.route, _S.delivery, func.count())
    .join(tables.submission, _S.id == _R.submission)
    .where(_S.delivery.in_((Delivery.HELD.value, Delivery.APPROVED.value)))
    .group_by(_R.application, _S.route, _S.delivery)
    .order_by(_R.application, _S.route, _S.delivery)
)


def events_after(connection: Connection, seq: int, limit: int) -> list[Event]:
    """At most `limit` events after position `seq`, oldest first."""
    return [_event(row) for row in connection.execute(_AFTER, {"seq": seq, "most": limit})]


def last_event(connection: Connection) -> Event | None:
    """The newest event; None while the ledger is empty."""
    row = connection.execute(_LAST).one_or_none()
    return None if row is None else _event(row)


def history(connection: Connection, subject: str, limit: int) -> list[Entry]:
    """Ledger entries about one contribution or submission, oldest first."""
    return [Entry(**row._mapping) for row in connection.execute(_HISTORY, {"which": subject, "most": limit})]


def head(connection: Connection, at_us: int) -> Checkpoint:
    """The end of the ledger."""
    row = connection.execute(_HEAD).one_or_none()
    return Checkpoint(0, GENESIS, at_us) if row is None else Checkpoint(row.seq, row.hash, at_us)


def contribution(connection: Connection, contribution_id: str) -> StoredContribution | None:
    """A contribution; None if there is none of that name."""
    row = connection.execute(_CONTRIBUTION, {"which": contribution_id}).one_or_none()
    return None if row is None else stored_contribution(row)


def held(connection: Connection, limit: int, after: str | None) -> list[StoredSubmission]:
    """Submissions that wait for a moderator, oldest first.

    Parameters
    ----------
    limit
        Most submissions, at most `settings.MAX_REVIEW_PAGE`.
    after
        The last submission of the page before. It may have been decided on meanwhile.
    """
    return _page(connection, _WAITING, limit, after)


def stuck(connection: Connection, limit: int, after: str | None) -> list[StoredSubmission]:
    """Submissions whose request did not plainly arrive and waits for a moderator's word, oldest first.

    That is what is `UNKNOWN`, and what is `FAILED` or `NEEDS_CREDENTIALS` and could be sent again; parameters as for
    `held`.
    """
    return _page(connection, _STUCK, limit, after)


def count_stuck(connection: Connection) -> int:
    """How many there are of them."""
    return int(
        connection.execute(
            select(func.count()).select_from(tables.submission).where(text(f"({tables.STUCK})"))
        ).scalar_one()
    )


def _page(
    connection: Connection, query: Select[*tuple[Any, ...]], limit: int, after: str | None
) -> list[StoredSubmission]:
    if after is not None:
        place = connection.execute(select(_S.at_us, _S.id).where(_S.id == after)).one_or_none()
        if place is None:
            raise StoreError(f"there is no submission {after!r} to go on from; begin with the first page")
        query = query.where(tuple_(_S.at_us, _S.id) > tuple_(place.at_us, place.id))
    ordered = query.order_by(_S.at_us, _S.id).limit(bindparam("most"))
    rows = connection.execute(ordered, {"most": max(0, min(limit, MAX_REVIEW_PAGE))}).all()
    of: dict[str, list[AnyRow]] = {row.id: [] for row in rows}
    if of:
        for item in connection.execute(_OF, {"which": list(of)}):
            of[item.submission].append(item)
    return [stored_submission(row, of[row.id]) for row in rows]


def held_summary(connection: Connection) -> HeldSummary:
    """How many submissions wait for a moderator, and since when."""
    count, oldest = connection.execute(select(func.count(), func.min(_S.at_us)).where(_S.waiting == 1)).one()
    return HeldSummary(int(count), oldest)


def count_by_delivery(connection: Connection) -> dict[Delivery, int]:
    """Number of submissions in each state of delivery that has any."""
    rows = connection.execute(select(_S.delivery, func.count()).group_by(_S.delivery))
    return {Delivery(row[0]): int(row[1]) for row in rows}


def kept_requests(connection: Connection) -> list[KeptRequests]:
    """Number of requests that are held, or approved and wait, by whom they are for."""
    return [
        KeptRequests(application, route, delivery == Delivery.APPROVED.value, int(count))
        for application, route, delivery, count in connection.execute(_KEPT)
    ]


def _event(row: AnyRow) -> Event:
    values = row._mapping
    stored = None if values[_C.id] is None else stored_contribution(row)
    return event(values["seq"], values["kind"], values["event_us"], stored, values["subject"], values["ruling"])
