"""The one place where detectors learn: committed events, in the order of the ledger.

Every process that shares a store follows the same ledger, its own entries included, so that all hold the same state.
What this process committed itself is handed to the follower; what is missing between, and before, and after it is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from feedback_guard.embedding.pack import unpack
from feedback_guard.errors import StoreError
from feedback_guard.evidence.drift import Seen
from feedback_guard.evidence.entries import Charge
from feedback_guard.evidence.observe import canonical_texts
from feedback_guard.evidence.telling import Telling
from feedback_guard.learning.memory import Memory
from feedback_guard.metrics import Metrics
from feedback_guard.signals.interface import Observation
from feedback_guard.store.handover import Handover
from feedback_guard.store.records import Event, StoredContribution

log = logging.getLogger(__name__)

BATCH = 256
"""Most ledger events read at once."""
HANDED = 32
"""Most events of this process that are taken over at once."""
TURNS = 64
"""In how many turns of the event loop all that waits is to be folded. Between two turns go the requests, whose answers
are not to wait for it; the more waits, the more is folded in a turn, so that it does not fall behind without bound."""
AT_ONCE = 4
"""Fewest contributions that are folded in a turn, if so many wait: the first of them finds nothing that it needs near
the processor. A request waits some milliseconds longer."""
POLL_SECONDS = 1.0
"""Longest time before looking for what other processes recorded."""
RECENT = 2_048
"""Most observations of this process that wait to be folded, so that they need not be made again."""


OnPulled = Callable[[list[Charge]], Awaitable[None]]
OnTold = Callable[[int, list[Telling]], Awaitable[None]]
OnDrift = Callable[[Memory], Awaitable[None]]


class EventSource(Protocol):
    """Where committed events are read, in order."""

    def events_after(self, seq: int, limit: int) -> list[Event]:
        """At most `limit` events after position `seq`, oldest first."""
        ...


class Follower:
    """Folds the ledger into the detectors' memory.

    Parameters
    ----------
    source
        The store.
    memory
        What is changed; nobody else changes it.
    metrics
        Told of failures and of drift.
    handover
        What this process commits, so that it need not be read; None reads everything.
    on_pulled
        Called after each catching up with the accepted contributions that turned out to belong to a campaign.
    on_told
        Called by `tell` with the ledger entry that was looked at last, and what is new of campaigns.
    on_drift
        Called after a catching up in which the drift alarm was raised or acknowledged.
    """

    def __init__(
        self,
        source: EventSource,
        memory: Memory,
        metrics: Metrics,
        *,
        handover: Handover | None = None,
        on_pulled: OnPulled | None = None,
        on_told: OnTold | None = None,
        on_drift: OnDrift | None = None,
    ) -> None:
        self._source = source
        self._memory = memory
        self._metrics = metrics
        self._handover = Handover() if handover is None else handover
        self._handover.open()
        self._on_pulled = on_pulled
        self._on_told = on_told
        self._on_drift = on_drift
        self._alarm_seq = 0
        self._recent: OrderedDict[str, Observation] = OrderedDict()
        self._wake = asyncio.Event()
        self._folding = asyncio.Lock()

    def expect(self, observations: Mapping[str, Observation]) -> None:
        """Keep observations of this process until their events come."""
        self._recent.update(observations)
        while len(self._recent) > RECENT:
            self._recent.popitem(last=False)

    def wake(self) -> None:
        """Say that something was committed."""
        self._wake.set()

    def catch_up_now(self) -> None:
        """Fold all that is committed, in the calling thread: at start-up, when nobody reads the memory yet."""
        while events := self._source.events_after(self._memory.seq, BATCH):
            self._fold_all(events)

    async def catch_up(self, *, look: bool = True) -> None:
        """Fold all that is committed, giving way to requests between batches.

        Parameters
        ----------
        look
            Whether to look for what other processes recorded after the latest entry that is known here, and to set
            the gauges. What lies before that entry is read in any case.
        """
        async with self._folding:  # two at once would read, and fold, the same events
            while True:
                events, missing = self._handover.take(self._memory.seq, HANDED)
                await self._fold_in_turns(events)
                if missing == 0:
                    continue
                if missing is None and not look:
                    break
                limit = BATCH if missing is None else min(BATCH, missing)
                events = await asyncio.to_thread(self._source.events_after, self._memory.seq, limit)
                self._fold_all(events)
                if not events or (missing is None and len(events) < limit):
                    break
        if look:
            self._gauge()
        await self.pull_back()
        await self.tell_drift()

    async def pull_back(self) -> None:
        """Hand over what turned out to belong to a campaign; at start-up, what earlier processes may have left."""
        pulled = self._memory.take_pulled()
        if self._memory.evidence is not None:
            self._metrics.campaigns(sum(campaign.open for campaign in self._memory.evidence.campaigns))
        if pulled and self._on_pulled is not None:
            await self._on_pulled(pulled)
        if pulled:
            await self.tell()

    async def tell_drift(self) -> None:
        """Hand over that the drift alarm was raised or acknowledged. If it cannot be kept, it is handed over again."""
        seq = self._memory.alarm_seq
        if seq != self._alarm_seq and self._on_drift is not None:
            await self._on_drift(self._memory)
        self._alarm_seq = seq

    async def tell(self) -> None:
        """Hand over what is new of campaigns. If it cannot be kept, it is handed over again the next time."""
        evidence = self._memory.evidence
        told = [] if evidence is None or self._on_told is None else evidence.following.take_told()
        if evidence is None or self._on_told is None or not told:
            return
        try:
            await self._on_told(self._memory.seq, told)
        except BaseException:
            evidence.following.give_back(told)
            raise

    async def run(self) -> None:
        """Follow until cancelled."""
        loop = asyncio.get_running_loop()
        looks = loop.time() + POLL_SECONDS
        while True:
            # Not `wait_for`: before Python 3.12 it swallows a cancellation that meets the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(looks):
                    await self._wake.wait()
            self._wake.clear()
            look = loop.time() >= looks
            if look:
                looks = loop.time() + POLL_SECONDS
            try:
                await self.catch_up(look=look)
            except StoreError:
                log.exception("the ledger could not be read; trying again")
                self._metrics.failed("store")

    def _gauge(self) -> None:
        """Say how the stream stands. It takes as long as folding several events, so it is not done after each."""
        status = self._memory.status
        if status is not None:
            self._metrics.drift(status.statistic, status.alarm)
        taught = self._memory.teaching
        if taught is not None:
            self._metrics.teaching(taught.divergence, taught.statistic, taught.loudest, taught.named)

    async def _fold_in_turns(self, events: Sequence[Event]) -> None:
        n_long, seen = 0, self._look(events)
        for event in events:
            self.fold(event, seen.get(event.seq))
            n_long += event.stored is not None  # the others take no time
            if n_long >= max(AT_ONCE, self._handover.waiting // TURNS + 1):
                n_long = 0
                await asyncio.sleep(0)
        if n_long:
            await asyncio.sleep(0)

    def _look(self, events: Sequence[Event]) -> dict[int, Seen | None]:
        """By position in the ledger, what is seen in contributions that this process judged."""
        found = {
            event.seq: observation
            for event in events
            if event.kind == "judged"
            and event.stored is not None
            and event.stored.vectors
            and (observation := self._observed(event.stored)) is not None
        }
        try:
            return dict(zip(found, self._memory.look(list(found.values())), strict=True))
        except Exception:
            log.exception("contributions could not be looked at together; each is looked at by itself")
            return {}

    def _observed(self, stored: StoredContribution) -> Observation | None:
        """What this process observed of a contribution.

        Not of another by the same name: of two that are judged at once, one is recorded.
        """
        observation = self._recent.get(stored.contribution.id)
        return observation if observation is not None and observation.contribution == stored.contribution else None

    def _fold_all(self, events: Sequence[Event]) -> None:
        for event in events:
            self.fold(event)

    def fold(self, event: Event, seen: Seen | None = None) -> None:
        """Let the detectors follow one event. One that cannot be folded is logged, counted and passed over.

        `seen` is what was seen already in the contribution that it is about.
        """
        self._memory.seq = event.seq
        stored = event.stored
        if event.kind in {"campaign_approved", "campaign_denied"}:
            self._memory.ruled(event.subject, event.ruled)
        if event.kind == "drift_acknowledged":
            self._memory.acknowledged(event.baseline)
        if stored is None:
            return
        ident = stored.contribution.id
        observation = self._observed(stored)
        self._recent.pop(ident, None)
        try:
            if event.kind in {"denied", "held", "withdrawn"}:
                self._memory.withdrawn(ident, event.at_us)
                return
            if event.kind not in {"judged", "approved"} or not stored.vectors:
                return
            if observation is None:
                observation = Observation(
                    stored.contribution, canonical_texts(stored.contribution), unpack(stored.vectors)
                )
            if event.kind == "judged":
                verdict = stored.verdict
                self._memory.judged(
                    observation,
                    verdict.decision,
                    event.at_us,
                    verdict.campaign,
                    baseline=verdict.baseline or "",
                    seen=seen,
                )
            else:
                self._memory.approved(observation, event.at_us)
        except Exception:
            log.exception("the detectors could not follow ledger entry %d", event.seq)
            self._metrics.failed("fold")
