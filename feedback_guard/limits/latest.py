"""What this process last knew of budgets, in memory: refuses the hopeless before anything costly, without a database.

A level only falls by the passing of time, which is worked out here as everywhere. So a remembered level is never above
the stored one, and what it has no room for has no room in the store either. What other processes charged meanwhile is
not known here; the transaction that records the verdict finds it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from feedback_guard.limits.charging import budget_key, charge_levels
from feedback_guard.limits.gcra import Level
from feedback_guard.limits.interface import Charge, Refusal


class LatestLevels:
    """The levels that this process wrote last. Any thread may use it.

    Parameters
    ----------
    capacity
        Most counters that are remembered; those not charged for longest are forgotten.

    Examples
    --------
    >>> from feedback_guard.limits.interface import UNIT, Budget, Measure
    >>> one = Charge(Budget("once", "contributor", Measure.COUNT, UNIT, None, 0), "alice", UNIT)
    >>> latest = LatestLevels()
    >>> latest.peek([one], 0) is None
    True
    >>> latest.note({budget_key(one.budget, one.key): Level(UNIT, 0, 0, 0)})
    >>> latest.peek([one], 0).remaining_micro
    0
    """

    def __init__(self, capacity: int = 100_000) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._levels: OrderedDict[str, Level] = OrderedDict()

    def note(self, levels: Mapping[str, Level]) -> None:
        """Remember levels that were committed."""
        with self._lock:
            for key, level in levels.items():
                self._levels[key] = level
                self._levels.move_to_end(key)
            while len(self._levels) > self._capacity:
                self._levels.popitem(last=False)

    def peek(self, charges: Sequence[Charge], now_us: int) -> Refusal | None:
        """A refusal that is certain; None says only that none is known."""
        keys = [budget_key(charge.budget, charge.key) for charge in charges]
        with self._lock:
            known = {key: self._levels[key] for key in keys if key in self._levels}
        if not known:
            return None
        outcome = charge_levels(charges, keys, known, now_us)
        return outcome if isinstance(outcome, Refusal) else None
