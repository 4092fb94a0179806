"""What a guard's process does every few seconds: say that it lives, give up for those that do not, and clear away."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from feedback_guard.bulk import carry_on_left
from feedback_guard.clock import MICROSECONDS, Clock
from feedback_guard.learning.auditing import audit_mature, keep_standing
from feedback_guard.limits import purging
from feedback_guard.limits.reputation import Terms
from feedback_guard.metrics import Metrics
from feedback_guard.policy.schema import Policy
from feedback_guard.store import votes
from feedback_guard.store.database import Store, Transaction
from feedback_guard.store.repeats import purge
from feedback_guard.store.retries import Retries
from feedback_guard.store.states import Delivery

if TYPE_CHECKING:
    from feedback_guard.engine import Engine

log = logging.getLogger(__name__)

SECONDS = 5.0
"""Time between two heartbeats of a process."""
LOST_AFTER_US = 60 * MICROSECONDS
"""A process without a heartbeat for so long is lost; what it was dispatching is `UNKNOWN`."""


class Housekeeper:
    """Keeps house for one process.

    Parameters
    ----------
    worker
        Names the process in its heartbeats.
    terms
        The constants of reputation; None where it is off.
    retries
        When requests whose process was lost are tried again; None: never.
    """

    def __init__(
        self,
        policy: Policy,
        metrics: Metrics,
        clock: Clock,
        *,
        worker: str,
        terms: Terms | None,
        retries: Retries | None,
    ) -> None:
        self._policy = policy
        self._metrics = metrics
        self._clock = clock
        self._worker = worker
        self._terms = terms
        self._retries = retries
        self._beats = 0

    async def keep(self, store: Store, engine: Engine | None) -> int:
        """Send a heartbeat, give up what lost processes were dispatching, purge, audit, and refresh the gauges.

        Parameters
        ----------
        engine
            The parts that judge; None before the model is loaded.

        Returns
        -------
        int
            Contributions that moved because a decision on their campaign, left half done by an ended process, was
            carried on.

        Raises
        ------
        StoreError
            If the store does not answer.
        """
        lost = await store.run(lambda tx: self._beat(tx, engine))
        self._beats += 1
        if self._terms is not None:
            await audit_mature(store, self._terms, self._metrics)
            if engine is not None and engine.limiter is not None:
                await keep_standing(store, engine.limiter.standing, self._metrics, self._clock.now_us())
        if lost:
            log.warning("%d outcomes are unknown, %s first: their process is gone", len(lost), lost[0])
        for _ in lost:
            self._metrics.delivery(Delivery.UNKNOWN.value)
        await self._gauge(store, engine)
        return await carry_on_left(store, self._policy.limits, self._terms)

    def _beat(self, tx: Transaction, engine: Engine | None) -> list[str]:
        # One clock for heartbeats and leases, whichever host looks at them.
        at_us = tx.now_us()
        tx.heartbeat(self._worker, at_us)
        purge(tx.connection, at_us)
        votes.purge(tx.connection, at_us)
        if engine is not None:
            purging.purge(tx.connection, engine.settler.forgettable, at_us, self._beats % purging.PARTS)
        return tx.abandon_lost(at_us, LOST_AFTER_US, self._retries)

    async def _gauge(self, store: Store, engine: Engine | None) -> None:
        summary, now_us = await asyncio.to_thread(store.held_summary), store.now_us()
        age_us = now_us - summary.oldest_at_us if summary.oldest_at_us is not None else 0
        self._metrics.held(summary.count, max(0, age_us) / MICROSECONDS)
        self._metrics.undelivered(await asyncio.to_thread(store.count_stuck))
        self._metrics.queue("writer", store.queue_depth)
        if engine is not None:
            self._metrics.queue("embedding", engine.batcher.queue_depth)
