"""Receipts as the pipeline and the doors see them: their keys, the votes that they allow, what was streamed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from feedback_guard.clock import Clock
from feedback_guard.errors import UsageError
from feedback_guard.policy.schema import Policy
from feedback_guard.receipts.keys import ReceiptKeys
from feedback_guard.receipts.signer import ReceiptSigner
from feedback_guard.receipts.verifier import Verifier
from feedback_guard.settle import Settled, concealed
from feedback_guard.store import votes
from feedback_guard.store.database import Store, Transaction
from feedback_guard.store.votes import Vote
from feedback_guard.submission import Submission
from feedback_guard.verdict import Decision


class ReceiptBook:
    """What a guard does with receipts.

    Parameters
    ----------
    policy
        Where the keys are, how long receipts are good.
    store
        Returns the store; asked at each use, since it is opened late and may be closed and opened again.
    clock
        Where the time comes from.
    """

    def __init__(self, policy: Policy, store: Callable[[], Store], clock: Clock) -> None:
        self._policy = policy.receipts
        self._store = store
        self._clock = clock
        self._keys: ReceiptKeys | None = None

    def load(self) -> None:
        """Read the keys, if the policy names any; at the start of the guard.

        Raises
        ------
        CredentialError
            If they are not there, or are no keys.
        """
        self._keys = None if self._policy.keys is None else ReceiptKeys.read(self._policy.keys)

    @property
    def signer(self) -> ReceiptSigner:
        """Signs with the newest key.

        Raises
        ------
        GuardError
            If there is none.
        """
        return ReceiptSigner(self._needed, lifetime_us=self._policy.lifetime, clock=self._clock)

    @property
    def verifier(self) -> Verifier:
        """Believes all keys.

        Raises
        ------
        GuardError
            If there are none.
        """
        return Verifier(self._needed, leeway_us=self._policy.leeway)

    async def look(self, cast: Sequence[Vote]) -> None:
        """See that votes can be taken, before anything costly is done for them.

        Raises
        ------
        ReceiptError
            If one was taken already, or speaks of a text that was not served.
        """
        if any(not vote.replaces or vote.served_sha256 for vote in cast):
            await asyncio.to_thread(self._look, cast)

    def cast(self, tx: Transaction, submission: Submission, settled: Settled, *, acts: bool) -> int:
        """Make the contributions of a submission live votes, in the transaction that records them.

        What was visibly refused leaves the earlier vote as it is, and may be sent again. What was refused and does
        not look so uses the receipt up like any other.

        Parameters
        ----------
        acts
            Whether the guard acts on its verdicts; otherwise everything counts as taken.

        Returns
        -------
        int
            Number of earlier votes that were withdrawn.

        Raises
        ------
        ReceiptError
            If another request was faster; then nothing may be recorded.
        """
        if not submission.votes:
            return 0
        taken = not acts or settled.decision in {Decision.ACCEPT, Decision.QUARANTINE}
        if not taken and not (
            concealed(submission, settled.refusal) or (submission.conceal and settled.decision is Decision.REJECT)
        ):
            return 0
        return sum(
            votes.cast(tx, vote, item.id, now_us=tx.now_us())
            for item, vote in zip(submission.contributions, submission.votes, strict=True)
            if taken or not vote.replaces
        )

    async def serve(self, key_sha256: str, output: bytes) -> None:
        """Keep the digest of a streamed answer as long as its receipt may be good.

        Raises
        ------
        StoreError
            If the store does not take it; feedback on that answer is refused then.
        """
        expires_us = self._clock.now_us() + self._policy.lifetime + 2 * self._policy.leeway
        await self._store().run(lambda tx: votes.serve(tx.connection, key_sha256, output, expires_us))

    def _look(self, cast: Sequence[Vote]) -> None:
        with self._store().reading() as connection:
            votes.look(connection, cast)

    @property
    def _needed(self) -> ReceiptKeys:
        if self._keys is None:
            self.load()
        if self._keys is None:
            raise UsageError("the policy does not say where the keys of receipts are; set `receipts.keys`")
        return self._keys
