"""What a writing transaction knows from its beginning, because it was asked together with the lock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from feedback_guard.ledger.chain import Checkpoint
from feedback_guard.limits.gcra import Level


@dataclass(frozen=True, slots=True)
class Opening:
    """The state of the store at the beginning of a transaction, as far as it was asked.

    Parameters
    ----------
    levels
        Counters that were asked for, by their key; None for one that was never charged.
    head
        The end of the ledger; None if nobody asked.
    server_time
        What the server's clock said after the lock was taken, in microseconds since the epoch, and when that was by
        this host's monotonic clock, in seconds; never later than it was. None where the server's clock was not asked.
    """

    levels: Mapping[str, Level | None] = field(default_factory=dict)
    head: Checkpoint | None = None
    server_time: tuple[int, float] | None = None


NOTHING: Final = Opening()
"""Nothing was asked."""
