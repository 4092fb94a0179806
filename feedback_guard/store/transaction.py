"""What can be done to the record, each with its ledger entries, inside the writer's transaction."""

from __future__ import annotations

from collections.abc import Sequence

from feedback_guard.limits.reputation import Measured, Terms
from feedback_guard.store import campaigns, inserting, pulling, reputation, withdrawing
from feedback_guard.store.campaigns import Told
from feedback_guard.store.deciding import Deciding
from feedback_guard.store.dispatching import Dispatching
from feedback_guard.store.records import NewSubmission, PullBack


class Transaction(Deciding, Dispatching):
    """A job's view of the writer's transaction. It ends with the job; keep no reference.

    Parameters
    ----------
    group
        What the jobs of this transaction share.
    """

    def insert(self, submission: NewSubmission) -> None:
        """Record a submission, its contributions, and one `judged` ledger entry for each.

        Raises
        ------
        StoreFullError
            If it would be held and nothing more can be.
        TransitionError
            If a state is none to begin in.
        UsageError
            If it has no contributions.
        """
        inserting.insert(self._group, submission)

    def bank(self, terms: Terms) -> reputation.SqlBank:
        """Reputation, moved in this transaction."""
        return reputation.SqlBank(self._group, terms)

    def audit_due(self, terms: Terms, *, now_us: int, limit: int) -> list[Measured]:
        """Audit accepted contributions that are mature: their final weight, and what they did to the audit set.

        Parameters
        ----------
        terms
            The constants of reputation.
        limit
            Most that are audited at once.
        """
        return reputation.audit_due(self._group, terms, now_us=now_us, limit=limit)

    def pull_back(
        self, pulled: Sequence[PullBack], *, now_us: int, mature_after_us: int, mature_after_count: int = 0
    ) -> list[str]:
        """Hold accepted contributions again that a campaign was found to be made of; others are left as they are.

        Parameters
        ----------
        pulled
            Which, and the campaign of each.
        mature_after_us, mature_after_count
            After so long, and so many that were judged after it, a contribution may have been learnt, as it may if a
            snapshot holds it: the ledger says so, for a recall.

        Returns
        -------
        list of str
            The contributions that are held now and were not before.
        """
        return pulling.pull_back(
            self._group,
            pulled,
            now_us=now_us,
            mature_after_us=mature_after_us,
            mature_after_count=mature_after_count,
        )

    def tell(self, told: Sequence[Told]) -> None:
        """Write down what the evidence says about campaigns now; it is no event, so the ledger does not have it."""
        campaigns.tell(self.connection, told)

    def withdraw(self, contribution_id: str, *, by: str, now_us: int) -> bool:
        """Withdraw a contribution in whose place its contributor put another; nothing teaches from it any more.

        A kept request that the application has not seen goes with it, unless other contributions of it stand.

        Parameters
        ----------
        by
            The contribution that takes its place.

        Returns
        -------
        bool
            Whether it could still teach; one that was limited, rejected or denied stays as it is.
        """
        return withdrawing.withdraw(self._group, contribution_id, by=by, now_us=now_us)
