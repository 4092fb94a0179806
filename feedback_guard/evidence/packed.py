"""Growing rows of numbers as plain bytes.

The garbage collector looks at every list on each of its rounds and never at bytes, which refer to nothing. Where there
is one row for each of a million facets, that is most of what it would look at.
"""

from __future__ import annotations

import sys
from typing import Final

WIDTH: Final = 8
"""Bytes of a number."""


def packed(number: int) -> bytes:
    """One number, 0 or more and below 2^63, as it stands in a row.

    Examples
    --------
    >>> row = bytearray(packed(7))
    >>> row += packed(11)
    >>> unpacked(row)
    [7, 11]
    """
    return number.to_bytes(WIDTH, sys.byteorder)


def unpacked(row: bytes | bytearray) -> list[int]:
    """The numbers of a row, in their order."""
    return list(memoryview(bytes(row)).cast("q"))
