"""What every job may use inside the writer's transaction: the connection, the budgets, the clock and the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import JsonValue
from sqlalchemy import Connection

from feedback_guard.errors import LedgerError
from feedback_guard.limits.charging import counters_of
from feedback_guard.limits.interface import BudgetRecord, Charge
from feedback_guard.store import campaign_decisions, drift_alarms, reputation
from feedback_guard.store.group import Group

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
        *drift_alarms.KINDS,
    }
)
"""Kinds of ledger entries that only transitions write."""


class Inside:
    """The inside of the writer's transaction; `Transaction` adds what can be done to the record.

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
        self._group.budgets.prefetch(counters_of(charges))

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
