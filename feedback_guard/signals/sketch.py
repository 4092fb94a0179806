"""Keyed sketches of texts: what two almost equal texts have in common, in a few hundred bytes.

A text is read as the set of its runs of five characters (shingles). Each is hashed with secret coefficients, so nobody
who lacks the key can make texts that collide. The sketch keeps the smallest hashes, a uniform sample of the set that
two texts draw alike; from two sketches the share of common shingles (Jaccard) is exact for short texts and estimated
for long ones (`hashing.similarity`). MinHash signatures, cut into bands, find the sketches that are worth comparing.

References
----------
Broder, A. Z. (1997). On the resemblance and containment of documents. Compression and Complexity of Sequences.
Dietzfelbinger, M. et al. (1997). A reliable randomized algorithm for the closest-pair problem (multiply-shift).
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

from feedback_guard.signals.hashing import Hashes, distil, hashes_of

SHINGLE = 5
"""Characters in a shingle."""
BANDS, ROWS = 21, 3
"""Bands of a signature, and hashes in a band. Two texts that share half of their shingles agree in some band with a
probability of 0.94, two that share a tenth with 0.02."""


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
    >>> from feedback_guard.signals.hashing import similarity
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
        return self._distilled(self._hashes(text), BANDS)

    def first_bands(self, text: str, n_bands: int) -> Hashes:
        """Keys of the first bands of a text, as in its sketch, for whoever needs no more of it."""
        return self._distilled(self._hashes(text), n_bands).bands

    def bands(self, hashes: Hashes) -> Hashes:
        """Keys of the bands of the MinHash signature of a sketch's hashes, shape (BANDS,)."""
        return self._distilled(hashes.copy(), BANDS).bands

    def _hashes(self, text: str) -> Hashes:
        """The hashes of the shingles, ascending."""
        padded = f" {text} ".ljust(SHINGLE)
        hashes = hashes_of(np.frombuffer(padded.encode("utf-32-le", "surrogatepass"), dtype=np.uint32), self._window)
        hashes.sort()
        return hashes

    def _distilled(self, hashes: Hashes, n_bands: int) -> Sketch:
        """The sketch with these hashes, which are changed."""
        n, bands = n_bands * ROWS, np.empty(n_bands, dtype=np.uint32)
        n_left = distil(hashes, self._stretch[:n], self._shift[:n], self._join, bands)
        return Sketch(hashes[:n_left].copy(), bands)  # a copy, so that no long text's hashes stay with it

    def number(self, name: str) -> int:
        """A keyed number of 63 bits in place of a name."""
        return int(self.digest(name.encode("utf-8", "surrogatepass")), 16) >> 1

    def digest(self, data: bytes) -> str:
        """A keyed digest of 64 bits, in hexadecimal."""
        return hashlib.blake2b(data, key=self._key[:64], digest_size=8).hexdigest()
