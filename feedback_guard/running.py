"""A guard put together, started and stopped: its model, its store, and what goes on beside the judging.

What judges is imported when it is started: who only looks at the store, as most commands do, waits for no detectors.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import random
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from feedback_guard import housekeeping
from feedback_guard.bulk import keep_told
from feedback_guard.clock import Clock, SystemClock
from feedback_guard.drifting import end_drift, keep_drift
from feedback_guard.errors import StoreError, UsageError
from feedback_guard.keyring import Keyring, keyring_of
from feedback_guard.limits.newcomers import POOL
from feedback_guard.limits.probing import NAMES
from feedback_guard.limits.redis import SharedLevels
from feedback_guard.limits.sharing import share_levels
from feedback_guard.metrics import Metrics
from feedback_guard.policy.loader import load_policy, policy_digest
from feedback_guard.policy.schema import Mode, Policy
from feedback_guard.repeats import RepeatBook, lease_of
from feedback_guard.retrying import retries_of
from feedback_guard.store.database import Store
from feedback_guard.store.records import PullBack
from feedback_guard.stranded import stranded_requests
from feedback_guard.terms import terms_in
from feedback_guard.uninterrupted import heard, to_its_end
from feedback_guard.votes import ReceiptBook

if TYPE_CHECKING:
    from feedback_guard.embedding.interface import Embedder
    from feedback_guard.engine import Engine
    from feedback_guard.evidence.entries import Charge
    from feedback_guard.judging import Judging
    from feedback_guard.learning.follower import Follower

log = logging.getLogger(__name__)


class Running:
    """What a guard is made of, and its life from `start` to `stop`; `Guard` adds what is asked of it meanwhile.

    While it runs, the follower folds the ledger into the detectors, and every few seconds house is kept.
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
        self._judging: Judging | None = None
        self._starting = asyncio.Lock()
        self._start: asyncio.Task[Judging] | None = None
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
        await self._put_up()

    async def _started(self) -> Judging:
        """What judges; started for the first who asks. Whoever gives up waiting for it leaves it to who comes next."""
        if self._judging is not None:
            return self._judging
        if self._start is None or self._start.done():
            starting = self._put_up()
            self._start = asyncio.create_task(starting, name="feedback_guard.start", context=contextvars.Context())
            self._start.add_done_callback(heard)  # perhaps by nobody else
        return await asyncio.shield(self._start)

    async def _put_up(self) -> Judging:
        async with self._starting:
            if self._judging is not None:
                return self._judging
            try:
                engine = await to_its_end(self._load)  # in a thread, with all that it imports
                from feedback_guard.learning.follower import Follower

                self._follower = follower = Follower(
                    self.store,
                    engine.memory,
                    self.metrics,
                    handover=self.store.handover,
                    on_pulled=self._pull_back,
                    on_told=functools.partial(keep_told, self.store),
                    on_drift=functools.partial(keep_drift, self.store),
                )
                await asyncio.to_thread(follower.catch_up_now)
                await follower.pull_back()
                await end_drift(self.store, engine.memory)
                await follower.tell_drift()
                await self.housekeep()
                await asyncio.to_thread(self._tell_stranded)
                self._judging = self._put_together(engine, follower)  # last: nothing is judged by half-read detectors
            except BaseException:
                await asyncio.to_thread(self._unload)
                raise
            self._tasks = [
                asyncio.create_task(follower.run(), name="feedback_guard.follower"),
                asyncio.create_task(self._keep_house(), name="feedback_guard.housekeeping"),
            ]
            return self._judging

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

    def _put_together(self, engine: Engine, follower: Follower) -> Judging:
        from feedback_guard.judging import Judging
        from feedback_guard.recording import Recording
        from feedback_guard.turns import Turns

        return Judging(
            engine=engine,
            assessing=Turns(engine.assessor.assess_all),
            store=self.store,
            shared=self._shared,
            receipts=self.receipts,
            recording=Recording(self.enforcing, self.worker, self.policy.application_name, self._keyring),
            follower=follower,
            metrics=self.metrics,
            clock=self.clock,
            deadline_us=self.policy.embedding.deadline,
            new_id=self.new_id,
        )

    def _load(self) -> Engine:
        from feedback_guard.engine import Engine

        self._keyring = keyring_of(self.policy)
        self.receipts.load()
        self._store = self._store or Store.open(self.policy.store, clock=self.clock)
        self._shared = share_levels(self.policy, self._store, self.metrics)
        self._engine = Engine.load(
            self.policy, self.policy_digest, embedder=self._embedder, on_batch=self.metrics.batch
        )
        return self._engine

    def _unload(self) -> None:
        self._judging = None
        engine, self._engine, self._follower = self._engine, None, None
        store, self._store = self._store, None
        shared, self._shared = self._shared, None
        if shared is not None:
            shared.close()
        if engine is not None:
            engine.batcher.close()
        if store is not None:
            store.close()

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
