"""Words and pairs of words, hashed into a fixed number of buckets and weighed by TF-IDF.

Vectors of a sentence model see meaning and blur wording; the n-grams add the wording. Hashing keeps no vocabulary,
so no contributed word is stored in a baseline.

References
----------
Weinberger, K. et al. (2009). Feature hashing for large scale multitask learning. ICML.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from feedback_guard.compiled import compiled
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
    return _count(np.frombuffer(" ".join(words(skeleton)).encode("utf-8", "replace"), dtype=np.uint8))


def _crc(byte: int) -> int:
    return functools.reduce(lambda crc, _: crc >> 1 ^ (0xEDB88320 if crc & 1 else 0), range(8), byte)


_CRC: Final = np.array([_crc(byte) for byte in range(256)])
"""Of each byte by itself, for the checksum of many (CRC-32, as in zlib)."""
_ONES: Final = 0xFFFFFFFF
_BLANK: Final = 32


@compiled("Tuple((int64[::1], float32[::1]))(Array(uint8, 1, 'C', readonly=True))")
def _count(said: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Count words between single blanks, and pairs of them, by the buckets that their checksums fall into."""
    found = np.zeros(BUCKETS, dtype=np.int64)
    word, pair, n = _ONES, -1, 0
    for i in range(len(said) + (len(said) > 0)):
        byte = np.int64(said[i]) if i < len(said) else _BLANK
        if byte != _BLANK:
            word = _CRC[(word ^ byte) & 255] ^ word >> 8
            if pair >= 0:
                pair = _CRC[(pair ^ byte) & 255] ^ pair >> 8
            continue
        for gram in (word, pair):
            if gram >= 0:
                bucket = (gram ^ _ONES) % BUCKETS
                n += found[bucket] == 0
                found[bucket] += 1
        # The checksum goes on with the blank and the next word.
        word, pair = _ONES, _CRC[(word ^ _BLANK) & 255] ^ word >> 8
    buckets, counts = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.float32)
    n = 0
    for bucket in range(BUCKETS):
        if found[bucket]:
            buckets[n], counts[n] = bucket, found[bucket]
            n += 1
    return buckets, counts


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
