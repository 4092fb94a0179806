"""Who may give a kept request to the application: one worker, under a numbered claim, for a limited time.

Two workers never have the same request, and a worker of one application never has one of another's. A claim is durable
before the application is called, carries a lease that ends by the store's clock, and has a number, its fence, that
grows with every claim. Whoever lost a lease may still come back, after a pause of the process for instance: its outcome
names an old fence, and is refused.

A lease that ran out says that nobody knows what the application did. The request is `UNKNOWN` then, and only where the
policy declares the application idempotent is it let through once more.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import and_, bindparam, func, or_, select

from feedback_guard.clock import MICROSECONDS
from feedback_guard.errors import FencedError, TransitionError
from feedback_guard.store import tables
from feedback_guard.store.deliveries import find, move, schedule
from feedback_guard.store.group import Group
from feedback_guard.store.records import Claim, Sealed
from feedback_guard.store.retries import Retries
from feedback_guard.store.rows import SUBMISSIONS, sha256_hex
from feedback_guard.store.states import Delivery

log = logging.getLogger(__name__)

LEASE_US: Final = 90 * MICROSECONDS
"""How long a claim is good if the caller does not say."""

_S: Final = tables.submission.c
_R: Final = tables.replay.c
_APPROVED: Final = (
    SUBMISSIONS.where(_S.delivery == Delivery.APPROVED.value, _S.route.in_(bindparam("routes", expanding=True)))
    .where(_S.request.is_not(None), _R.submission.is_not(None), _R.due_us <= bindparam("now"))
    .where(or_(_R.application == bindparam("application"), _R.application.is_(None)))
    .order_by(_S.at_us, _S.id)
    .limit(bindparam("most"))
)
_JUDGED: Final = (
    select(tables.ledger.c.body)
    .join(tables.contribution, tables.contribution.c.id == tables.ledger.c.subject)
    .where(tables.contribution.c.submission == bindparam("which"), tables.contribution.c.position == 0)
    .where(tables.ledger.c.kind == "judged")
)
_LEASED: Final = func.coalesce(_R.lease_us, 0)
_LOST: Final = (
    SUBMISSIONS.outerjoin(tables.worker, tables.worker.c.id == _S.worker)
    .where(_S.delivery == Delivery.DISPATCHING.value)
    .where(
        or_(
            and_(_LEASED > 0, bindparam("now") > _LEASED),
            # What was given to the application at once has no lease: there the process must be alive.
            and_(
                _LEASED == 0,
                _S.moved_us < bindparam("before"),
                func.coalesce(tables.worker.c.last_us, _S.moved_us) < bindparam("before"),
            ),
        )
    )
    .order_by(_S.at_us, _S.id)
)


def claim_approved(
    group: Group,
    worker: str,
    *,
    now_us: int,
    limit: int,
    application: str,
    routes: Sequence[str],
    lease_us: int = LEASE_US,
) -> list[Claim]:
    """See `Transaction.claim_approved`."""
    if not routes or limit < 1:
        return []
    wanted = {"routes": list(routes), "application": application, "most": limit, "now": now_us}
    rows = group.connection.execute(_APPROVED, wanted).all()
    claims = []
    for row in rows:
        recorded = _recorded(group, row.id)
        if (sha256_hex(bytes(row.request)), row.application) != (
            recorded.get("request_sha256"),
            recorded.get("application"),
        ):
            log.error("the held request of %s is not the one in the ledger; it is not delivered", row.id)
            move(group, row, Delivery.DENIED, now_us=now_us, detail={"reason": "the held request was altered"})
            continue
        fence, attempt = row.fence + 1, row.attempts + 1
        move(
            group,
            row,
            Delivery.DISPATCHING,
            now_us=now_us,
            worker=worker,
            replay={
                "fence": fence,
                "lease_us": now_us + lease_us,
                "due_us": 0,
                "attempts": attempt,
                "since_us": row.since_us or now_us,
            },
        )
        sealed = Sealed(row.key_id, bytes(row.sealed)) if row.key_id is not None and row.sealed is not None else None
        claims.append(Claim(row.id, row.route, bytes(row.request), fence, attempt, sealed))
    return claims


def release(group: Group, submission_id: str, *, fence: int, now_us: int, reason: str) -> None:
    """See `Transaction.release`."""
    row = find(group, submission_id)
    if row.fence != fence:
        raise FencedError(f"claim {fence} of submission {submission_id} is over, the latest is {row.fence}")
    if Delivery(row.delivery) is not Delivery.DISPATCHING:
        raise TransitionError(f"submission {submission_id} is {row.delivery}, and nobody's claim to give back")
    move(
        group,
        row,
        Delivery.APPROVED,
        now_us=now_us,
        detail={"cause": reason},
        replay={"attempts": max(0, row.attempts - 1)},
        told={"released": True},
    )


def abandon_lost(group: Group, now_us: int, after_us: int, retries: Retries | None = None) -> list[str]:
    """See `Transaction.abandon_lost`."""
    rows = group.connection.execute(_LOST, {"now": now_us, "before": now_us - after_us}).all()
    for row in rows:
        reason = "its lease ran out" if row.lease_us else "its process is gone"
        move(group, row, Delivery.UNKNOWN, now_us=now_us, detail={"reason": reason, "worker": row.worker})
        schedule(group, row.id, retries, now_us=now_us, detail={"reason": reason, "worker": row.worker})
    return [row.id for row in rows]


def _recorded(group: Group, submission_id: str) -> dict[str, Any]:
    """What was recorded of a submission's request when it arrived; nothing if the ledger has no word of it."""
    body = group.connection.execute(_JUDGED, {"which": submission_id}).scalar()
    recorded: dict[str, Any] = json.loads(body) if body else {}
    return recorded
