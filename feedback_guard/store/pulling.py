"""Holding again what was accepted, when it turns out later to belong to a campaign."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import bindparam, func, select, update

from feedback_guard.store import snapshots, tables
from feedback_guard.store.campaigns import join, member_of
from feedback_guard.store.decisions import touch
from feedback_guard.store.group import Group
from feedback_guard.store.records import PullBack
from feedback_guard.store.rows import parse_payload
from feedback_guard.store.states import Learning, check_learning

_C: Final = tables.contribution.c
_S: Final = tables.submission.c
_ROW: Final = (
    select(_C.id, _C.learning, _C.payload, _C.submission, _S.at_us, _S.delivery, _S.version, _S.n_held)
    .join(tables.submission, _S.id == _C.submission)
    .where(_C.id == bindparam("which"))
)
_JUDGED: Final = select(func.max(tables.ledger.c.seq)).where(
    tables.ledger.c.subject == bindparam("which"), tables.ledger.c.kind == "judged"
)
_HOLD: Final = (
    update(tables.contribution).where(_C.id == bindparam("which")).values(learning=Learning.HELD.value, weight_micro=0)
)


def pull_back(
    group: Group, pulled: Sequence[PullBack], *, now_us: int, mature_after_us: int, mature_after_count: int
) -> list[str]:
    """See `Transaction.pull_back`."""
    held, members = [], []
    followed = snapshots.followed_by(group.connection, mature_after_count, now_us)
    for each in pulled:
        row = group.connection.execute(_ROW, {"which": each.contribution}).one_or_none()
        # Another process may have been faster, or a moderator may have decided: both are final here.
        if row is None or row.learning != Learning.ACCEPTED.value:
            continue
        check_learning(Learning.ACCEPTED, Learning.HELD)
        group.connection.execute(_HOLD, {"which": row.id})
        touch(group.connection, row, row.n_held + 1, which=row.submission)
        judged = group.connection.execute(_JUDGED, {"which": row.id}).scalar_one()
        # A snapshot that was cut under an earlier policy may hold what this one calls too young.
        mature = (
            now_us - row.at_us >= mature_after_us and judged is not None and followed is not None and judged < followed
        ) or bool(snapshots.holding(group.connection, row.id))
        members.append(member_of(parse_payload(row.payload), each.campaign, row.at_us, mature=mature))
        group.append(
            Learning.HELD.value,
            row.id,
            {
                "submission": row.submission,
                "from": row.learning,
                "to": Learning.HELD.value,
                "campaign": each.campaign,
                "mature": mature,
                "weight_micro": 0,
            },
            now_us,
        )
        held.append(row.id)
    if held:
        join(group.connection, members)
        group.recount()
    return held
