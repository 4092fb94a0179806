"""From the weights of verdicts to the weights of a snapshot, in two passes over the same contributions.

The first pass adds up; then the caps are computed; the second pass gives each contribution its part. Memory grows with
the number of contributors and groups, not with that of contributions. A contributor's weight is divided among her
contributions in proportion, to the micro-unit: what rounding takes from one the next one gets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from feedback_guard.learning.caps import CONTRIBUTOR, Cap, Cell, cap_weights, in_order
from feedback_guard.limits.interface import UNIT
from feedback_guard.policy.snapshot import SnapshotPolicy

K = TypeVar("K")

NOBODY: Final = "-"
"""Stands for all contributions without a contributor. No other name is like it: names begin with `=`."""


class Teacher(NamedTuple):
    """Whom a contribution is attributed to.

    Parameters
    ----------
    contributor
        The identified principal.
    groups
        Her groups, by name.
    anonymous
        True when nobody is named.
    """

    contributor: str
    groups: Mapping[str, str]
    anonymous: bool = False


class Given(NamedTuple):
    """What a contribution has in a snapshot, in micro-units.

    Parameters
    ----------
    weight
        After all caps.
    own
        After the absolute bounds of its contributor alone: it does not depend on what others sent.
    """

    weight: int
    own: int


@dataclass(frozen=True, slots=True)
class Share:
    """How one facet came out.

    Parameters
    ----------
    cap
        The cap; only the facet of a facet without one.
    values
        How many contributors, or groups, took part.
    covered
        Whether every contribution has a value of this facet.
    largest
        Weight of the largest of them after all caps, in micro-units.
    reduced
        How many of them lost weight.
    """

    cap: Cap
    values: int
    covered: bool
    largest: int
    reduced: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the caps did.

    Parameters
    ----------
    before, after
        Whole weight, in micro-units.
    contributors
        How many took part.
    shares
        For each cap, contributors first.
    """

    before: int
    after: int
    contributors: int
    shares: tuple[Share, ...]

    @property
    def too_few(self) -> tuple[Share, ...]:
        """Facets of which too few took part for the share to hold of anything."""
        return tuple(
            share for share in self.shares if share.covered and share.values and share.values < share.cap.needed
        )

    def why_empty(self) -> str | None:
        """A sentence that says why nothing is left; None if something is, or nothing was there."""
        if self.after or not self.before:
            return None
        for share in self.too_few:
            kind = "contributors" if share.cap.facet == CONTRIBUTOR else f"groups ({share.cap.facet})"
            return (
                f"{share.values} {kind} took part, and with fewer than {share.cap.needed} one of them is always more "
                f"than {percent(share.cap)} of the whole"
            )
        return "too few took part, or too unequally, for all caps to hold of more than nothing"


def percent(cap: Cap) -> str:
    """The share of a cap as people read it."""
    return "any share" if cap.share is None else f"{float(cap.share * 100):.10g} %"


def what_caps_did(outcome: Outcome) -> list[str]:
    """Sentences on what the caps took; none if they took nothing."""
    empty = outcome.why_empty()
    if empty is not None:
        return [f"it would be empty: {empty}"]
    said = []
    for share in outcome.shares:
        if share.reduced:
            kind = "contributors" if share.cap.facet == CONTRIBUTOR else f"groups ({share.cap.facet})"
            said.append(f"{share.reduced} of {share.values} {kind} were capped")
    if said:
        said.append(f"{outcome.after / UNIT:.1f} of {outcome.before / UNIT:.1f} weight is left")
    return said


