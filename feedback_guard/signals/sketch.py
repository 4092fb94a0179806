"""Keyed sketches of texts: what two almost equal texts have in common, in a few hundred bytes.

A text is read as the set of its runs of five characters (shingles). Each is hashed with secret coefficients, so nobody
who lacks the key can make texts that collide. The sketch keeps the smallest hashes, a uniform sample of the set that
two texts draw alike; from two sketches the share of common shingles (Jaccard) is exact for short texts and estimated
for long ones. MinHash signatures, cut into bands, find the sketches that are worth comparing.

References
----------
Broder, A. Z. (1997). On the resemblance and containment of documents. Compression and Complexity of Sequences.
Dietzfelbinger, M. et al. (1997). A reliable randomized algorithm for the closest-pair problem (multiply-shift).
"""

from __future__ import annotations

import hashlib
import sys
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint32]

SHINGLE = 5
"""Characters in a shingle."""
SKETCH_SIZE = 128
"""Most hashes in a sketch. Texts with fewer shingles are compared exactly, longer ones to about 0.04."""
BANDS, ROWS = 21, 3
"""Bands of a signature, and hashes in a band. Two texts that share half of their shingles agree in some band with a
probability of 0.94, two that share a tenth with 0.02."""

# Arrays without a dimension, because an array takes them as they are and would first have to convert a scalar.
_HALF = np.array(32, dtype=np.uint64)
_MIX = np.array(0x9E3779B97F4A7C15, dtype=np.uint64)
_MARKS = 4_096
_LOW = np.array(_MARKS - 1, dtype=np.uint32)
_ROUNDING = 1e-9
_UPPER = slice(1 if sys.byteorder == "little" else 0, None, 2)
"""The upper halves of numbers of 64 bits, among numbers of 32."""


class Sketch(NamedTuple):
    """A text's hashes, and the keys of its bands. Shared: do not write to them."""

    hashes: Hashes
    bands: Hashes


