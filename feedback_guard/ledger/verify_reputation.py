"""Reputation held against the ledger: every account is the fold of its entries, and no entry breaks the arithmetic.

`fold` is also how accounts and predictions are made anew from the ledger alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sqlalchemy import Connection, select

from feedback_guard.errors import LimitError
from feedback_guard.ledger.report import Fault, Report
from feedback_guard.limits.bankroll import Account, Move, applied
from feedback_guard.store import tables
from feedback_guard.store.reputation import KIND, account_row

STREAM: Final = 1_000
"""Rows fetched at a time."""
_L: Final = tables.ledger.c
_ENTRIES: Final = (
    select(_L.seq, _L.subject, _L.body).where(_L.kind == KIND).order_by(_L.seq).execution_options(yield_per=STREAM)
)


@dataclass
class Folded:
    """What the ledger says about reputation.

    Parameters
    ----------
    accounts
        By identity, as they follow from the entries.
    beliefs
        Predictions of audit items, by item.
    faults
        Position, subject and a sentence for each entry that cannot be.
    """

    accounts: dict[str, Account] = field(default_factory=dict)
    beliefs: dict[str, int] = field(default_factory=dict)
    faults: list[tuple[int, str, str]] = field(default_factory=list)
    _audited: set[str] = field(default_factory=set)
    _ruled: dict[str, tuple[str, int]] = field(default_factory=dict)

    def add(self, seq: int, subject: str, told: Mapping[str, Any]) -> None:
        """Fold in one entry; what it contradicts is noted, and the fold goes on."""
        try:
            self._add(seq, subject, told)
        except (KeyError, TypeError, LimitError) as error:
            self.faults.append((seq, subject, f"entry {seq} cannot be: {error}"))

    def _add(self, seq: int, subject: str, told: Mapping[str, Any]) -> None:
        identity, event = told["identity"], told["event"]
        account = self.accounts.get(identity)
        if event == "opened":
            if account is not None or told["number"] != len(self.accounts):
                self.faults.append((seq, subject, f"entry {seq} opens an account out of turn, or a second time"))
            first = told["endowment_pico"]
            self.accounts[identity] = Account(told["number"], first, first)
            return
        if account is None:
            self.faults.append((seq, subject, f"entry {seq} moves an account that was never opened"))
            return
        credited, back = told["credited_pico"], told["taken_back_pico"]
        if event == "audited":
            self._audit(seq, subject, told)
        else:
            self._rule(seq, subject, told)
        # The stake is what may be lost, and nobody stakes more than she has.
        start = account.balance + back
        if start < 0 or not 0 <= told["stake_pico"] <= max(0, start) or credited < -told["stake_pico"]:
            self.faults.append((seq, subject, f"entry {seq} stakes or moves more than the account has"))
        if back:
            account = replace(applied(account, Move(0, 0, back, 0)), n_measured=account.n_measured)
        if event == "ruled" or told["item"] is not None:
            account = applied(account, Move(told["stake_pico"], 0, credited, told["forfeited_pico"]))
        if account.balance != told["balance_pico"]:
            self.faults.append((seq, subject, f"entry {seq} says {told['balance_pico']}, its sum is {account.balance}"))
        self.accounts[identity] = account

    def _audit(self, seq: int, subject: str, told: Mapping[str, Any]) -> None:
        if subject in self._audited:
            self.faults.append((seq, subject, f"entry {seq} audits a contribution a second time"))
        self._audited.add(subject)
        if told["item"] is not None:
            self.beliefs[told["item"]] = told["belief_pico"]

    def _rule(self, seq: int, subject: str, told: Mapping[str, Any]) -> None:
        earlier = self._ruled.get(subject)
        if earlier is not None and earlier[0] == told["ruling"]:
            self.faults.append((seq, subject, f"entry {seq} counts the same ruling a second time"))
        if told["taken_back_pico"] and (earlier is None or abs(told["taken_back_pico"]) > abs(earlier[1])):
            self.faults.append((seq, subject, f"entry {seq} takes back what no ruling had moved"))
        self._ruled[subject] = told["ruling"], told["credited_pico"]


def fold(entries: Iterable[tuple[int, str, str]]) -> Folded:
    """Accounts and predictions from the ledger's entries of reputation: position, subject and body, in order."""
    folded = Folded()
    for seq, subject, body in entries:
        folded.add(seq, subject, json.loads(body))
    return folded


def fold_store(connection: Connection) -> Folded:
    """`fold` of the ledger in a database."""
    return fold((row.seq, row.subject, row.body) for row in connection.execute(_ENTRIES))


def verify_reputation(connection: Connection, report: Report) -> None:
    """Hold the accounts and predictions against the ledger; the chain itself was verified before."""
    folded = fold_store(connection)
    for seq, subject, message in folded.faults:
        report.found(Fault.ILLEGAL, message, seq=seq, subject=subject)
    left = dict(folded.accounts)
    for row in connection.execute(select(tables.reputation).execution_options(yield_per=STREAM)).mappings():
        expected = left.pop(row["identity"], None)
        if expected is None:
            report.found(
                Fault.ROW_UNRECORDED, "the ledger never opened this account of reputation", subject=row["identity"]
            )
        elif dict(row) != account_row(row["identity"], expected):
            report.found(Fault.ROW_EDITED, "its reputation is not what the ledger adds up to", subject=row["identity"])
    for identity in left:
        report.found(Fault.ROW_REMOVED, "the ledger speaks of an account of reputation that is gone", subject=identity)
    beliefs = dict(folded.beliefs)
    for item, belief in connection.execute(select(tables.audited_item)):
        if beliefs.pop(item, None) != belief:
            report.found(Fault.ROW_EDITED, "the prediction of an audit item is not the one recorded", subject=item)
    for item in beliefs:
        report.found(Fault.ROW_REMOVED, "the prediction of an audit item is gone", subject=item)
