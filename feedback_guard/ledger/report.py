"""What a verification of the ledger found."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from feedback_guard.ledger.chain import GENESIS, Checkpoint

MAX_FINDINGS: Final = 1_000
"""Most findings that are kept; further ones are only counted."""


class Fault(StrEnum):
    """What is wrong with the record."""

    EDITED = "edited"
    """An entry does not have the hash it carries."""
    MISSING = "missing"
    """Positions in the ledger are empty."""
    UNLINKED = "unlinked"
    """An entry does not follow the one before it."""
    TRUNCATED = "truncated"
    """The ledger ends before a checkpoint."""
    REWRITTEN = "rewritten"
    """The entry at a checkpoint is another one."""
    ROW_EDITED = "row-edited"
    """A row says something else than the ledger."""
    ROW_REMOVED = "row-removed"
    """The ledger speaks of a row that is not there."""
    ROW_UNRECORDED = "row-unrecorded"
    """A row is there of which the ledger says nothing."""
    ILLEGAL = "illegal"
    """The ledger records a transition that the states do not have."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Parameters
    ----------
    fault
        What kind of thing.
    message
        A sentence. It never repeats contributed text.
    seq
        Position in the ledger, if it is about an entry.
    subject
        Contribution, submission or snapshot, if it is about one.
    """

    fault: Fault
    message: str
    seq: int | None = None
    subject: str | None = None


@dataclass(slots=True)
class Report:
    """What a verification found.

    Parameters
    ----------
    head
        The end of the ledger that was verified.
    contributions, submissions, snapshots
        Rows that were held against it; of a snapshot also its members.
    findings
        The first `MAX_FINDINGS`; `n_findings` counts all.
    """

    head: Checkpoint = field(default_factory=lambda: Checkpoint(0, GENESIS))
    contributions: int = 0
    submissions: int = 0
    snapshots: int = 0
    findings: list[Finding] = field(default_factory=list)
    n_findings: int = 0

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return self.n_findings == 0

    def found(self, fault: Fault, message: str, *, seq: int | None = None, subject: str | None = None) -> None:
        """Note a finding."""
        self.n_findings += 1
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(fault, message, seq, subject))
