"""The way of a contribution: limits -> text -> embedding -> assess -> record."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from feedback_guard.assessment import Assessment
from feedback_guard.clock import Clock
from feedback_guard.contribution import Contribution
from feedback_guard.engine import Engine
from feedback_guard.errors import ClaimLostError, EmbeddingError, StoreError
from feedback_guard.evidence.observe import canonical_texts
from feedback_guard.learning.follower import Follower
from feedback_guard.limits.redis import SharedLevels
from feedback_guard.metrics import Metrics
from feedback_guard.recording import Recording, count
from feedback_guard.repeats import settle_claim
from feedback_guard.settle import Settled
from feedback_guard.signals.interface import Observation
from feedback_guard.store.database import Store, Transaction
from feedback_guard.store.states import Delivery
from feedback_guard.submission import Judgement, Submission
from feedback_guard.turns import Turns
from feedback_guard.votes import ReceiptBook

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Judging:
    """Judges submissions with the parts of one started guard. It knows nothing of how they came or when they end.

    Parameters
    ----------
    engine
        The parts that judge.
    assessing
        Asks its assessor, for all whose vectors came at once.
    store
        Where the record is made.
    shared
        Copies of levels in Redis; None where the policy names none.
    receipts
        Which receipts are used up.
    recording
        How this process keeps what it judged.
    follower
        Told what was observed, so that the detectors need not read it again, and that something was committed.
    metrics
        Where durations, failures and decisions are counted.
    clock
        Where durations come from.
    deadline_us
        Microseconds that a contribution waits for its vectors.
    new_id
        Makes the identifier of a submission.
    """

    engine: Engine
    assessing: Turns[Observation, Assessment]
    store: Store
    shared: SharedLevels | None
    receipts: ReceiptBook
    recording: Recording
    follower: Follower
    metrics: Metrics
    clock: Clock
    deadline_us: int
    new_id: Callable[[], str]

    async def judge(self, submission: Submission) -> Judgement:
        """Judge and record a submission of at least one contribution; raises as `Guard.judge` does."""
        await self.receipts.look(submission.votes)
        engine, began = self.engine, self.clock.monotonic()
        early = engine.settler.early(submission)
        refusal = self.store.latest.peek(early, self.store.now_us())
        if refusal is None and self.shared is not None:
            refusal = await self.shared.peek(early, self.store.now_us())
        self._time("limits", began)
        observations: dict[str, Observation] = {}
        proposals: list[Assessment] = []
        if refusal is None:
            observations = await self._observe(submission.contributions)
            mark = self.clock.monotonic()
            proposals = await self._propose(submission.contributions, observations)
            self._time("assess", mark)
        limiter = engine.limiter
        readings = {} if limiter is None else {name: limiter.read(each) for name, each in observations.items()}
        ident, recording, mark = self.new_id(), self.recording, self.clock.monotonic()
        bill = engine.settler.bill(submission, proposals, self.store.now_us()) if refusal is None else None

        def record(tx: Transaction) -> tuple[Settled, Delivery, int]:
            at_us = tx.now_us()
            if refusal is not None:
                settled = engine.settler.turn_away(submission, refusal, tx.budgets, at_us)
            else:
                weighed = limiter.shade(tx.bank(limiter.terms), submission, proposals) if limiter else proposals
                settled = engine.settler.settle(submission, weighed, tx.budgets, at_us, bill)
            delivery = recording.delivery(submission, settled.decision)
            seen = {} if settled.turned_away else observations
            tx.insert(recording.of(ident, submission, settled, delivery, seen, at_us))
            if limiter is not None and refusal is None:
                limiter.stake(tx.bank(limiter.terms), submission, proposals, settled, readings, at_us)
            settle_claim(tx, submission, settled, ident)
            return settled, delivery, self.receipts.cast(tx, submission, settled, acts=recording.enforcing)

        self.follower.expect(observations)
        try:
            lookups, spots = ((), ()) if bill is None else (bill.lookups, bill.spots)
            settled, delivery, withdrawn = await self.store.run(record, lookups, spots)
        except ClaimLostError:
            raise
        except StoreError:
            self.metrics.failed("store")
            raise
        self._time("record", mark)
        self._time("total", began)
        count(self.metrics, submission, settled, has_baseline=engine.assessor.has_baseline)
        self.metrics.receipt(submission.route, "valid", len(submission.votes))
        self.metrics.receipt(submission.route, "replaced", withdrawn)
        self.follower.wake()
        return Judgement(
            submission=ident,
            verdicts=settled.verdicts,
            decision=settled.decision,
            delivery=delivery,
            observed=not recording.enforcing,
            refusal=settled.refusal,
        )

    async def _observe(self, contributions: Sequence[Contribution]) -> dict[str, Observation]:
        """Canonical texts and vectors of each contribution; none at all if the model failed or was late."""
        mark = self.clock.monotonic()
        texts = {item.id: canonical_texts(item) for item in contributions}
        self._time("text", mark)
        mark = self.clock.monotonic()
        flat = [text.text for fields in texts.values() for text in fields.values()]
        try:
            vectors = iter(await self.engine.batcher.embed(flat, deadline_us=self.deadline_us))
        except EmbeddingError as error:
            log.error("a contribution could not be embedded: %s", error)
            self.metrics.failed("embedding")
            return {}
        self._time("embedding", mark)
        return {
            item.id: Observation(item, texts[item.id], {name: next(vectors) for name in texts[item.id]})
            for item in contributions
        }

    async def _propose(
        self, contributions: Sequence[Contribution], observations: Mapping[str, Observation]
    ) -> list[Assessment]:
        """What the detectors say of each; together with others whose vectors came at the same time."""
        assessed = iter(await self.assessing.ask(list(observations.values()))) if observations else iter(())
        late = "its vectors did not come in time, or not at all"
        return [
            next(assessed) if item.id in observations else self.engine.assessor.failed(late) for item in contributions
        ]

    def _time(self, stage: str, since: float) -> None:
        self.metrics.stage(stage, max(0.0, self.clock.monotonic() - since))
