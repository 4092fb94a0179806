"""Carries out what moderators decide on whole campaigns, and keeps what the evidence tells of them.

A batch at a time, each a transaction of its own, so that judging goes on in between. Whoever is there goes on with
what another process left: the pages, the command line, or the housekeeping of any guard that shares the store.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from feedback_guard.clock import MICROSECONDS
from feedback_guard.limits.reputation import Terms
from feedback_guard.names import same_person
from feedback_guard.policy.limits import LimitPolicy
from feedback_guard.store import campaign_reads
from feedback_guard.store.campaign_decisions import CampaignDecision
from feedback_guard.store.campaigns import Told
from feedback_guard.store.database import Store

if TYPE_CHECKING:
    from feedback_guard.evidence.telling import Telling

LEFT_AFTER_US: Final = 10 * MICROSECONDS
"""A decision that nobody has gone on with for so long was left by whoever made it."""
BATCHES: Final = 20
"""Most batches that housekeeping does at a time."""
TOLD: Final = 1_000
"""Most members that are told in one transaction."""


async def carry_on(
    store: Store, decision: int, limits: Sequence[LimitPolicy], reputation: Terms | None = None
) -> CampaignDecision:
    """Do the next batch of a decision on a campaign.

    Raises
    ------
    StoreError
        If it could not be done; nothing of the batch was.
    """
    return await store.run(
        lambda tx: tx.carry_on_campaign(
            decision, same_person=same_person, now_us=tx.now_us(), limits=limits, reputation=reputation
        )
    )


async def carry_on_left(store: Store, limits: Sequence[LimitPolicy], reputation: Terms | None = None) -> int:
    """Go on with decisions that other processes left; returns how many contributions moved."""
    moved = 0
    idle_since_us = store.now_us() - LEFT_AFTER_US

    def look() -> list[CampaignDecision]:
        with store.reading() as connection:
            return campaign_reads.running_decisions(connection, idle_since_us=idle_since_us, limit=BATCHES)

    for left in await asyncio.to_thread(look):
        made = left
        for _ in range(BATCHES):
            if made.running:
                made = await carry_on(store, made.id, limits, reputation)
        moved += made.n_moved - left.n_moved
    return moved


async def keep_told(store: Store, seq: int, told: Sequence[Telling]) -> None:
    """Write down what the evidence tells of campaigns.

    Raises
    ------
    StoreError
        If it could not be; some of it may have been, and telling it again does no harm.
    """
    for each in told:
        text = json.dumps(each.summary, ensure_ascii=False, separators=(",", ":"))
        for start in range(0, max(1, len(each.contrary)), TOLD):
            part = Told(each.campaign, seq, each.is_open, text, each.contrary[start : start + TOLD])
            await store.run(lambda tx, part=part: tx.tell([part]))  # type: ignore[misc]
