"""All or none, over any key-value store: the part that every budget store shares."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence

from feedback_guard.limits import gcra
from feedback_guard.limits.gcra import Level
from feedback_guard.limits.interface import Budget, Charge, Refusal


@functools.lru_cache(maxsize=8_192)
def budget_key(budget: Budget, key: str) -> str:
    """Name the counter of one budget for one value of its facet, as 64 hexadecimal digits.

    Every part is prefixed with its length before they are joined and hashed, so `("a/b", "c")` and `("a", "b/c")`
    never share a counter, and no identifier is stored in plain text.

    Examples
    --------
    >>> from feedback_guard.limits.interface import Measure
    >>> one = Budget("b", "contributor", Measure.COUNT, 1, None, 0)
    >>> budget_key(one, "alice") == budget_key(one, "alice"), budget_key(one, "alice") == budget_key(one, "bob")
    (True, False)
    """
    digest, data = _begun(budget).copy(), key.encode("utf-8", "surrogatepass")
    digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def counters_of(charges: Iterable[Charge]) -> list[str]:
    """The counter of each charge."""
    return [budget_key(budget, key) for budget, key, _ in charges]


@functools.lru_cache(maxsize=1_024)
def _begun(budget: Budget) -> hashlib._Hash:
    """What the keys of one budget have in common."""
    digest = hashlib.sha256()
    for part in (budget.name, budget.facet, budget.measure.value, "lifetime" if budget.period_us is None else "rate"):
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest


def charge_levels(
    charges: Sequence[Charge],
    keys: Sequence[str],
    levels: Mapping[str, Level | None],
    now_us: int,
    *,
    force: bool = False,
) -> Refusal | dict[str, Level]:
    """Work out the levels after all charges, or the first that has no room.

    Parameters
    ----------
    charges
        Charged in order; several against one key add up.
    keys
        The counter of each charge.
    levels
        What is stored; a key that is absent, or has None, was never charged.
    now_us
        Microseconds since the epoch.
    force
        True charges even where there is no room.

    Returns
    -------
    Refusal or dict
        The refusal, or the new level of every key to be stored.

    Raises
    ------
    LimitError
        If a budget or a cost is senseless.
    """
    after: dict[str, Level] = {}
    for charge, key in zip(charges, keys, strict=True):
        budget, cost_micro = charge.budget, charge.cost_micro
        gcra.check(budget, cost_micro)
        level = after.get(key) or levels.get(key)
        if not force and (fitting := gcra.charged(budget, level, cost_micro, now_us)) is not None:
            after[key] = fitting
            continue
        settled = gcra.settle(budget, level, now_us)
        if not force:
            return Refusal(
                charge=charge,
                retry_after_us=gcra.retry_after_us(budget, settled, cost_micro, now_us),
                remaining_micro=gcra.remaining_micro(budget, settled),
            )
        after[key] = gcra.add(settled, cost_micro)
    return after
