"""Taking away counters that say nothing any more: empty buckets, and deals of the lottery that are over.

An absent counter and an empty bucket are the same to a budget, so nothing is given away; a day of grace keeps it so
when a clock jumps ahead for a moment. Counters of lifetime budgets stay for ever.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection, bindparam, delete

from feedback_guard.clock import MICROSECONDS
from feedback_guard.limits.interface import Budget
from feedback_guard.limits.placing import purge_points
from feedback_guard.store import tables

PARTS: Final = 256
"""Parts of the table, one of which is looked through at a time: keys are digests, so all are alike."""
GRACE_US: Final = 86_400 * MICROSECONDS
_B: Final = tables.budget.c
_PURGE: Final = delete(tables.budget).where(
    _B.key >= bindparam("first"),
    _B.key < bindparam("end"),
    _B.name == bindparam("of"),
    _B.period_us == bindparam("period"),
    _B.used_micro <= bindparam("most"),
    _B.last_us < bindparam("before"),
)
_ANY: Final = 2**62


def purge(connection: Connection, budgets: Iterable[Budget], now_us: int, part: int) -> int:
    """Take away counters of budgets that say nothing any more.

    Parameters
    ----------
    connection
        Inside a write transaction.
    budgets
        Rate budgets, and lifetime budgets that may be forgotten.
    now_us
        Microseconds since the epoch.
    part
        Which part of the table is looked through, 0..`PARTS` - 1.

    Returns
    -------
    int
        How many there were.
    """
    gone = 0
    for budget in budgets:
        if budget.facet == "radius":
            purge_points(connection, budget)
            continue
        if budget.period_us is not None:
            # A bucket that is not overfull is empty when the whole burst had time to leak.
            idle, most = -(-budget.burst_micro * budget.period_us // budget.amount_micro), budget.burst_micro
        elif budget.forget_after_us is not None:
            idle, most = budget.forget_after_us, _ANY
        else:
            continue
        told = {
            "first": f"{part:02x}",
            "end": f"{part + 1:02x}" if part + 1 < PARTS else "g",
            "of": budget.name,
            "period": budget.period_us or 0,
            "most": most,
            "before": now_us - idle - GRACE_US,
        }
        gone += connection.execute(_PURGE, told).rowcount
    return gone
