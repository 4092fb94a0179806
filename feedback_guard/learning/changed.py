"""What the stream has brought that the trusted set hardly has: what a human vets after a drift alarm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from feedback_guard.embedding.pack import unpack
from feedback_guard.evidence.baseline import load
from feedback_guard.evidence.drift import DriftDetector
from feedback_guard.evidence.observe import canonical_texts
from feedback_guard.evidence.propose import Candidate
from feedback_guard.policy.schema import BaselinePolicy
from feedback_guard.signals.interface import Observation
from feedback_guard.store.records import Event, StoredContribution
from feedback_guard.store.states import Learning

PAGE: Final = 500
"""Ledger entries that are read at once."""
_MAY_BE_VETTED: Final = (Learning.ACCEPTED, Learning.APPROVED, Learning.HELD)


class EventSource(Protocol):
    """Where committed events are read, in order."""

    def events_after(self, seq: int, limit: int) -> list[Event]:
        """At most `limit` events after position `seq`, oldest first."""
        ...


def changed_since(policy: BaselinePolicy, store: EventSource) -> Iterator[Candidate]:
    """What came since a baseline is in use and is new to it: accepted or held, never what a moderator denied.

    The ledger is read twice: once to learn what has grown, then for what is of that sort.

    Parameters
    ----------
    policy
        Names the baseline.
    store
        Whose ledger is read.

    Raises
    ------
    BaselineError
        If the policy names no baseline, or it cannot be read.
    """
    baseline = load(Path(str(policy.path)), fingerprint=None, digest=policy.digest)
    drift = DriftDetector.from_state(baseline.drift)
    for stored in _judged(store, baseline.digest):
        drift.witness(_observation(stored))
    for stored in _judged(store, baseline.digest):
        if stored.learning in _MAY_BE_VETTED and drift.is_new(_observation(stored)):
            yield Candidate.of(stored.contribution, unpack(stored.vectors))


def _judged(store: EventSource, baseline: str) -> Iterator[StoredContribution]:
    seq = 0
    while events := store.events_after(seq, PAGE):
        seq = events[-1].seq
        for event in events:
            stored = event.stored if event.kind == "judged" else None
            if stored is not None and stored.vectors and stored.verdict.baseline == baseline:
                yield stored


def _observation(stored: StoredContribution) -> Observation:
    return Observation(stored.contribution, canonical_texts(stored.contribution), unpack(stored.vectors))
