"""The auditing of mature contributions: in housekeeping, a bounded part in each transaction."""

from __future__ import annotations

import asyncio
from typing import Final

from feedback_guard.clock import MICROSECONDS
from feedback_guard.limits.reputation import Earned, Terms
from feedback_guard.metrics import Metrics
from feedback_guard.store.database import Store
from feedback_guard.store.reputation_reads import Totals, established, totals

AT_ONCE: Final = 128
"""Most contributions that are audited in one transaction: other writes wait for it."""
IN_A_ROW: Final = 64
"""Most such transactions in one round of housekeeping; what is left waits for the next."""


async def audit_mature(store: Store, terms: Terms, metrics: Metrics) -> int:
    """Audit what is mature by now, by the store's clock; any number of processes may do so at once.

    Returns
    -------
    int
        How many were audited.
    """
    total = 0
    for _ in range(IN_A_ROW):
        done = await store.run(lambda tx: tx.audit_due(terms, now_us=tx.now_us(), limit=AT_ONCE))
        total += len(done)
        for measured in done:
            metrics.audited(measured.move.credited if measured.stake.probe is not None else None)
        if len(done) < AT_ONCE:
            break
    return total


STANDING_US: Final = 30 * MICROSECONDS
"""Time between two looks at who is established: it reads all accounts."""


async def keep_standing(store: Store, standing: Earned, metrics: Metrics, now_us: int) -> None:
    """Look who is established by now, unless that was done a moment ago."""
    if 0 <= now_us - standing.looked_us < STANDING_US:
        return

    def look() -> tuple[Totals, frozenset[str]]:
        with store.reading() as connection:
            return totals(connection, standing.least), established(connection, standing.least)

    found, names = await asyncio.to_thread(look)
    standing.known, standing.looked_us = set(names), now_us
    metrics.reputation(found.identities, found.established, found.full)
