"""The way of a request to the application: at most once, and never a state that hides what is not known."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import JsonValue
from sqlalchemy import bindparam, func, select, update

from feedback_guard.errors import TransitionError
from feedback_guard.ledger.canonical import canonical_json
from feedback_guard.store import tables
from feedback_guard.store.group import Group
from feedback_guard.store.records import Claim
from feedback_guard.store.rows import AnyRow, sha256_hex
from feedback_guard.store.states import Delivery, check_delivery

log = logging.getLogger(__name__)

_S: Final = tables.submission.c
_STATE: Final = select(_S.id, _S.delivery, _S.version, _S.worker, _S.n_held).where(_S.id == bindparam("which"))
_MOVE: Final = (
    update(tables.submission)
    .where(_S.id == bindparam("which"), _S.version == bindparam("seen"))
    .values(
        delivery=bindparam("to"),
        version=_S.version + 1,
        n_held=bindparam("held"),
        waiting=bindparam("waits"),
        worker=bindparam("by"),
        moved_us=bindparam("now"),
        detail=bindparam("known"),
    )
)
_APPROVED: Final = (
    select(_S.id, _S.delivery, _S.version, _S.worker, _S.n_held, _S.route, _S.request)
    .where(_S.delivery == Delivery.APPROVED.value, _S.route.in_(bindparam("routes", expanding=True)))
    .where(_S.request.is_not(None))
    .order_by(_S.at_us, _S.id)
    .limit(bindparam("most"))
)
_JUDGED: Final = (
    select(tables.ledger.c.body)
    .join(tables.contribution, tables.contribution.c.id == tables.ledger.c.subject)
    .where(tables.contribution.c.submission == bindparam("which"), tables.contribution.c.position == 0)
    .where(tables.ledger.c.kind == "judged")
)
_LOST: Final = (
    select(_S.id, _S.delivery, _S.version, _S.worker, _S.n_held)
    .outerjoin(tables.worker, tables.worker.c.id == _S.worker)
    .where(_S.delivery == Delivery.DISPATCHING.value, _S.moved_us < bindparam("before"))
    .where(func.coalesce(tables.worker.c.last_us, _S.moved_us) < bindparam("before"))
    .order_by(_S.at_us, _S.id)
)


def move(
    group: Group,
    row: AnyRow,
    to: Delivery,
    *,
    now_us: int,
    worker: str = "",
    detail: Mapping[str, JsonValue] | None = None,
    n_held: int | None = None,
) -> None:
    """Take a submission from the state its row has to another, if nobody was faster, with a ledger entry.

    Parameters
    ----------
    row
        Has `id`, `delivery`, `version`, `worker` and `n_held`.
    worker
        Who dispatches it from now on; by default whoever did.
    n_held
        Contributions that are still held; by default as many as before.
    """
    before = Delivery(row.delivery)
    check_delivery(before, to)
    held = row.n_held if n_held is None else n_held
    known = canonical_json(detail) if detail else None
    moved = group.connection.execute(
        _MOVE,
        {
            "which": row.id,
            "seen": row.version,
            "to": to.value,
            "held": held,
            "waits": int(held > 0 or to is Delivery.HELD),
            "by": worker or row.worker,
            "now": now_us,
            "known": known,
        },
    )
    if moved.rowcount != 1:
        raise TransitionError(f"submission {row.id} was changed by somebody else; look at it again")
    group.append(
        "delivery",
        row.id,
        {
            "from": before.value,
            "to": to.value,
            "worker": worker or row.worker,
            "detail_sha256": None if known is None else sha256_hex(known),
        },
        now_us,
    )


def deliver(group: Group, submission_id: str, to: Delivery, *, now_us: int, detail: Mapping[str, JsonValue]) -> None:
    """See `Transaction.deliver`."""
    row = group.connection.execute(_STATE, {"which": submission_id}).one_or_none()
    if row is None:
        raise TransitionError(f"there is no submission {submission_id!r}")
    move(group, row, to, now_us=now_us, detail=detail)


def claim_approved(group: Group, worker: str, *, now_us: int, limit: int, routes: Sequence[str]) -> list[Claim]:
    """See `Transaction.claim_approved`."""
    if not routes or limit < 1:
        return []
    rows = group.connection.execute(_APPROVED, {"routes": list(routes), "most": limit}).all()
    claims = []
    for row in rows:
        if sha256_hex(bytes(row.request)) != _recorded_digest(group, row.id):
            log.error("the held request of %s is not the one in the ledger; it is not delivered", row.id)
            move(group, row, Delivery.DENIED, now_us=now_us, detail={"reason": "the held request was altered"})
            continue
        move(group, row, Delivery.DISPATCHING, now_us=now_us, worker=worker)
        claims.append(Claim(row.id, row.route, bytes(row.request)))
    return claims


def _recorded_digest(group: Group, submission_id: str) -> str | None:
    """The digest of a submission's request as it was recorded when it arrived."""
    body = group.connection.execute(_JUDGED, {"which": submission_id}).scalar()
    digest = json.loads(body).get("request_sha256") if body else None
    return digest if isinstance(digest, str) else None


def abandon_lost(group: Group, now_us: int, after_us: int) -> list[str]:
    """See `Transaction.abandon_lost`."""
    rows = group.connection.execute(_LOST, {"before": now_us - after_us}).all()
    for row in rows:
        move(
            group, row, Delivery.UNKNOWN, now_us=now_us, detail={"reason": "its process is gone", "worker": row.worker}
        )
    return [row.id for row in rows]
