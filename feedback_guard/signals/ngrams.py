"""Words and pairs of words, hashed into a fixed number of buckets and weighed by TF-IDF.

Vectors of a sentence model see meaning and blur wording; the n-grams add the wording. Hashing keeps no vocabulary,
so no contributed word is stored in a baseline.

References
----------
Weinberger, K. et al. (2009). Feature hashing for large scale multitask learning. ICML.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from feedback_guard.text.words import words

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

BUCKETS = 4_096
"""How many buckets. Half or twice as many change little; each costs four bytes per class."""
LEAST_TEXTS = 2
"""Trusted texts that must share a bucket before it counts: one occurrence teaches nothing about others."""


def count(skeleton: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Which buckets a text falls into and how often: ascending indices and counts.

    Parameters
    ----------
    skeleton
        A text without case and look-alikes (`CanonicalText.skeleton`).
    """
    said = [word.encode("utf-8", "replace") for word in words(skeleton)]
    sums = [zlib.crc32(word) for word in said]
    grams = [*sums, *(zlib.crc32(right, zlib.crc32(b" ", left)) for left, right in zip(sums, said[1:], strict=False))]
    found = Counter([gram % BUCKETS for gram in grams])
    buckets = sorted(found)
    return np.array(buckets, dtype=np.int64), np.array([found[bucket] for bucket in buckets], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Weigher:
    """Inverse document frequencies of the trusted set.

    Parameters
    ----------
    idf
        Weight of each bucket, shape (BUCKETS,), float32; 0 for a bucket that does not count.
    """

    idf: NDArray[np.float32]

    @classmethod
    def of(cls, counted: Sequence[tuple[NDArray[np.int64], NDArray[np.float32]]]) -> Weigher:
        """Learn the frequencies from counted texts."""
        texts = np.zeros(BUCKETS)
        for buckets, _ in counted:
            texts[buckets] += 1
        idf = np.where(texts >= LEAST_TEXTS, np.log((1 + len(counted)) / (1 + texts)) + 1.0, 0.0)
        return cls(idf.astype(np.float32))

    def weigh(
        self, counted: tuple[NDArray[np.int64], NDArray[np.float32]]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Buckets and weights of a counted text; the weights have length 1, or there are none."""
        buckets, counts = counted
        weights = (1.0 + np.log(counts)) * self.idf.take(buckets)
        length = float(np.sqrt(weights @ weights))
        if length == 0.0:
            return buckets[:0], counts[:0]
        return buckets, np.asarray(weights / length, dtype=np.float32)

    def matrix(self, counted: Sequence[tuple[NDArray[np.int64], NDArray[np.float32]]]) -> csr_matrix:
        """Weighed texts as the rows of a SciPy CSR matrix, float32."""
        from scipy.sparse import csr_matrix

        weighed = [self.weigh(each) for each in counted]
        ends = np.cumsum([0, *(len(buckets) for buckets, _ in weighed)])
        return csr_matrix(
            (
                np.concatenate([weights for _, weights in weighed]),
                np.concatenate([buckets for buckets, _ in weighed]),
                ends,
            ),
            shape=(len(counted), BUCKETS),
        )
