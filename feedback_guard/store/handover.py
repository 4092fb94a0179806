"""What this process committed, handed to whoever follows the ledger in it, so that it is not read back.

It is a shortcut and nothing to rely on: what is not here (entries of other processes, decisions on what was recorded
before, what was let go because nobody took it) is read from the database, and a commit that failed is never here.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterable
from typing import Final

from feedback_guard.ledger.chain import Entry
from feedback_guard.store.campaign_decisions import RULINGS
from feedback_guard.store.drift_alarms import ACKNOWLEDGED
from feedback_guard.store.records import Event, StoredContribution

MOST: Final = 2_048
"""Most entries that wait to be taken; the oldest are let go, and read from the database."""
TELLING: Final = ("judged", "approved", "denied", "held", "withdrawn")
"""Kinds of ledger entries that are about a contribution."""
WORDED: Final = (*RULINGS.values(), ACKNOWLEDGED)
"""Kinds of ledger entries whose body tells more than the kind."""


class Handover:
    """Entries of the ledger that this process committed, in order. Any thread may use it.

    Until somebody `open`s it nothing is kept. Of a contribution's event, where it stands and what it weighs is as it
    was recorded, and may have changed since; all else of an event never changes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = False
        self._waiting: deque[tuple[int, Event | None]] = deque(maxlen=MOST)

    @property
    def waiting(self) -> int:
        """Entries that wait to be taken, 0 to `MOST`."""
        return len(self._waiting)

    def open(self) -> None:
        """Begin to keep what is committed."""
        self._open = True

    def note(self, entries: Iterable[tuple[Entry, StoredContribution | None]]) -> None:
        """Keep entries that were committed just now, each with the contribution that was recorded with it."""
        if not self._open:
            return
        events = [(entry.seq, event_of(entry, stored)) for entry, stored in entries]
        with self._lock:
            self._waiting.extend(events)

    def take(self, after: int, limit: int) -> tuple[list[Event], int | None]:
        """The next events, as far as they are here.

        Parameters
        ----------
        after
            The entry that was taken last, from here or from the database. What is older is let go.
        limit
            Most events.

        Returns
        -------
        list of Event, int or None
            Events that follow `after` without a gap; and, where later entries are known here, how many lie between and
            are to be read from the database: 0 if the limit was reached. None if no later one is known.
        """
        events: list[Event] = []
        with self._lock:
            waiting = self._waiting
            while waiting and waiting[0][0] <= after:
                waiting.popleft()
            while waiting and len(events) < limit and waiting[0][0] == after + 1:
                following = waiting[0][1]
                if following is None:
                    break
                events.append(following)
                waiting.popleft()
                after += 1
            if not waiting:
                return events, None
            known = next((seq for seq, later in waiting if later is not None), waiting[-1][0] + 1)
            return events, known - after - 1


def event_of(entry: Entry, stored: StoredContribution | None) -> Event | None:
    """The event that an entry of the ledger is; None if it is about a contribution that is not at hand."""
    if stored is None and entry.kind in TELLING:
        return None
    return event(
        entry.seq, entry.kind, entry.at_us, stored, entry.subject, entry.body if entry.kind in WORDED else None
    )


def event(seq: int, kind: str, at_us: int, stored: StoredContribution | None, subject: str, body: str | None) -> Event:
    """Make an event, of one of the kinds that are `WORDED` with what the entry's body tells."""
    told = json.loads(body) if body else {}
    return Event(seq, kind, at_us, stored, subject, ruled=told.get("ruled") or "", baseline=told.get("baseline", ""))
