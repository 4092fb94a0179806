"""What this process last knew of budgets, in memory: refuses the hopeless before anything costly, without a database.

A level only falls by the passing of time, which is worked out here as everywhere. So a remembered level is never above
the stored one, and what it has no room for has no room in the store either. What other processes charged meanwhile is
not known here; the transaction that records the verdict finds it.
"""

from __future__ import annotations

import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from feedback_guard.limits.charging import charge_levels, counters_of
from feedback_guard.limits.gcra import Level
from feedback_guard.limits.interface import Charge, Refusal

_PACKED: Final = struct.Struct("<4qd")
REMEMBER_SECONDS: Final = 60.0
"""How long a level is believed without looking: so long is refused what somebody made room for in the database."""


class LatestLevels:
    """The levels that this process wrote last. Any thread may use it.

    Parameters
    ----------
    capacity
        Most counters that are remembered; those not charged for longest are forgotten.
    monotonic
        Seconds that never run backwards. What was noted `REMEMBER_SECONDS` ago is asked of the store again.

    Examples
    --------
    >>> from feedback_guard.limits.charging import budget_key
    >>> from feedback_guard.limits.interface import UNIT, Budget, Measure
    >>> one = Charge(Budget("once", "contributor", Measure.COUNT, UNIT, None, 0), "alice", UNIT)
    >>> latest = LatestLevels()
    >>> latest.peek([one], 0) is None
    True
    >>> latest.note({budget_key(one.budget, one.key): Level(UNIT, 0, 0, 0)})
    >>> latest.peek([one], 0).remaining_micro
    0
    """

    def __init__(self, capacity: int = 100_000, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._capacity = capacity
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._levels: OrderedDict[str, bytes] = OrderedDict()
        """Each level, and until when it is believed, packed: a third of what five numbers take, and nothing that the
        garbage collector looks at."""

    def note(self, levels: Mapping[str, Level]) -> None:
        """Remember levels that were committed."""
        until = self._monotonic() + REMEMBER_SECONDS
        with self._lock:
            for key, level in levels.items():
                self._levels[key] = _PACKED.pack(*level, until)
                self._levels.move_to_end(key)
            while len(self._levels) > self._capacity:
                self._levels.popitem(last=False)

    def peek(self, charges: Sequence[Charge], now_us: int) -> Refusal | None:
        """A refusal that is certain; None says only that none is known."""
        keys = counters_of(charges)
        now = self._monotonic()
        with self._lock:
            found = [(key, self._levels[key]) for key in keys if key in self._levels]
        known = {key: Level(*level) for key, row in found for *level, until in _PACKED.iter_unpack(row) if now < until}
        if not known:
            return None
        outcome = charge_levels(charges, keys, known, now_us)
        return outcome if isinstance(outcome, Refusal) else None
