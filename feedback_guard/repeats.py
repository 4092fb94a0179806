"""Requests that come again, as the doors see them: each question and each record is a transaction of its own.

What binds a claim to its submission is not here: that is done in the transaction that records the judgement.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from feedback_guard.clock import MICROSECONDS, Clock
from feedback_guard.policy.schema import Policy
from feedback_guard.settle import Settled, concealed
from feedback_guard.store import repeats
from feedback_guard.store.database import Store, Transaction
from feedback_guard.store.repeats import Claim, Found, KeptAnswer, RepeatKey
from feedback_guard.store.timing import store_time
from feedback_guard.submission import Submission
from feedback_guard.verdict import Decision

_MARGIN_US: Final = 10 * MICROSECONDS


def lease_of(policy: Policy) -> int:
    """How long a claim lasts that is not bound, in microseconds: longer than judging and recording can take."""
    return policy.embedding.deadline + 2 * policy.store.busy_timeout + _MARGIN_US


def settle_claim(tx: Transaction, submission: Submission, settled: Settled, ident: str) -> None:
    """Bind the claim of a submission that is being recorded, or give it back.

    What a budget had no room for may be sent again under the same key: the client was told when. A concealed refusal
    stays bound, since to its client it is an accepted contribution like any other.

    Raises
    ------
    ClaimLostError
        If somebody else took over; then nothing may be recorded.
    """
    if submission.claim is None:
        return
    if settled.decision is Decision.LIMIT and not concealed(submission, settled.refusal):
        repeats.release(tx.connection, submission.claim)
    else:
        repeats.bind(tx.connection, submission.claim, ident)


class RepeatBook:
    """Who has which key, and what was answered.

    Parameters
    ----------
    store
        Returns the store; asked at each use, since it is opened late and may be closed and opened again.
    clock
        Where the time comes from.
    lease_us
        How long a claim lasts that is not bound, in microseconds.
    """

    def __init__(self, store: Callable[[], Store], clock: Clock, lease_us: int) -> None:
        self._store = store
        self._clock = clock
        self._lease_us = lease_us

    async def claim(self, key: RepeatKey) -> Found:
        """Take a key if nobody has it, or say what is known of it.

        Raises
        ------
        StoreError
            If the store does not take it; then nobody has it.
        """
        return await self._store().run(
            lambda tx: repeats.claim(tx.connection, key, now_us=tx.now_us(), lease_us=self._lease_us)
        )

    async def look(self, key: RepeatKey) -> Found:
        """What is known of a key."""

        def read() -> Found:
            with self._store().reading() as connection:
                return repeats.look(connection, key, store_time(connection, self._clock))

        return await asyncio.to_thread(read)

    async def release(self, claim: Claim) -> None:
        """Give back a claim that came to nothing."""
        await self._store().run(lambda tx: repeats.release(tx.connection, claim))

    async def keep(self, submission: str, answer: KeptAnswer) -> None:
        """Keep the answer to a submission's request."""
        await self._store().run(lambda tx: repeats.keep(tx.connection, submission, answer))

    async def forget(self, submission: str) -> None:
        """Let a submission's request be judged again: the application had no part in it."""
        await self._store().run(lambda tx: repeats.forget(tx.connection, submission))