class Sketcher:
    """Makes sketches with one key.

    Parameters
    ----------
    key
        Secret, at least 16 bytes. Sketches made with different keys have nothing to do with each other.

    Examples
    --------
    >>> sketcher = Sketcher(b"sixteen bytes...")
    >>> one, two = (sketcher.sketch(text) for text in ("where is my card?", "where is my new card?"))
    >>> round(similarity(one.hashes, two.hashes), 2)
    0.55
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        odd = np.uint64(1)
        rng = np.random.Generator(np.random.PCG64(int.from_bytes(hashlib.blake2b(key).digest(), "big")))
        draw = rng.integers(0, 2**64, size=(2 * SHINGLE + 2 * BANDS * ROWS + 2 * ROWS,), dtype=np.uint64)
        self._window, self._stretch, self._shift, self._join = np.split(
            draw, np.cumsum([SHINGLE, BANDS * ROWS, BANDS * ROWS])
        )
        self._window |= odd
        self._stretch |= odd
        self._join = self._join[:ROWS] | odd

    def sketch(self, text: str) -> Sketch:
        """The smallest hashes of the shingles of a text, ascending, at most `SKETCH_SIZE`, at least one; and its bands.

        Blanks are put around the text, so that a text shorter than a shingle has one, too.
        """
        hashes = _ascending(self._hashes(text))[:SKETCH_SIZE]
        return Sketch(hashes, self.bands(hashes))

    def first_bands(self, text: str, n_bands: int) -> Hashes:
        """Keys of the first bands of a text, as in its sketch, for whoever needs no more of it."""
        hashes = self._hashes(text)
        if len(hashes) > SKETCH_SIZE:  # of fewer, all count, and in which order makes no difference
            hashes = _ascending(hashes)[:SKETCH_SIZE]
        return self.bands(hashes, n_bands)

    def _hashes(self, text: str) -> Hashes:
        """The hashes of the shingles in their order. The caller's own."""
        padded = f" {text} ".ljust(SHINGLE)
        codes = np.frombuffer(padded.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
        mixed = np.correlate(codes, self._window)
        mixed ^= mixed >> _HALF
        mixed *= _MIX
        return mixed.view(np.uint32)[_UPPER].copy()

    def bands(self, hashes: Hashes, n_bands: int = BANDS) -> Hashes:
        """Keys of the first bands of the MinHash signature of a text's hashes, shape (n_bands,)."""
        n = n_bands * ROWS
        stretched = np.multiply.outer(hashes.astype(np.uint64), self._stretch[:n])
        stretched += self._shift[:n]
        signature = np.minimum.reduce(stretched)
        signature >>= _HALF
        joined = signature.reshape(n_bands, ROWS) @ self._join
        joined ^= joined >> _HALF
        joined *= _MIX
        keys: Hashes = joined.view(np.uint32)[_UPPER].copy()
        return keys

    def number(self, name: str) -> int:
        """A keyed number of 63 bits in place of a name."""
        return int(self.digest(name.encode("utf-8", "surrogatepass")), 16) >> 1

    def digest(self, data: bytes) -> str:
        """A keyed digest of 64 bits, in hexadecimal."""
        return hashlib.blake2b(data, key=self._key[:64], digest_size=8).hexdigest()


def similarity(one: Hashes, other: Hashes) -> float:
    """Share of common shingles (Jaccard) of two sketches, 0..1."""
    at = np.searchsorted(other, one)
    common = one[other[np.minimum(at, len(other) - 1)] == one]
    if len(one) < SKETCH_SIZE and len(other) < SKETCH_SIZE:
        return len(common) / (len(one) + len(other) - len(common))
    union = _ascending(np.concatenate([one, other]))[:SKETCH_SIZE]
    return int(np.searchsorted(common, union[-1], side="right")) / len(union)


def similarities(one: Hashes, others: Hashes, lengths: NDArray[np.uint8]) -> list[float]:
    """What `similarity` says of a sketch and each of some others, several times as fast as one by one.

    Parameters
    ----------
    others
        The other sketches, shape (n, SKETCH_SIZE), each filled up behind its end.
    lengths
        Hashes in each of them.
    """
    if len(one) == SKETCH_SIZE:
        return [similarity(one, other[:length]) for other, length in zip(others, lengths.tolist(), strict=True)]
    at = np.searchsorted(one, others)
    same = one.take(at, mode="clip") == others
    same &= np.arange(SKETCH_SIZE) < lengths[:, None]
    common = np.count_nonzero(same, axis=1)
    return [
        both / (len(one) + length - both) if length < SKETCH_SIZE else similarity(one, other)
        for both, length, other in zip(common.tolist(), lengths.tolist(), others, strict=True)
    ]


def likely(one: Hashes, others: Hashes, lengths: NDArray[np.uint8], least: float) -> list[int]:
    """Which of some other sketches may be so similar to one: all that are, and few that are not.

    Hashes are compared by a few bits first, which can only make more of them seem common.

    Parameters
    ----------
    others, lengths
        As of `similarities`.
    least
        Least similarity that is looked for, 0..1.

    Returns
    -------
    list of int
        Their rows, ascending.
    """
    marked = np.zeros(_MARKS, dtype=np.uint8)
    marked[one & _LOW] = 1
    common = np.add.reduce(marked.take(others & _LOW), axis=1, dtype=np.uint8).tolist()
    n, share = len(one), least / (1.0 + least) - _ROUNDING
    full = least * SKETCH_SIZE
    return [
        row
        for row, (most, length) in enumerate(zip(common, lengths.tolist(), strict=True))
        if most >= (full if SKETCH_SIZE in (n, length) else share * (n + length))
    ]


def _ascending(hashes: Hashes) -> Hashes:
    """Sort, and leave each value once: several times as fast as `numpy.unique` for a few hundred."""
    hashes.sort()
    first = np.empty(len(hashes), dtype=np.bool_)
    first[:1] = True
    np.not_equal(hashes[1:], hashes[:-1], out=first[1:])
    return hashes.compress(first)
