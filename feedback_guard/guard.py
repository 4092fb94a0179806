"""The pipeline: limits -> text -> embedding -> assess -> record. Several doors lead to it; it knows none of them.

What a caller may rely on:

1. A judgement is returned only after its record is committed.
2. Nothing passes unscored unless the policy says `fail_open`, and then it is marked and counted.
3. If the store cannot take the record, `StoreError` is raised and nothing was charged, held or accepted.
4. The detectors learn in one place, the follower, from committed events, in the order of the ledger.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from pydantic import JsonValue

from feedback_guard import housekeeping
from feedback_guard.assess import Assessment
from feedback_guard.bulk import keep_told
from feedback_guard.clock import Clock, SystemClock
from feedback_guard.contribution import Contribution
from feedback_guard.drifting import end_drift, keep_drift
from feedback_guard.embedding.interface import Embedder
from feedback_guard.engine import Engine
from feedback_guard.errors import ClaimLostError, CredentialError, EmbeddingError, StoreError, UsageError
from feedback_guard.evidence.entries import Charge
from feedback_guard.evidence.observe import canonical_texts
from feedback_guard.keyring import Keyring, keyring_of
from feedback_guard.learning.follower import Follower
from feedback_guard.limits.newcomers import POOL
from feedback_guard.limits.probing import NAMES
from feedback_guard.limits.redis import SharedLevels
from feedback_guard.limits.sharing import share_levels
from feedback_guard.metrics import Metrics
from feedback_guard.policy.loader import load_policy, policy_digest
from feedback_guard.policy.schema import Mode, Policy
from feedback_guard.recording import Recording, count
from feedback_guard.repeats import RepeatBook, lease_of, settle_claim
from feedback_guard.reputation import terms_in
from feedback_guard.retrying import retries_of
from feedback_guard.settle import Settled
from feedback_guard.signals.interface import Observation
from feedback_guard.store.database import Store, Transaction
from feedback_guard.store.leases import LEASE_US
from feedback_guard.store.records import Claim, PullBack, StoredSubmission
from feedback_guard.store.states import Delivery, Resolution
from feedback_guard.stranded import stranded_requests
from feedback_guard.submission import Judgement, Submission
from feedback_guard.votes import ReceiptBook

log = logging.getLogger(__name__)


class Guard:
    """Judges submissions, records what it decided, and follows the ledger.

    Make one with `from_policy`. `start` loads the model and opens the store; `judge` does so by itself if nobody did.

    Examples
    --------
    >>> guard = Guard.from_policy("observe")
    >>> guard.policy.name, guard.enforcing
    ('observe', False)
    """

    def __init__(
        self,
        policy: Policy,
        digest: str,
        *,
        clock: Clock | None = None,
        embedder: Embedder | None = None,
        randomness: Callable[[], float] = random.random,
    ) -> None:
        self.policy = policy
        self.policy_digest = digest
        self.clock = clock or SystemClock()
        self.metrics = Metrics(
            routes=[*(route.name for route in policy.routes), *(served.name for served in policy.receipts.serving)],
            budgets=[POOL, *NAMES, *(limit.name for limit in policy.limits)],
        )
        self.worker = f"w-{secrets.token_hex(8)}"
        self.decided = asyncio.Event()
        """Set whenever a decision was made in this process, so that a dispatcher need not wait for its next poll."""
        self.repeats = RepeatBook(lambda: self.store, self.clock, lease_of(policy))
        """Who has the keys of requests that may come again."""
        self.receipts = ReceiptBook(policy, lambda: self.store, self.clock)
        """The keys of receipts, and which are used up."""
        self._embedder = embedder
        self._store: Store | None = None
        self._engine: Engine | None = None
        self._follower: Follower | None = None
        self._starting = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._retries = retries_of(policy, randomness)
        self.terms = terms_in(policy)
        """The constants of reputation; None where it is off."""
        self._keyring: Keyring | None = None
        self._shared: SharedLevels | None = None
        self._keeper = housekeeping.Housekeeper(
            policy, self.metrics, self.clock, worker=self.worker, terms=self.terms, retries=self._retries
        )

    @classmethod
    def from_policy(
        cls,
        policy: Policy | str | Path,
        *,
        clock: Clock | None = None,
        embedder: Embedder | None = None,
        randomness: Callable[[], float] = random.random,
    ) -> Self:
        """Make a guard from a policy.

        Parameters
        ----------
        policy
            A policy, the path of a policy file, or the name of a preset.
        clock
            Where the time comes from; the system's by default.
        embedder
            Instead of the one that the policy names.
        randomness
            Returns numbers in [0, 1), for the jitter of retries.

        Raises
        ------
        PolicyError
            If the file is wrong; the message names file, line and key.
        """
        if isinstance(policy, Policy):
            return cls(policy, policy_digest(policy), clock=clock, embedder=embedder, randomness=randomness)
        loaded = load_policy(policy)
        return cls(loaded.policy, loaded.digest, clock=clock, embedder=embedder, randomness=randomness)

    @property
    def enforcing(self) -> bool:
        """Whether the guard acts. Without a baseline it only observes, whatever the policy says."""
        return self.policy.mode is Mode.ENFORCE and self.policy.baseline.path is not None

    @property
    def store(self) -> Store:
        """The store; opened at first use, without loading a model."""
        if self._store is None:
            self._store = Store.open(self.policy.store, clock=self.clock)
        return self._store

    @property
    def engine(self) -> Engine:
        """The parts that judge.

        Raises
        ------
        UsageError
            Before `start`.
        """
        if self._engine is None:
            raise UsageError("the guard is not started; await guard.start() first")
        return self._engine

    async def start(self) -> None:
        """Load model and baseline, open the store, rebuild the detectors' state from the ledger.

        Raises
        ------
        GuardError
            If the deployment is unsound; a sentence says what is wrong. Nothing keeps running then.
        """
        async with self._starting:
            if self._engine is not None:
                return
            try:
                engine = await asyncio.to_thread(self._load)
                self._follower = Follower(
                    self.store,
                    engine.memory,
                    self.metrics,
                    handover=self.store.handover,
                    on_pulled=self._pull_back,
                    on_told=functools.partial(keep_told, self.store),
                    on_drift=functools.partial(keep_drift, self.store),
                )
                await asyncio.to_thread(self._follower.catch_up_now)
                await self._follower.pull_back()
                await end_drift(self.store, engine.memory)
                await self._follower.tell_drift()
                await self.housekeep()
                await asyncio.to_thread(self._tell_stranded)
            except BaseException:
                await asyncio.to_thread(self._unload)
                raise
            self._tasks = [
                asyncio.create_task(self._follower.run(), name="feedback_guard.follower"),
                asyncio.create_task(self._keep_house(), name="feedback_guard.housekeeping"),
            ]

    async def stop(self) -> None:
        """Let go of model and store. It may be called twice, and `start` may follow."""
        async with self._starting:
            tasks, self._tasks = self._tasks, []
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.to_thread(self._unload)

    def new_id(self) -> str:
        """Make an identifier that sorts by time and cannot be guessed."""
        return f"{self.clock.now_us():016x}-{secrets.token_hex(10)}"

    async def judge(self, submission: Submission) -> Judgement:
        """Judge the contributions of one request, record the verdicts, and say what to do.

        Raises
        ------
        ContributionError
            If a text is beyond its bounds in canonical form.
        StoreError
            If the record could not be made; then nothing happened. `StoreFullError` if nothing more can be held,
            `ClaimLostError` if another delivery of the same request took over.
        ReceiptError
            If a receipt is used up, or what was served is not what the contribution says.
        """
        if not submission.contributions:
            raise UsageError("a submission holds at least one contribution")
        if self._engine is None:
            await self.start()
        await self.receipts.look(submission.votes)
        engine, began = self.engine, self.clock.monotonic()
        early = engine.settler.early(submission)
        refusal = self.store.latest.peek(early, self.store.now_us())
        if refusal is None and self._shared is not None:
            refusal = await self._shared.peek(early, self.store.now_us())
        self._time("limits", began)
        observations: dict[str, Observation] = {}
        proposals: list[Assessment] = []
        if refusal is None:
            observations = await self._observe(engine, submission.contributions)
            mark = self.clock.monotonic()
            proposals = [
                engine.assessor.assess(observations[item.id])
                if item.id in observations
                else engine.assessor.failed("its vectors did not come in time, or not at all")
                for item in submission.contributions
            ]
            self._time("assess", mark)
        limiter = engine.limiter
        readings = {} if limiter is None else {name: limiter.read(each) for name, each in observations.items()}
        ident, recording, mark = self.new_id(), self._recording(), self.clock.monotonic()
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
            return settled, delivery, self.receipts.cast(tx, submission, settled, acts=self.enforcing)

        if self._follower is not None:
            self._follower.expect(observations)
        try:
            settled, delivery, withdrawn = await self.store.run(record, () if bill is None else bill.lookups)
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
        self._wake()
        return Judgement(
            submission=ident,
            verdicts=settled.verdicts,
            decision=settled.decision,
            delivery=delivery,
            observed=not self.enforcing,
            refusal=settled.refusal,
        )

    async def record_delivery(
        self,
        submission_id: str,
        to: Delivery,
        detail: Mapping[str, JsonValue],
        *,
        fence: int = 0,
        again: bool = False,
    ) -> None:
        """Record what the application did with a request.

        Parameters
        ----------
        fence
            The claim that it is the outcome of; 0 for a request that was given to the application at once.
        again
            Whether a further attempt could end better. There is one only where the policy declares the application
            idempotent, and within the bounds of `replay`.

        Raises
        ------
        TransitionError
            If the request was not being dispatched; `FencedError` if the claim is over.
        StoreError
            If the record could not be made; the request stays `DISPATCHING` and becomes `UNKNOWN` later.
        """
        retries = self._retries if again else None
        await self.store.run(
            lambda tx: tx.deliver(submission_id, to, now_us=tx.now_us(), detail=detail, fence=fence, retries=retries),
            outcome_of="" if fence else submission_id,
        )
        self.metrics.delivery(to.value)

    async def claim_approved(self, routes: Sequence[str], limit: int = 10, *, lease_us: int = LEASE_US) -> list[Claim]:
        """Claim approved requests for this process's application; no other process gets the same ones.

        Parameters
        ----------
        lease_us
            How long the claims are good, in microseconds of the store's clock. Whoever calls the application under a
            claim ends the call before.
        """
        return await self.store.run(
            lambda tx: tx.claim_approved(
                self.worker,
                now_us=tx.now_us(),
                limit=limit,
                application=self.policy.application_name,
                routes=routes,
                lease_us=lease_us,
            )
        )

    def unseal(self, claim: Claim) -> bytes | None:
        """The credentials that are kept for a claimed request; None if there are none.

        Raises
        ------
        CredentialError
            If they cannot be decrypted.
        """
        if claim.sealed is None:
            return None
        if self._keyring is None:
            raise CredentialError(f"the kept credentials need the key {claim.sealed.key_id}, and there are no keys")
        return self._keyring.open(claim.sealed, bound_to=claim.submission)

    async def release(self, submission_id: str, fence: int, reason: str) -> None:
        """Give a claim back: the application was not called under it.

        Raises
        ------
        TransitionError
            If the claim is over.
        """
        await self.store.run(lambda tx: tx.release(submission_id, fence=fence, now_us=tx.now_us(), reason=reason))

    async def resolve(
        self,
        submission_id: str,
        resolution: Resolution,
        *,
        moderator: str,
        note: str = "",
        version: int | None = None,
    ) -> StoredSubmission:
        """Record what a moderator says about a request that did not plainly arrive.

        Raises
        ------
        TransitionError
            If the version is stale, the submission is unknown, or that is no way on from its present state.
        """
        stored = await self.store.run(
            lambda tx: tx.resolve(
                submission_id, resolution, moderator=moderator, note=note, version=version, now_us=tx.now_us()
            )
        )
        self.decided.set()
        return stored

    async def decide(
        self, submission_id: str, *, approve: bool, moderator: str, note: str = "", version: int | None = None
    ) -> StoredSubmission:
        """Record a moderator's decision.

        Raises
        ------
        TransitionError
            If the version is stale, the submission is unknown, or the decision cannot follow its present state.
        """
        stored = await self.store.run(
            lambda tx: tx.decide(
                submission_id,
                approve=approve,
                moderator=moderator,
                note=note,
                version=version,
                now_us=tx.now_us(),
                limits=self.policy.limits,
                reputation=self.terms,
            )
        )
        self.decided.set()
        self._wake()
        return stored

    async def catch_up(self) -> None:
        """Let the detectors follow everything that the ledger holds by now."""
        if self._follower is None:
            raise UsageError("the guard is not started; await guard.start() first")
        await self._follower.catch_up()
        await self._follower.tell()

    def noticed(self) -> None:
        """Wake whoever waits for decisions: some were made, in this process and not through `decide`."""
        self.decided.set()
        self._wake()

    async def housekeep(self) -> None:
        """Send a heartbeat, give up what lost processes were dispatching, and refresh the gauges."""
        moved = await self._keeper.keep(self.store, self._engine)
        if self._follower is not None:
            await self._follower.tell()
        if moved:
            self.noticed()

    def _tell_stranded(self) -> None:
        for stranded in stranded_requests(self.store.kept_requests(), self.policy):
            if stranded.certain:
                log.warning("%s", stranded.message)

    def _load(self) -> Engine:
        self._keyring = keyring_of(self.policy)
        self.receipts.load()
        self._store = self._store or Store.open(self.policy.store, clock=self.clock)
        self._shared = share_levels(self.policy, self._store, self.metrics)
        self._engine = Engine.load(
            self.policy, self.policy_digest, embedder=self._embedder, on_batch=self.metrics.batch
        )
        return self._engine

    def _unload(self) -> None:
        engine, self._engine, self._follower = self._engine, None, None
        store, self._store = self._store, None
        shared, self._shared = self._shared, None
        if shared is not None:
            shared.close()
        if engine is not None:
            engine.batcher.close()
        if store is not None:
            store.close()

    async def _observe(self, engine: Engine, contributions: Sequence[Contribution]) -> dict[str, Observation]:
        """Canonical texts and vectors of each contribution; none at all if the model failed or was late."""
        mark = self.clock.monotonic()
        texts = {item.id: canonical_texts(item) for item in contributions}
        self._time("text", mark)
        mark = self.clock.monotonic()
        flat = [text.text for fields in texts.values() for text in fields.values()]
        try:
            vectors = iter(await engine.batcher.embed(flat, deadline_us=self.policy.embedding.deadline))
        except EmbeddingError as error:
            log.error("a contribution could not be embedded: %s", error)
            self.metrics.failed("embedding")
            return {}
        self._time("embedding", mark)
        return {
            item.id: Observation(item, texts[item.id], {name: next(vectors) for name in texts[item.id]})
            for item in contributions
        }

    def _recording(self) -> Recording:
        return Recording(self.enforcing, self.worker, self.policy.application_name, self._keyring)

    async def _pull_back(self, charges: Sequence[Charge]) -> None:
        """Hold again what was accepted before its campaign was found."""
        if not self.enforcing:
            return
        pulled = [PullBack(charge.ident, charge.campaign) for charge in charges]
        after_us, after = self.policy.staging.mature_after, self.policy.snapshot.mature_after_count
        held = await self.store.run(
            lambda tx: tx.pull_back(pulled, now_us=tx.now_us(), mature_after_us=after_us, mature_after_count=after)
        )
        self.metrics.pulled_back(len(held))
        if held:
            log.warning(
                "%d accepted contributions belong to a campaign and are held again, %s first", len(held), held[0]
            )
            self._wake()

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(housekeeping.SECONDS)
            try:
                await self.housekeep()
            except StoreError:
                log.exception("housekeeping failed; trying again")
                self.metrics.failed("store")

    def _wake(self) -> None:
        if self._follower is not None:
            self._follower.wake()

    def _time(self, stage: str, since: float) -> None:
        self.metrics.stage(stage, max(0.0, self.clock.monotonic() - since))
