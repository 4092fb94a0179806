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

H = TypeVar("H", bound=Hashable)

MAX_CANDIDATES: Final = 10_000
"""Most hypotheses that are kept in view; of more, the strongest."""
IN_VIEW: Final = 2.0
"""Evidence, as a logarithm, from which a hypothesis is kept in view."""


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
        self._evidence: dict[H, float] = {}
        self._rose = False

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
        if log_e < IN_VIEW:
            self._evidence.pop(hypothesis, None)
            return
        self._evidence[hypothesis] = log_e + math.log(weight)
        self._rose = True
        if len(self._evidence) > MAX_CANDIDATES:
            weakest = sorted(self._evidence, key=self._evidence.__getitem__)[: MAX_CANDIDATES // 4]
            for name in weakest:
                del self._evidence[name]

    def news(self) -> list[H]:
        """`believed`, if it can have grown since the last call; otherwise nothing."""
        # Looking at more hypotheses raises the line, so without new evidence nothing new can be above it.
        rose, self._rose = self._rose, False
        return self.believed() if rose else []

    def believed(self) -> list[H]:
        """The hypotheses that are believed now, strongest first."""
        # log of: e w / (mean weight) >= m / (rate k)
        line = math.log(max(self._total_weight, 1e-9)) - self._log_rate
        if not self._evidence or max(self._evidence.values()) < line - math.log(len(self._evidence)):
            return []
        # Whoever is among m that are believed has at least line - log m, so the others need not be ranked.
        ranked, m = list(self._evidence.items()), 0
        while len(ranked) != m:
            m = len(ranked)
            ranked = [item for item in ranked if item[1] >= line - math.log(m) - 1e-9] if m else []
        ranked.sort(key=lambda item: -item[1])
        k = max((i for i, (_, e) in enumerate(ranked, 1) if e + math.log(i) >= line), default=0)
        return [name for name, _ in ranked[:k]]
