"""The guard: it judges, and records what becomes of what it judged. Several doors lead to it; it knows none of them.

What a caller may rely on:

1. A judgement is returned only after its record is committed.
2. Nothing passes unscored unless the policy says `fail_open`, and then it is marked and counted.
3. If the store cannot take the record, `StoreError` is raised and nothing was charged, held or accepted.
4. The detectors learn in one place, the follower, from committed events, in the order of the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from feedback_guard.errors import CredentialError, UsageError
from feedback_guard.running import Running
from feedback_guard.store.leases import LEASE_US
from feedback_guard.store.records import Claim, StoredSubmission
from feedback_guard.store.states import Delivery, Resolution
from feedback_guard.submission import Judgement, Submission


class Guard(Running):
    """Judges submissions, records what it decided, and follows the ledger.

    Make one with `from_policy`. `start` loads the model and opens the store; `judge` does so by itself if nobody did.

    Examples
    --------
    >>> guard = Guard.from_policy("observe")
    >>> guard.policy.name, guard.enforcing
    ('observe', False)
    """

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
        judging = self._judging or await self._started()
        return await judging.judge(submission)

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
