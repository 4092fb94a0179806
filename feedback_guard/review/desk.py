"""What the review application needs of a guard. It never judges, so it loads no model.

`Guard` is a desk, started or not: its store opens at first use. The command line works at one as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from feedback_guard.clock import Clock
from feedback_guard.metrics import Metrics
from feedback_guard.policy.schema import Policy
from feedback_guard.store.database import Store
from feedback_guard.store.records import StoredSubmission
from feedback_guard.store.states import Resolution

T = TypeVar("T")


class Desk(Protocol):
    """Where moderators sit."""

    @property
    def policy(self) -> Policy:
        """Who may decide, and for how long a login lasts."""
        ...

    @property
    def clock(self) -> Clock:
        """Where the time comes from."""
        ...

    @property
    def store(self) -> Store:
        """The record."""
        ...

    @property
    def metrics(self) -> Metrics:
        """What `/metrics` shows."""
        ...

    async def decide(
        self, submission_id: str, *, approve: bool, moderator: str, note: str = "", version: int | None = None
    ) -> StoredSubmission:
        """Record a decision, and wake whoever waits for one."""
        ...

    async def resolve(
        self,
        submission_id: str,
        resolution: Resolution,
        *,
        moderator: str,
        note: str = "",
        version: int | None = None,
    ) -> StoredSubmission:
        """Record a way on from a request that did not plainly arrive, and wake whoever waits for one."""
        ...

    def noticed(self) -> None:
        """Wake whoever waits for decisions: some were made on a campaign."""
        ...


async def read(desk: Desk, job: Callable[[Connection], T]) -> T:
    """Run a read-only job on the store, off the event loop."""

    def look() -> T:
        with desk.store.reading() as connection:
            return job(connection)

    return await asyncio.to_thread(look)
