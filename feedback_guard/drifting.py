"""Writes down in the ledger what becomes of the drift alarm, so that pages, commands and other processes know of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feedback_guard.store.database import Store
from feedback_guard.store.drift_alarms import DriftAlarm

if TYPE_CHECKING:
    from feedback_guard.learning.memory import Memory


def alarm_of(memory: Memory) -> DriftAlarm | None:
    """The drift alarm that stands in the detectors' memory; None without one."""
    status = memory.status
    if status is None or not status.alarm or not memory.alarm_seq:
        return None
    return DriftAlarm(
        memory.baseline,
        memory.alarm_seq,
        status.n_seen - status.since_n,
        tuple(str(growth) for growth in status.attribution),
    )


async def keep_drift(store: Store, memory: Memory) -> None:
    """Write down that the drift alarm was raised, unless another process did.

    Raises
    ------
    StoreError
        If it could not be; the caller asks again later.
    """
    alarm = alarm_of(memory)
    if alarm is not None:
        await store.run(lambda tx: tx.raise_drift(alarm, now_us=tx.now_us()))


async def end_drift(store: Store, memory: Memory) -> None:
    """Write down, when a guard starts, that its new baseline ended the alarm of an earlier one."""
    if memory.baseline:
        await store.run(lambda tx: tx.end_drift(memory.baseline, now_us=tx.now_us()))
