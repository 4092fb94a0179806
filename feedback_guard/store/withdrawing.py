"""Withdrawing what a contributor put another contribution in the place of."""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, select, update

from feedback_guard.store import tables
from feedback_guard.store.decisions import touch
from feedback_guard.store.deliveries import find, move
from feedback_guard.store.group import Group
from feedback_guard.store.states import LEARNING, Delivery, Learning

_C: Final = tables.contribution.c
_ROW: Final = select(_C.id, _C.learning, _C.submission).where(_C.id == bindparam("which"))
_OTHERS: Final = (
    select(_C.id)
    .where(_C.submission == bindparam("of"), _C.id != bindparam("which"), _C.learning != Learning.WITHDRAWN.value)
    .limit(1)
)
_WITHDRAW: Final = (
    update(tables.contribution)
    .where(_C.id == bindparam("which"))
    .values(learning=Learning.WITHDRAWN.value, weight_micro=0)
)
_KEPT: Final = frozenset({Delivery.HELD, Delivery.APPROVED})
"""Requests that the application has not seen, and still might."""


def withdraw(group: Group, contribution_id: str, *, by: str, now_us: int) -> bool:
    """See `Transaction.withdraw`."""
    connection = group.connection
    row = connection.execute(_ROW, {"which": contribution_id}).one_or_none()
    if row is None or Learning.WITHDRAWN not in LEARNING[Learning(row.learning)]:
        return False
    connection.execute(_WITHDRAW, {"which": row.id})
    submission = find(group, row.submission)
    n_held = submission.n_held - (row.learning == Learning.HELD.value)
    others = connection.execute(_OTHERS, {"of": row.submission, "which": row.id}).first()
    if others is None and Delivery(submission.delivery) in _KEPT:
        move(group, submission, Delivery.WITHDRAWN, now_us=now_us, detail={"replaced_by": by}, n_held=n_held)
    else:
        touch(connection, submission, n_held, which=row.submission)
    group.append(
        Learning.WITHDRAWN.value,
        row.id,
        {
            "submission": row.submission,
            "from": row.learning,
            "to": Learning.WITHDRAWN.value,
            "replaced_by": by,
            "weight_micro": 0,
        },
        now_us,
    )
    group.recount()
    return True
