"""The way of a request to the application: each step a transaction, and never a state that hides what is not known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import JsonValue
from sqlalchemy import bindparam, exists, select, update

from feedback_guard.errors import FencedError, TransitionError
from feedback_guard.ledger.canonical import canonical_json
from feedback_guard.store import tables
from feedback_guard.store.group import Group
from feedback_guard.store.retries import Retries
from feedback_guard.store.rows import SUBMISSIONS, AnyRow, sha256_hex
from feedback_guard.store.states import OUTCOMES, Delivery, Learning, check_delivery

_S: Final = tables.submission.c
_C: Final = tables.contribution.c
_BY_ID: Final = SUBMISSIONS.where(_S.id == bindparam("which"))
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
_OUTCOME: Final = (
    update(tables.submission)
    .where(
        _S.id == bindparam("which"),
        _S.delivery == Delivery.DISPATCHING.value,
        ~exists().where(tables.replay.c.submission == bindparam("which")),
    )
    .values(delivery=bindparam("to"), version=_S.version + 1, moved_us=bindparam("now"), detail=bindparam("known"))
    .returning(_S.worker)
)
"""For a request that was given to the application at once: it is not kept, so it has no claim and no retry."""
_REPLAY: Final = update(tables.replay).where(tables.replay.c.submission == bindparam("which"))
_BARRED: Final = (Learning.DENIED.value, Learning.WITHDRAWN.value)
_DENIED: Final = select(_C.id).where(_C.submission == bindparam("which"), _C.learning.in_(_BARRED)).limit(1)
_ANSWERS: Final = (Delivery.DELIVERED, Delivery.FAILED)
_FRESH: Final[Mapping[str, Any]] = {"attempts": 0, "since_us": 0, "due_us": 0}
"""A moderator lets it through: what was tried before does not count."""
_ERASES: Final = frozenset({Delivery.DELIVERED, Delivery.DENIED, Delivery.GIVEN_UP, Delivery.WITHDRAWN})
"""States in which kept credentials are not needed any more, and are erased."""


def find(group: Group, submission_id: str) -> AnyRow:
    """The row of a submission, with what `replay` has for it.

    Raises
    ------
    TransitionError
        If there is none of that name.
    """
    row = group.connection.execute(_BY_ID, {"which": submission_id}).one_or_none()
    if row is None:
        raise TransitionError(f"there is no submission {submission_id!r}")
    return row


def move(
    group: Group,
    row: AnyRow,
    to: Delivery,
    *,
    now_us: int,
    worker: str = "",
    detail: Mapping[str, JsonValue] | None = None,
    n_held: int | None = None,
    replay: Mapping[str, Any] | None = None,
    told: Mapping[str, JsonValue] | None = None,
) -> None:
    """Take a submission from the state its row has to another, if nobody was faster, with a ledger entry.

    Parameters
    ----------
    row
        One of `rows.SUBMISSIONS`.
    worker
        Who dispatches it from now on; by default whoever did.
    n_held
        Contributions that are still held; by default as many as before.
    replay
        What becomes of the columns of `replay`; by default the lease ends, and a moderator's approval begins anew.
    told
        What else the ledger is to say.
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
    values: dict[str, Any] = {"lease_us": 0, **(_FRESH if replay is None and to is Delivery.APPROVED else replay or {})}
    if to in _ERASES:
        values |= {"key_id": None, "sealed": None}
    if row.kept:
        group.connection.execute(_REPLAY.values(**values), {"which": row.id})
    group.append(
        "delivery",
        row.id,
        {
            "from": before.value,
            "to": to.value,
            "worker": worker or row.worker,
            "detail_sha256": None if known is None else sha256_hex(known),
            "fence": values.get("fence", row.fence),
            **(told or {}),
        },
        now_us,
    )


def deliver(
    group: Group,
    submission_id: str,
    to: Delivery,
    *,
    now_us: int,
    detail: Mapping[str, JsonValue],
    fence: int = 0,
    retries: Retries | None = None,
) -> Delivery:
    """See `Transaction.deliver`."""
    if fence == 0 and to in OUTCOMES and _at_once(group, submission_id, to, now_us=now_us, detail=detail):
        return to
    row = find(group, submission_id)
    if row.fence != fence:
        raise FencedError(
            f"claim {fence} of submission {submission_id} is over, the latest is {row.fence}; its outcome is not taken"
        )
    # What was given to the application at once is given to it by nobody else, so a late answer is the answer.
    late = row.delivery == Delivery.UNKNOWN.value and not row.kept and to in _ANSWERS
    if (row.delivery != Delivery.DISPATCHING.value and not late) or to not in OUTCOMES:
        raise TransitionError(f"a request cannot go from {row.delivery} to {to} as the outcome of a call")
    told = _status(detail) | ({"late": True} if late else {})
    move(group, row, to, now_us=now_us, detail=detail, told=told)
    return schedule(group, submission_id, retries, now_us=now_us, detail=detail)


def _at_once(group: Group, submission_id: str, to: Delivery, *, now_us: int, detail: Mapping[str, JsonValue]) -> bool:
    """Record the outcome of a request that is not kept; False if this is none, and nothing was done."""
    known = canonical_json(detail) if detail else None
    told = {"detail_sha256": None if known is None else sha256_hex(known), "fence": 0, **_status(detail)}
    worker = group.outcomes.record(submission_id, to, now_us=now_us, detail=known)
    if worker is None:
        row = group.last.execute(
            _OUTCOME, {"which": submission_id, "to": to.value, "now": now_us, "known": known}
        ).one_or_none()
        if row is None:
            return False
        worker = row.worker
    move = {"from": Delivery.DISPATCHING.value, "to": to.value, "worker": worker}
    group.append("delivery", submission_id, {**move, **told}, now_us)
    return True


def schedule(
    group: Group,
    submission_id: str,
    retries: Retries | None,
    *,
    now_us: int,
    detail: Mapping[str, JsonValue],
) -> Delivery:
    """Let a request through once more, later, if it ended badly, the policy says so, and nobody denied it meanwhile.

    Returns
    -------
    Delivery
        Where it stands afterwards.
    """
    row = find(group, submission_id)
    stands = Delivery(row.delivery)
    if retries is None or stands not in {Delivery.FAILED, Delivery.UNKNOWN} or not row.kept:
        return stands
    due_us = retries.due_us(row.route, attempts=row.attempts, since_us=row.since_us, now_us=now_us)
    if due_us is None or group.connection.execute(_DENIED, {"which": submission_id}).first() is not None:
        return stands
    move(
        group,
        row,
        Delivery.APPROVED,
        now_us=now_us,
        detail={**detail, "attempts": row.attempts, "next_attempt_us": due_us},
        replay={"due_us": due_us},
        told={"retry": row.attempts},
    )
    return Delivery.APPROVED


def _status(detail: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The application's status, for the ledger: the row keeps only the detail of the last attempt."""
    status = detail.get("status")
    return {"status": status} if isinstance(status, int) and not isinstance(status, bool) else {}
