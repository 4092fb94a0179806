"""Questions to the record of reputation. Each looks at one state of the database and changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, case, func, select

from feedback_guard.ledger.chain import Entry
from feedback_guard.limits.bankroll import PICO, Account
from feedback_guard.store import tables
from feedback_guard.store.reputation import KIND, account_of

_R: Final = tables.reputation.c
_L: Final = tables.ledger.c
MAX_ESTABLISHED: Final = 200_000
"""Most identities that are remembered as established, those with the most first."""


@dataclass(frozen=True, slots=True)
class Totals:
    """All accounts together, in pico-units where they are sums."""

    identities: int
    measured: int
    endowed: int
    gained: int
    lost: int
    forfeited: int
    full: int
    established: int
    spent: int


def totals(connection: Connection, least: int) -> Totals:
    """Sums over all accounts; `least` is the balance from which one is established."""

    def sum_of(what: object) -> object:
        return func.coalesce(func.sum(what), 0)

    row = connection.execute(
        select(
            func.count(),
            sum_of(_R.n_measured),
            sum_of(_R.endowment),
            sum_of(_R.gained),
            sum_of(_R.lost),
            sum_of(_R.forfeited),
            sum_of(case((_R.balance >= PICO, 1), else_=0)),
            sum_of(case((_R.balance >= least, 1), else_=0)),
            sum_of(case((_R.balance < _R.endowment, 1), else_=0)),
        ).select_from(tables.reputation)  # type: ignore[call-overload]
    ).one()
    return Totals(*(int(each) for each in row))


def ranked(connection: Connection, *, limit: int, lowest: bool = False) -> list[tuple[str, Account]]:
    """Accounts by balance."""
    order = _R.balance.asc() if lowest else _R.balance.desc()
    rows = connection.execute(select(tables.reputation).order_by(order, _R.number).limit(limit)).mappings()
    return [(row["identity"], account_of(row)) for row in rows]


def established(connection: Connection, least: int) -> frozenset[str]:
    """Identities with at least this balance, at most `MAX_ESTABLISHED`."""
    query = select(_R.identity).where(_R.balance >= least).order_by(_R.balance.desc()).limit(MAX_ESTABLISHED)
    return frozenset(connection.execute(query).scalars())


def entries_of(connection: Connection, identity: str, limit: int) -> list[Entry]:
    """The latest ledger entries about an account, oldest first.

    They stand under the contributions that moved it; a stake names whose it is.
    """
    mine = (
        select(tables.ledger)
        .join(tables.stake, tables.stake.c.contribution == _L.subject)
        .where(tables.stake.c.identity == identity, _L.kind == KIND)
        .order_by(_L.seq.desc())
        .limit(limit)
    )
    return [Entry(*row) for row in reversed(connection.execute(mine).all())]
