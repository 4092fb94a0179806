"""Which of many facets are believed: those whose evidence stands out among all that were looked at.

With m facets looked at, the k strongest are believed if each of their weighted e-values is at least m / (rate k), for
the largest such k (e-BH). At any time that one looks, the expected share of false ones among the believed is at most
the rate, however the facets depend on each other; in a stream without any campaign, that is the chance of believing
anything at all. Facets that are unlikely to be honest weigh more; the weights have a mean of at most 1.

References
----------
Wang, R., Ramdas, A. (2022). False discovery rate control with e-values. JRSS B 84, 822-852.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

H = TypeVar("H", bound=Hashable)

MAX_CANDIDATES: Final = 10_000
"""Most hypotheses that are kept in view; of more, the strongest."""
IN_VIEW: Final = 2.0
"""Evidence, as a logarithm, from which a hypothesis is kept in view."""
_FEW: Final = 64


class Discoveries(Generic[H]):
    """The hypotheses of one family.

    Parameters
    ----------
    rate
        Share of false ones among the believed that is accepted, 0..1.

    Examples
    --------
    >>> found = Discoveries[str](0.1)
    >>> for name, evidence in {"a": 0.1, "b": 9.0, "c": -1.0, "d": 8.5}.items():
    ...     found.look(); found.tell(name, evidence)
    >>> sorted(found.believed())
    ['b', 'd']
    """

    def __init__(self, rate: float) -> None:
        self._log_rate = math.log(rate)
        self._total_weight = 0.0
        self._n = 0
        self._at: dict[H, int] = {}
        self._names: list[H | None] = []
        self._free: list[int] = []
        self._evidence = np.full(_FEW, -np.inf)
        self._was = np.zeros(_FEW, dtype=np.bool_)
        self._told: set[H] = set()
        self._again: set[H] = set()

    @property
    def n(self) -> int:
        """How many hypotheses were looked at."""
        return self._n

    def look(self, weights: float = 1.0, n: int = 1) -> None:
        """Count n further hypotheses and the sum of their weights: how unlikely each is to be honest."""
        self._n += n
        self._total_weight += weights

    def tell(self, hypothesis: H, log_e: float, weight: float = 1.0) -> None:
        """Say what the evidence on a hypothesis is now."""
        at = self._at.get(hypothesis)
        if log_e < IN_VIEW:
            if at is not None:
                self._drop(hypothesis, at)
            return
        if at is None:
            at = self._place(hypothesis)
        self._evidence[at] = log_e + math.log(weight)
        self._told.add(hypothesis)
        if len(self._at) > MAX_CANDIDATES:
            n = MAX_CANDIDATES // 4
            held = np.fromiter(self._at.values(), dtype=np.int64)
            for weakest in held[np.argpartition(self._evidence[held], n)[:n]].tolist():
                name = self._names[weakest]
                if name is not None:
                    self._drop(name, weakest)

    def again(self, hypothesis: H) -> None:
        """Have the next `news` that looks name a hypothesis, if it is believed, though it was named before."""
        self._again.add(hypothesis)

    def news(self) -> list[H]:
        """What of `believed` was not believed at the last call, or was told or asked for since, strongest first."""
        # Looking at more hypotheses raises the line, so without new evidence nothing new can be above it. And whatever
        # lets others be believed as well is itself believed: one of those that were told.
        told = [at for each in self._told if (at := self._at.get(each)) is not None]
        if not told:
            self._told.clear()
            return []
        again = [at for each in self._again if (at := self._at.get(each)) is not None]
        self._told.clear()
        self._again.clear()
        evidence = self._evidence[: len(self._names)]
        if not again and evidence[told].max() < self._line() - math.log(len(self._at)):
            return []
        believed = evidence >= self._least()
        named = believed > self._was[: len(evidence)]
        named[told + again] = believed[told + again]
        self._was[: len(evidence)] = believed
        return self._ranked(named)

    def believed(self) -> list[H]:
        """The hypotheses that are believed now, strongest first."""
        return self._ranked(self._evidence[: len(self._names)] >= self._least()) if self._at else []

    def _ranked(self, which: NDArray[np.bool_]) -> list[H]:
        at = np.flatnonzero(which)
        names = (self._names[each] for each in at[np.argsort(-self._evidence[at], kind="stable")].tolist())
        return [name for name in names if name is not None]

    def _line(self) -> float:
        """Logarithm of what e w / (mean weight) must be at least for a single hypothesis: m / rate."""
        return math.log(max(self._total_weight, 1e-9)) - self._log_rate

    def _least(self) -> float:
        """The evidence from which hypotheses are believed."""
        # Whoever is among k that are believed has at least line - log k. Beginning with all, the count of those that
        # have it falls to the largest k that is its own count.
        line, k, m = self._line(), len(self._at), -1
        evidence = self._evidence[: len(self._names)]
        while k not in (m, 0):
            m = k
            k = int(np.count_nonzero(evidence >= line - math.log(m)))
        return line - math.log(k) if k else math.inf

    def _place(self, hypothesis: H) -> int:
        if self._free:
            at = self._free.pop()
            self._names[at] = hypothesis
        else:
            at = len(self._names)
            self._names.append(hypothesis)
            if at == len(self._evidence):
                self._evidence = np.concatenate([self._evidence, np.full(at, -np.inf)])
                self._was = np.concatenate([self._was, np.zeros(at, dtype=np.bool_)])
        self._at[hypothesis] = at
        return at

    def _drop(self, hypothesis: H, at: int) -> None:
        del self._at[hypothesis]
        self._names[at], self._evidence[at], self._was[at] = None, -np.inf, False
        self._free.append(at)
