"""What is recorded of the way of a request to the application, inside the writer's transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import JsonValue
from sqlalchemy.dialects import postgresql, sqlite

from feedback_guard.store import deliveries, leases, tables
from feedback_guard.store.inside import Inside
from feedback_guard.store.records import Claim
from feedback_guard.store.retries import Retries
from feedback_guard.store.states import Delivery


class Dispatching(Inside):
    """Claims on approved requests, what came of them, and the workers that hold them."""

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
        self,
        worker: str,
        *,
        now_us: int,
        limit: int,
        application: str,
        routes: Sequence[str],
        lease_us: int = leases.LEASE_US,
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
        application
            Only requests for this application, and those that an older guard kept, which name none.
        routes
            Only requests of these routes.
        lease_us
            How long the claims are good, in microseconds. Afterwards the requests are `UNKNOWN`.
        """
        return leases.claim_approved(
            self._group,
            worker,
            now_us=now_us,
            limit=limit,
            application=application,
            routes=routes,
            lease_us=lease_us,
        )

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
