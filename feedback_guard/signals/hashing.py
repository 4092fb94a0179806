"""The arithmetic of sketches, compiled: hashes of shingles, keys of bands, and which remembered sketches are alike.

What it means is said in `sketch` and in `families`. The constants that the compiled functions use stand here, see
`feedback_guard.compiled`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedback_guard.compiled import compiled

Hashes = NDArray[np.uint32]
Secrets = NDArray[np.uint64]

SKETCH_SIZE: Final = 128
"""Most hashes in a sketch. Texts with fewer shingles are compared exactly, longer ones to about 0.04."""
_HALF: Final = np.uint64(32)
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)


@compiled("uint32[::1](Array(uint32, 1, 'C', readonly=True), uint64[::1])")
def hashes_of(codes: Hashes, window: Secrets) -> Hashes:
    """A hash of each run of `len(window)` characters, in their order (multiply-shift).

    Parameters
    ----------
    codes
        The characters, at least as many.
    window
        Secret, odd.
    """
    hashes = np.empty(len(codes) - len(window) + 1, dtype=np.uint32)
    for i in range(len(hashes)):
        mixed = np.uint64(0)
        for j in range(len(window)):
            mixed += np.uint64(codes[i + j]) * window[j]
        mixed ^= mixed >> _HALF
        mixed *= _MIX
        hashes[i] = np.uint32(mixed >> _HALF)
    return hashes


@compiled("int64(uint32[::1], uint64[::1], uint64[::1], uint64[::1], uint32[::1])")
def distil(hashes: Hashes, stretch: Secrets, shift: Secrets, join: Secrets, bands: Hashes) -> int:
    """Leave the smallest hashes, at most `SKETCH_SIZE`, each once, and find the keys of their bands.

    Parameters
    ----------
    hashes
        Ascending; changed here.
    stretch, shift
        Secret: a permutation for each hash of the MinHash signature, `len(join)` for each band.
    join
        Secret: makes one key of the hashes of a band.
    bands
        Takes the keys.

    Returns
    -------
    int
        How many hashes are left, from the first.
    """
    n = 0
    for i in range(len(hashes)):
        if n == 0 or hashes[i] != hashes[n - 1]:
            if n == SKETCH_SIZE:
                break
            hashes[n] = hashes[i]
            n += 1
    n_rows = len(join)
    signature = np.full(len(bands) * n_rows, np.uint64(0xFFFFFFFFFFFFFFFF))
    for i in range(n):
        wide = np.uint64(hashes[i])
        for j in range(len(signature)):
            signature[j] = min(signature[j], wide * stretch[j] + shift[j])
    for band in range(len(bands)):
        joined = np.uint64(0)
        for j in range(n_rows):
            joined += (signature[band * n_rows + j] >> _HALF) * join[j]
        joined ^= joined >> _HALF
        joined *= _MIX
        bands[band] = np.uint32(joined >> _HALF)
    return n


@compiled("float64(Array(uint32, 1, 'C', readonly=True), Array(uint32, 1, 'C', readonly=True))")
def similarity(one: Hashes, other: Hashes) -> float:
    """Share of common shingles (Jaccard) of two sketches, 0..1.

    Of full sketches, that among the smallest hashes of both together.
    """
    i = j = common = union = 0
    full = len(one) == SKETCH_SIZE or len(other) == SKETCH_SIZE
    while i < len(one) and j < len(other) and not (full and union == SKETCH_SIZE):
        a, b = one[i], other[j]
        if a == b:
            common += 1
        if a <= b:
            i += 1
        if b <= a:
            j += 1
        union += 1
    rest = union + len(one) - i + len(other) - j
    return common / (min(rest, SKETCH_SIZE) if full else rest)


@compiled(
    "int64(Array(uint32, 1, 'C', readonly=True), Array(uint32, 1, 'C', readonly=True), int32[:, ::1], uint32[:, ::1], "
    "uint32[:, ::1], uint8[::1], float64, int64[::1], float64[::1])"
)
def alike(
    hashes: Hashes,
    bands: Hashes,
    table: NDArray[np.int32],
    keys: Hashes,
    leaders: Hashes,
    lengths: NDArray[np.uint8],
    least: float,
    found: NDArray[np.int64],
    likeness: NDArray[np.float64],
) -> int:
    """Which of the leaders in a table are alike to a sketch, among those that agree with it in most bands.

    Parameters
    ----------
    hashes, bands
        The sketch.
    table
        Numbers of leaders plus one, 0 where a place is vacant: as many buckets for each band in turn, a power of two.
    keys, leaders, lengths
        Bands, hashes and number of hashes of each leader.
    least
        Similarity from which they are alike, 0..1.
    found, likeness
        Take which leaders are alike and how much, the most alike first; as many are compared as have place there.

    Returns
    -------
    int
        How many are alike.
    """
    n_bands, n_ways = len(bands), table.shape[1]
    slots = len(table) // n_bands
    idents, votes = np.empty(n_bands * n_ways, dtype=np.int64), np.zeros(n_bands * n_ways, dtype=np.int64)
    n = 0
    for band in range(n_bands):
        bucket = band * slots + np.int64(bands[band]) % slots
        for way in range(n_ways):
            ident = np.int64(table[bucket, way]) - 1
            if ident < 0 or keys[ident, band] != bands[band]:
                continue
            at = 0
            while at < n and idents[at] != ident:
                at += 1
            if at == n:
                idents[n] = ident
                n += 1
            votes[at] += 1
    n_found = 0
    for _ in range(min(n, len(found))):
        best = 0
        for at in range(1, n):
            if votes[at] > votes[best] or (votes[at] == votes[best] and idents[at] < idents[best]):
                best = at
        votes[best] = 0
        ident = idents[best]
        like = similarity(hashes, leaders[ident, : np.int64(lengths[ident])])
        if like < least:
            continue
        at = n_found
        while at > 0 and (likeness[at - 1] < like or (likeness[at - 1] == like and found[at - 1] > ident)):
            found[at], likeness[at] = found[at - 1], likeness[at - 1]
            at -= 1
        found[at], likeness[at] = ident, like
        n_found += 1
    return n_found


@compiled("void(int32[:, ::1], uint32[::1], int64)")
def place(table: NDArray[np.int32], bands: Hashes, ident: int) -> None:
    """Put a leader into the table: in each bucket of its bands in a vacant place, or else in that of another one."""
    slots, n_ways = len(table) // len(bands), table.shape[1]
    for band in range(len(bands)):
        bucket = band * slots + np.int64(bands[band]) % slots
        place = ident % n_ways
        for way in range(n_ways):
            if table[bucket, way] == 0:
                place = way
                break
        table[bucket, place] = ident + 1


@compiled("void(int32[:, ::1], uint32[::1], int64)")
def displace(table: NDArray[np.int32], bands: Hashes, ident: int) -> None:
    """Take a leader out of the table, wherever it still is."""
    slots = len(table) // len(bands)
    for band in range(len(bands)):
        bucket = band * slots + np.int64(bands[band]) % slots
        for way in range(table.shape[1]):
            if table[bucket, way] == ident + 1:
                table[bucket, way] = 0
