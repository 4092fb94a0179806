"""What can be done to the record, each with its ledger entries, inside the writer's transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pydantic import JsonValue
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from feedback_guard.errors import LedgerError, UsageError
from feedback_guard.limits.interface import BudgetRecord, Charge
from feedback_guard.limits.reputation import Measured, Terms
from feedback_guard.policy.limits import LimitPolicy
from feedback_guard.store import (
    campaign_decisions,
    campaigns,
    decisions,
    deliveries,
    leases,
    pulling,
    reputation,
    resolutions,
    tables,
    withdrawing,
)
from feedback_guard.store.campaign_decisions import CampaignDecision, Selection
from feedback_guard.store.campaigns import Told, member_of
from feedback_guard.store.group import Group
from feedback_guard.store.records import Claim, NewSubmission, PullBack, StoredSubmission
from feedback_guard.store.retries import Retries
from feedback_guard.store.rows import Surroundings, contribution_row, judged_body, sha256_hex
from feedback_guard.store.states import Delivery, Learning, Resolution, check_delivery, check_learning

RESERVED: Final = frozenset(
    {
        "judged",
        "approved",
        "denied",
        "held",
        "withdrawn",
        "delivery",
        reputation.KIND,
        *campaign_decisions.RULINGS.values(),
    }
)
"""Kinds of ledger entries that only transitions write."""


class Transaction:
    """A job's view of the writer's transaction. It ends with the job; keep no reference.

    Parameters
    ----------
    group
        What the jobs of this transaction share.
    """

    def __init__(self, group: Group) -> None:
        self._group = group

    @property
    def connection(self) -> Connection:
        """The connection, for tables of one's own. Never commit or roll back on it."""
        return self._group.connection

    @property
    def budgets(self) -> BudgetRecord:
        """Budgets, charged in this transaction."""
        return self._group.budgets

    def now_us(self) -> int:
        """The time by the store's clock, which all its hosts share."""
        return self._group.now_us()

    def prefetch(self, charges: Sequence[Charge]) -> None:
        """Read the counters of charges that are about to be made, in one statement."""
        self._group.budgets.prefetch(charges)

    def append(self, kind: str, subject: str, body: Mapping[str, JsonValue], now_us: int) -> int:
        """Add an entry of one's own to the ledger.

        Parameters
        ----------
        kind
            A lower-case word; not one that the store's transitions write.
        subject
            What it is about.
        body
            The particulars: texts, integers, booleans, null, lists and objects; no floats.
        now_us
            Microseconds since the epoch.

        Returns
        -------
        int
            Its position.

        Raises
        ------
        LedgerError
            If the kind is reserved, or the body holds what a record may not.
        """
        if kind in RESERVED:
            raise LedgerError(f"{kind!r} entries are written by the store's own transitions; choose another kind")
        return self._group.append(kind, subject, body, now_us)

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
        if not submission.judged:
            raise UsageError("a submission holds at least one contribution")
        check_delivery(None, submission.delivery)
        for judged in submission.judged:
            check_learning(None, judged.learning)
        rows = [contribution_row(item, submission.id, place) for place, item in enumerate(submission.judged)]
        n_held = sum(judged.learning is Learning.HELD for judged in submission.judged)
        waiting = n_held > 0 or submission.delivery is Delivery.HELD
        if waiting:
            self._group.hold(n_held)
        request = submission.request if waiting else None
        self._group.insert(
            {
                "id": submission.id,
                "route": submission.route,
                "at_us": submission.at_us,
                "anonymous": int(submission.anonymous),
                "delivery": submission.delivery.value,
                "version": 1,
                "n_held": n_held,
                "waiting": int(waiting),
                "request": request,
                "worker": submission.worker,
                "moved_us": submission.at_us,
                "detail": None,
            },
            rows,
            None if request is None else _replay_row(submission),
            [
                member_of(item.contribution, item.verdict.campaign, submission.at_us)
                for item in submission.judged
                if item.verdict.campaign is not None
            ],
        )
        around = Surroundings(
            submission=submission.id,
            route=submission.route,
            at_us=submission.at_us,
            anonymous=submission.anonymous,
            request_sha256=None if request is None else sha256_hex(request),
            delivery=submission.delivery.value,
        )
        for row in rows:
            self._group.append("judged", row["id"], judged_body(row, row["learning"], around), submission.at_us)

    def decide(
        self,
        submission_id: str,
        *,
        approve: bool,
        moderator: str,
        note: str = "",
        version: int | None = None,
        now_us: int,
        limits: Sequence[LimitPolicy] = (),
        reputation: Terms | None = None,
    ) -> StoredSubmission:
        """Record a moderator's decision on everything in a submission that it can still change.

        Parameters
        ----------
        version
            The version that the moderator saw; None decides on whatever is there.
        limits
            The policy's limits. What is approved charges its influence to them by force, once.
        reputation
            The constants of reputation: the decision moves what its contributors have earned. None moves nothing.

        Returns
        -------
        StoredSubmission
            As it is afterwards.

        Raises
        ------
        TransitionError
            If it is unknown, the version is stale, or the decision cannot follow its present state.
        UsageError
            If the moderator has no name, or the note is too long.
        """
        return decisions.decide(
            self._group,
            self._group.budgets,
            submission_id,
            decisions.Decided(approve, moderator, note, version, now_us, reputation=reputation),
            limits,
        )

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

    def resolve(
        self,
        submission_id: str,
        resolution: Resolution,
        *,
        moderator: str,
        note: str = "",
        version: int | None = None,
        now_us: int,
    ) -> StoredSubmission:
        """Record what a moderator says about a request that did not plainly arrive.

        Parameters
        ----------
        version
            The version that the moderator saw; None speaks of whatever is there.

        Returns
        -------
        StoredSubmission
            As it is afterwards.

        Raises
        ------
        TransitionError
            If it is unknown, the version is stale, that is no way on from its state, or there is nothing to send.
        UsageError
            If the moderator has no name, or the note is too long.
        """
        return resolutions.resolve(
            self._group, submission_id, resolutions.Resolved(resolution, moderator, note, version, now_us)
        )

    def pull_back(self, pulled: Sequence[PullBack], *, now_us: int, mature_after_us: int) -> list[str]:
        """Hold accepted contributions again that a campaign was found to be made of; others are left as they are.

        Parameters
        ----------
        pulled
            Which, and the campaign of each.
        mature_after_us
            After so long a contribution may have been learnt: the ledger says so, for a recall.

        Returns
        -------
        list of str
            The contributions that are held now and were not before.
        """
        return pulling.pull_back(self._group, pulled, now_us=now_us, mature_after_us=mature_after_us)

    def tell(self, told: Sequence[Told]) -> None:
        """Write down what the evidence says about campaigns now; it is no event, so the ledger does not have it."""
        campaigns.tell(self.connection, told)

    def decide_campaign(
        self,
        name: str,
        selection: Selection,
        *,
        approve: bool,
        moderator: str,
        note: str = "",
        version: int | None = None,
        fence: int | None = None,
        now_us: int,
    ) -> CampaignDecision:
        """Record a decision on members of a campaign; `carry_on_campaign` then moves them, a batch at a time.

        Parameters
        ----------
        version
            The version of the campaign that the moderator saw; None decides on whatever is there.
        fence
            Number of the last member that she saw; later ones are not decided. None for all that are there.

        Raises
        ------
        TransitionError
            If there is no such campaign, the version is stale, another decision on it is under way, or nothing is left
            to decide.
        UsageError
            If the moderator has no name, or the note is too long.
        """
        return campaign_decisions.begin(
            self._group,
            name,
            selection,
            approve=approve,
            moderator=moderator,
            note=note,
            version=version,
            fence=fence,
            now_us=now_us,
        )

    def carry_on_campaign(
        self,
        decision: int,
        *,
        same_person: Callable[[str, str], bool],
        now_us: int,
        limits: Sequence[LimitPolicy] = (),
        most: int = campaign_decisions.BATCH,
        reputation: Terms | None = None,
    ) -> CampaignDecision:
        """Carry out the next batch of a decision on a campaign. Whoever does it, and however often, it is done once.

        Parameters
        ----------
        same_person
            Whether a contributor is the moderator; her own contributions are left alone.
        limits, reputation
            As for `decide`.
        most
            Most members in this batch.

        Returns
        -------
        CampaignDecision
            How far it got; call again while it is running.
        """
        return campaign_decisions.carry_on(
            self._group,
            self._group.budgets,
            decision,
            limits,
            same_person=same_person,
            now_us=now_us,
            most=most,
            reputation=reputation,
        )

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

    def deliver(
        self,
        submission_id: str,
        to: Delivery,
        *,
        now_us: int,
        detail: Mapping[str, JsonValue] | None = None,
        fence: int = 0,
        retries: Retries | None = None,
    ) -> Delivery:
        """Record what the application did with a request, with a `delivery` ledger entry.

        Parameters
        ----------
        detail
            What is known about it, any JSON; the row keeps it and the ledger its digest.
        fence
            The claim that it is the outcome of; 0 for a request that was given to the application at once.
        retries
            When the request is let through again if the outcome is bad; None for never.

        Returns
        -------
        Delivery
            Where it stands afterwards: `APPROVED` if there is to be another attempt.

        Raises
        ------
        FencedError
            If that claim is over.
        TransitionError
            If it is unknown, or is not being dispatched.
        """
        return deliveries.deliver(
            self._group, submission_id, to, now_us=now_us, detail=detail or {}, fence=fence, retries=retries
        )

    def claim_approved(
        self, worker: str, *, now_us: int, limit: int, routes: Sequence[str], lease_us: int = leases.LEASE_US
    ) -> list[Claim]:
        """Take approved requests, oldest first, to give them to the application. Nobody else gets the same ones.

        Parameters
        ----------
        worker
            This process; it should send heartbeats.
        now_us
            By the store's clock.
        limit
            Most requests to take.
        routes
            Only requests of these routes.
        lease_us
            How long the claims are good, in microseconds. Afterwards the requests are `UNKNOWN`.
        """
        return leases.claim_approved(self._group, worker, now_us=now_us, limit=limit, routes=routes, lease_us=lease_us)

    def release(self, submission_id: str, *, fence: int, now_us: int, reason: str) -> None:
        """Give a claim back: the application was not called. The request can be claimed again at once.

        Raises
        ------
        FencedError
            If that claim is over.
        TransitionError
            If it is unknown, or is not being dispatched.
        """
        leases.release(self._group, submission_id, fence=fence, now_us=now_us, reason=reason)

    def heartbeat(self, worker: str, now_us: int) -> None:
        """Say that a process is alive."""
        make = sqlite.insert if self.connection.dialect.name == "sqlite" else postgresql.insert
        new = make(tables.worker)
        self.connection.execute(
            new.on_conflict_do_update(index_elements=["id"], set_={"last_us": new.excluded.last_us}),
            {"id": worker, "started_us": now_us, "last_us": now_us},
        )

    def abandon_lost(self, now_us: int, after_us: int, retries: Retries | None = None) -> list[str]:
        """Give up claims whose lease ran out, and requests whose process sent no heartbeat for `after_us`.

        Nobody can tell what became of them.

        Parameters
        ----------
        now_us
            By the store's clock.
        after_us
            For requests that were given to the application at once, and so have no lease.
        retries
            Which of them are let through once more, and when; None for none.

        Returns
        -------
        list of str
            Submissions that went from `DISPATCHING` to `UNKNOWN`, even if they went on from there.
        """
        return leases.abandon_lost(self._group, now_us, after_us, retries)


def _replay_row(submission: NewSubmission) -> dict[str, Any]:
    sealed = submission.sealed
    return {
        "submission": submission.id,
        "fence": 0,
        "lease_us": 0,
        "due_us": 0,
        "attempts": 0,
        "since_us": 0,
        "key_id": None if sealed is None else sealed.key_id,
        "sealed": None if sealed is None else sealed.data,
    }
