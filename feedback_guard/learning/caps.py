"""Share caps, exactly: the weights of a snapshot in which nobody is more than a share of the whole.

All arithmetic is in integers of micro-units, shares are fractions; nothing is rounded in favour of a share.

With one capped facet this is water-filling: everybody gets what she has, up to one level, the largest level at which
nobody has more than the share. With fewer than 1 / share participants only the level 0 holds, so the result is empty:
that is arithmetic, not a fault (if n participants have shares of at most x each, they have n·x together, which must
be 1).

With several facets, `once(A)` caps each value of each facet at x·A, one facet after the other, contributors first. A
value keeps what later facets leave it, so after the last facet every total is at most x·A. A total A with
`once(A) >= A` is therefore a solution, and the search goes down from the whole weight to the first such A. With one
facet it is the largest solution there is, to the micro-unit, because `once` grows with A. With several facets all caps
hold just as exactly, and the result is the same whatever the order of the input, but a cleverer division may exist
that keeps more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from feedback_guard.limits.interface import UNIT
from feedback_guard.policy.snapshot import ShareCap

CONTRIBUTOR: Final = "contributor"

Cell = tuple[str, ...]
"""Contributions that share the contributor and every capped group are one: their names, contributor first. A name
begins with `=`; the empty text stands for no group of that kind."""


@dataclass(frozen=True, slots=True)
class Cap:
    """A cap of the policy in exact numbers.

    Parameters
    ----------
    facet
        `contributor` or `group:NAME`.
    share
        Largest share of the whole weight; None for no such bound.
    weight_micro
        Most weight, in micro-units; None for no such bound.
    count
        Most contributions; None for no such bound.
    """

    facet: str
    share: Fraction | None = None
    weight_micro: int | None = None
    count: int | None = None

    @classmethod
    def of(cls, cap: ShareCap) -> Cap:
        """Read a cap of the policy. A share is the decimal fraction that stands there, not the float nearest to it.

        Examples
        --------
        >>> Cap.of(ShareCap(facet="contributor", max_share=0.01, max_weight=2.5))
        Cap(facet='contributor', share=Fraction(1, 100), weight_micro=2500000, count=None)
        """
        weight = None if cap.max_weight is None else max(1, math.floor(Fraction(repr(cap.max_weight)) * UNIT))
        return cls(cap.facet, None if cap.max_share is None else Fraction(repr(cap.max_share)), weight, cap.max_count)

    @property
    def needed(self) -> int:
        """How many of them must take part before a share can hold."""
        return 1 if self.share is None else math.ceil(1 / self.share)

    def at(self, total: int) -> int | None:
        """Most weight of one of them where the whole weighs `total`; None for no bound."""
        shared = None if self.share is None else total * self.share.numerator // self.share.denominator
        bounds = [bound for bound in (shared, self.weight_micro) if bound is not None]
        return min(bounds) if bounds else None


def in_order(caps: Iterable[Cap]) -> tuple[Cap, ...]:
    """Contributors first, then groups by name: the result must not depend on how the policy lists them."""
    return tuple(sorted(caps, key=lambda cap: (cap.facet != CONTRIBUTOR, cap.facet)))


def water_fill(totals: Sequence[int], most: int) -> list[int]:
    """Divide `most` so that everybody gets what she has, up to one level; what is left over goes to the first.

    Parameters
    ----------
    totals
        What each has, 0 or more.
    most
        What may be given in all. Exactly that much is given if together they have more.

    Examples
    --------
    >>> water_fill([9, 1, 9], 8)
    [4, 1, 3]
    """
    if sum(totals) <= most:
        return list(totals)
    rest, level, extra = most, 0, 0
    for place, total in enumerate(sorted(totals)):
        left = len(totals) - place
        if total * left > rest:
            level, extra = divmod(rest, left)
            break
        rest -= total
    out = []
    for total in totals:
        if total > level:
            out.append(level + (extra > 0))
            extra -= extra > 0
        else:
            out.append(total)
    return out


def split(amount: int, parts: Sequence[int]) -> list[int]:
    """Divide an amount in proportion to parts that are at least as much together; no part grows, nothing is lost.

    Examples
    --------
    >>> split(5, [4, 4, 2])
    [2, 2, 1]
    """
    whole, seen, given, out = sum(parts), 0, 0, []
    for part in parts:
        seen += part
        upto = amount * seen // whole if whole else 0
        out.append(upto - given)
        given = upto
    return out


@dataclass(frozen=True, slots=True)
class _Value:
    """The members of one value of a facet: the cells of each contributor."""

    members: tuple[tuple[int, ...], ...]
    cells: tuple[int, ...]


class _Arithmetic:
    """The cells of a snapshot, indexed by what the caps are about."""

    def __init__(self, cells: Mapping[Cell, int], facets: Sequence[str], caps: Sequence[Cap]) -> None:
        self.names = sorted(cells)
        self.before = [cells[name] for name in self.names]
        self.caps = caps
        self.values = [self._index(facets.index(cap.facet)) for cap in caps]

    def _index(self, place: int) -> list[_Value]:
        found: dict[str, dict[str, list[int]]] = {}
        for number, name in enumerate(self.names):
            if name[place]:
                found.setdefault(name[place], {}).setdefault(name[0], []).append(number)
        return [
            _Value(tuple(map(tuple, members.values())), tuple(n for cells in members.values() for n in cells))
            for members in found.values()
        ]

    def once(self, total: int) -> list[int]:
        """Cap every value of every facet as if the whole weighed `total`."""
        now = list(self.before)
        for cap, values in zip(self.caps, self.values, strict=True):
            most = cap.at(total)
            if most is None:
                continue
            for value in values:
                if sum(now[cell] for cell in value.cells) <= most:
                    continue
                have = [sum(now[cell] for cell in member) for member in value.members]
                for member, amount in zip(value.members, water_fill(have, most), strict=True):
                    for cell, part in zip(member, split(amount, [now[cell] for cell in member]), strict=True):
                        now[cell] = part
        return now

    def ceiling(self, total: int) -> int:
        """Nothing between this and `total` is a solution.

        Whatever the whole weighs, up to `total`: what is capped at `total` has at most its share of it, or its
        absolute bound, and the rest has at most what it had. A solution A is thus at most rest + slope·A.
        """
        rest, slope = 0, Fraction(0)
        covered = [False] * len(self.names)
        for cap, values in reversed(list(zip(self.caps, self.values, strict=True))):
            most = cap.at(total)
            if most is None:
                continue
            for value in values:
                free = [cell for cell in value.cells if not covered[cell]]
                if sum(self.before[cell] for cell in free) <= most:
                    continue
                for cell in free:
                    covered[cell] = True
                if cap.share is not None and most != cap.weight_micro:
                    slope += cap.share
                else:
                    rest += most
        rest += sum(weight for weight, known in zip(self.before, covered, strict=True) if not known)
        return total if slope >= 1 else math.floor(rest / (1 - slope))


def cap_weights(cells: Mapping[Cell, int], facets: Sequence[str], caps: Iterable[Cap]) -> dict[Cell, int]:
    """Take away as little weight as it takes for all caps to hold.

    Parameters
    ----------
    cells
        Weight of each cell in micro-units.
    facets
        What the places of a cell's name are: `contributor` first.
    caps
        At most one for each facet. Bounds of a count are none of this function's business.

    Returns
    -------
    dict
        Weight of each cell, at most what it was; 0 for all if nothing else can hold.

    Examples
    --------
    >>> third = Cap("contributor", share=Fraction(1, 3))
    >>> cap_weights({("=a",): 9, ("=b",): 2, ("=c",): 3}, ["contributor"], [third])
    {('=a',): 2, ('=b',): 2, ('=c',): 2}
    >>> cap_weights({("=a",): 9, ("=b",): 2}, ["contributor"], [third])
    {('=a',): 0, ('=b',): 0}
    """
    sums = _Arithmetic(cells, facets, in_order(caps))
    total = sum(sums.before)
    while True:
        now = sums.once(total)
        if sum(now) >= total:
            return dict(zip(sums.names, now, strict=True))
        total = min(sum(now), sums.ceiling(total))