class Allotment:
    """Gives contributions their weights in a snapshot.

    Parameters
    ----------
    caps
        The policy's.

    Examples
    --------
    >>> from fractions import Fraction
    >>> allotment = Allotment([Cap("contributor", share=Fraction(1, 2))])
    >>> rows = [(Teacher("a", {}), 900_000), (Teacher("a", {}), 300_000), (Teacher("b", {}), 400_000)]
    >>> for teacher, weight in rows:
    ...     allotment.add(teacher, weight)
    >>> _ = allotment.settle()
    >>> [allotment.give(teacher, weight).weight for teacher, weight in rows]
    [300000, 100000, 400000]
    """

    def __init__(self, caps: Iterable[Cap]) -> None:
        self.caps = in_order(caps)
        self._groups = [cap.facet.removeprefix("group:") for cap in self.caps if cap.facet != CONTRIBUTOR]
        self._facets = [CONTRIBUTOR, *(f"group:{name}" for name in self._groups)]
        self._counted = [(self._facets.index(cap.facet), cap.count) for cap in self.caps if cap.count is not None]
        self._own = next((cap.weight_micro for cap in self.caps if cap.facet == CONTRIBUTOR), None)
        self._counts: dict[tuple[int, str], int] = {}
        self._cells: dict[Cell, int] = {}
        self._after: dict[Cell, int] = {}
        self._whole: dict[str, int] = {}
        self._seen: dict[Cell, int] = {}
        self._seen_own: dict[str, int] = {}

    @classmethod
    def of(cls, policy: SnapshotPolicy) -> Allotment:
        """Make one for the caps of a policy."""
        return cls(Cap.of(cap) for cap in policy.caps)

    def add(self, teacher: Teacher, weight: int) -> None:
        """First pass: a contribution with its weight in micro-units, above 0."""
        cell = self._cell(teacher)
        if self._counts_out(cell):
            return
        self._cells[cell] = self._cells.get(cell, 0) + weight

    def settle(self) -> Outcome:
        """Compute the caps. Then comes the second pass."""
        self._after = cap_weights(self._cells, self._facets, self.caps)
        for cell, weight in self._cells.items():
            self._whole[cell[0]] = self._whole.get(cell[0], 0) + weight
        self._counts.clear()
        return Outcome(
            before=sum(self._cells.values()),
            after=sum(self._after.values()),
            contributors=len(self._whole),
            shares=tuple(self._share(cap) for cap in self.caps),
        )

    def give(self, teacher: Teacher, weight: int) -> Given | None:
        """Second pass: what a contribution gets; the same contributions in the same order as in the first.

        Returns
        -------
        Given or None
            None if one too many came before it.
        """
        cell = self._cell(teacher)
        if self._counts_out(cell):
            return None
        part = _part(self._seen, cell, weight, self._after[cell], self._cells[cell])
        whole = self._whole[cell[0]]
        limit = whole if self._own is None else min(whole, self._own)
        return Given(part, _part(self._seen_own, cell[0], weight, limit, whole))

    def _cell(self, teacher: Teacher) -> Cell:
        name = NOBODY if teacher.anonymous else "=" + teacher.contributor
        groups = (teacher.groups.get(group) for group in self._groups)
        return (name, *("" if group is None else "=" + group for group in groups))

    def _counts_out(self, cell: Cell) -> bool:
        """Whether a cap of a count has no room for one more; otherwise it is counted."""
        places = [(place, cell[place]) for place, _ in self._counted if cell[place]]
        room = dict(self._counted)
        if any(self._counts.get(where, 0) >= room[where[0]] for where in places):
            return True
        for where in places:
            self._counts[where] = self._counts.get(where, 0) + 1
        return False

    def _share(self, cap: Cap) -> Share:
        place = self._facets.index(cap.facet)
        before: dict[str, int] = {}
        after: dict[str, int] = {}
        for cell, weight in self._cells.items():
            before[cell[place]] = before.get(cell[place], 0) + weight
            after[cell[place]] = after.get(cell[place], 0) + self._after[cell]
        covered = before.pop("", None) is None
        after.pop("", None)
        return Share(
            cap=cap,
            values=len(before),
            covered=covered,
            largest=max(after.values(), default=0),
            reduced=sum(after[name] < weight for name, weight in before.items()),
        )


def _part(seen: dict[K, int], key: K, weight: int, given: int, whole: int) -> int:
    """One contribution's part of what is given to the whole; the parts add up to it exactly."""
    before = seen.get(key, 0)
    seen[key] = before + weight
    return given * (before + weight) // whole - given * before // whole
