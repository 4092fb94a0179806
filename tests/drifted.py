"""A stream that leaves the trusted set of `tests.guards`: other words, and a label that nobody knows."""

from __future__ import annotations

import random
from collections.abc import Iterator

from feedback_guard.contribution import Contribution, Kind
from tests.guards import START_US

_WORDS = tuple("mortgage house loan interest fixed valuation deposit surveyor solicitor remortgage lender rate".split())
_FILLERS = tuple("please my the when why did how can i is it still not for a to do you know help today yet".split())


def mortgages(n: int, *, seed: int = 0, prefix: str = "m") -> Iterator[Contribution]:
    """Honest questions about houses, with their own label."""
    rng = random.Random(seed)
    for i in range(n):
        words = rng.choices(_WORDS, k=4) + rng.choices(_FILLERS, k=6)
        rng.shuffle(words)
        yield Contribution(
            f"{prefix}{seed}-{i}", START_US + i * 1_000_000, f"user-{i % 50}", Kind.LABEL, " ".join(words), "mortgage"
        )
