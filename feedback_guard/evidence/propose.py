"""Which of the observed contributions should a human vet first, to get a trusted set from?

Nothing here trusts anything. It only spreads the human's attention: over contributors, with a small maximum each, so
that a flood does not fill the list; over what is taught and over regions of embedding space; over time; and never the
same text twice. What the human leaves out is not trusted.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feedback_guard.contribution import Contribution
from feedback_guard.embedding.interface import Vectors
from feedback_guard.text.canonical import canonicalise

MAX_POOL = 50_000
"""Most candidates that are looked at together; of more, a random part."""
POOL_EACH = 20
"""Most candidates of one contributor in the pool."""
PER_CONTRIBUTOR = 3
"""Most proposals of one contributor."""
REGIONS = 24
"""Regions of embedding space that the proposals are spread over."""
PERIODS = 4
"""Periods of equal numbers of candidates that the proposals are spread over."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An observed contribution.

    Parameters
    ----------
    contribution
        As it was offered.
    vector
        Direction of its first text, shape (d,); None if it was not embedded.
    """

    contribution: Contribution
    vector: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, contribution: Contribution, vectors: dict[str, Vectors]) -> Candidate:
        """Make a candidate from a stored contribution and its vectors."""
        rows = next(iter(vectors.values()), None)
        return cls(contribution, None if rows is None or not len(rows) else rows.mean(axis=0))


def gather(candidates: Iterable[Candidate], *, seed: int = 0) -> list[Candidate]:
    """Keep a random part of a long stream, at most `POOL_EACH` of a contributor and `MAX_POOL` in all, in its order.

    Each candidate draws a lot and the highest stay, so memory is bounded whatever the length of the stream.
    """
    rng = random.Random(seed)
    kept: list[tuple[float, int, Candidate]] = []
    for number, candidate in enumerate(candidates):
        kept.append((rng.random(), number, candidate))
        if len(kept) >= 2 * MAX_POOL:
            kept = _highest(kept)
    return [candidate for _, _, candidate in sorted(_highest(kept), key=lambda each: each[1])]


def _highest(kept: list[tuple[float, int, Candidate]]) -> list[tuple[float, int, Candidate]]:
    mine: Counter[str] = Counter()
    highest: list[tuple[float, int, Candidate]] = []
    for each in sorted(kept, key=lambda each: each[:2], reverse=True):
        who = each[2].contribution.contributor
        mine[who] += 1
        if mine[who] <= POOL_EACH and len(highest) < MAX_POOL:
            highest.append(each)
    return highest


def propose(
    candidates: Sequence[Candidate], *, size: int, per_contributor: int = PER_CONTRIBUTOR, seed: int = 0
) -> list[Contribution]:
    """Choose contributions for a human to vet.

    Parameters
    ----------
    candidates
        In order of time.
    size
        How many to choose at most; fewer come back where the candidates do not allow more.
    per_contributor
        Most of one contributor.
    seed
        The same candidates and seed give the same choice.

    Returns
    -------
    list of Contribution
        In order of time.

    Examples
    --------
    >>> from feedback_guard.contribution import Kind
    >>> made = [Contribution(f"c{i}", i, f"user-{i % 3}", Kind.LABEL, f"text {i}", "a") for i in range(30)]
    >>> [c.contributor for c in propose([Candidate(c) for c in made], size=30, per_contributor=1)].count("user-0")
    1
    """
    strata: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    regions = _regions([each.vector for each in candidates], seed)
    for i, each in enumerate(candidates):
        period = i * PERIODS // len(candidates)
        taught = each.contribution.target or ""
        strata[each.contribution.kind.value, taught, str(regions[i]), str(period)].append(i)
    rng = random.Random(seed)
    queues = [sorted(members) for _, members in sorted(strata.items())]
    for queue in queues:
        rng.shuffle(queue)
    rng.shuffle(queues)
    chosen: list[int] = []
    taken: Counter[str] = Counter()
    texts: set[bytes] = set()
    while queues and len(chosen) < size:
        for queue in queues:
            if len(chosen) >= size:
                break
            while queue:
                at = queue.pop()
                item = candidates[at].contribution
                text = _text(item)
                if taken[item.contributor] < per_contributor and text not in texts:
                    taken[item.contributor] += 1
                    texts.add(text)
                    chosen.append(at)
                    break
        queues = [queue for queue in queues if queue]
    return [candidates[at].contribution for at in sorted(chosen)]


def _text(item: Contribution) -> bytes:
    """A name for the texts of a contribution, the same for look-alikes."""
    skeletons = "\x00".join(canonicalise(text).skeleton for text in item.texts.values())
    return hashlib.sha256(skeletons.encode("utf-8", "replace")).digest()


def _regions(vectors: Sequence[NDArray[np.float32] | None], seed: int) -> list[int]:
    """The nearest of some far-apart vectors, by number; -1 without a vector. Far-apart ones are found greedily."""
    known = [i for i, vector in enumerate(vectors) if vector is not None]
    found = [-1] * len(vectors)
    if not known:
        return found
    rows = np.stack([vector for vector in vectors if vector is not None])
    best = rows @ rows[random.Random(seed).randrange(len(rows))]
    nearest = np.zeros(len(rows), dtype=np.int64)
    for number in range(1, min(REGIONS, len(rows))):
        similarity = rows @ rows[int(best.argmin())]
        nearest[similarity > best] = number
        best = np.maximum(best, similarity)
    for at, region in zip(known, nearest.tolist(), strict=True):
        found[at] = region
    return found
