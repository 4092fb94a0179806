"""Which sorts of characters stand side by side in a text: where none do as a pattern needs, it is not looked for."""

from __future__ import annotations

import string
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedback_guard.compiled import compiled

_SORTS: Final = {"*": "", "a": string.ascii_lowercase, "A": string.ascii_uppercase, " ": " \t", ",": ",", ".": ".!?"}
"""Characters of each sort, by one of them; the star stands for all others."""
_N_SORTS: Final = len(_SORTS)
_SORT_OF: Final = np.array(
    [next((place for place, each in enumerate(_SORTS.values()) if chr(code) in each), 0) for code in range(128)]
)
"""Place of the sort of each character of ASCII; those beyond have the first."""
THRICE: Final = 1 << _N_SORTS * _N_SORTS
"""The same character three times in a row."""


def any_of(*neighbours: str) -> int:
    """The bits of neighbours, each given as two sorts.

    Examples
    --------
    >>> bool(any_of("aA") & neighbours_in("iPad")), bool(any_of("aA", ".*") & neighbours_in("Ok. So"))
    (True, False)
    """
    places = {sort: place for place, sort in enumerate(_SORTS)}
    return sum(1 << places[each[0]] * _N_SORTS + places[each[1]] for each in neighbours)


def neighbours_in(text: str) -> int:
    """The bits of all neighbours in a text, and `THRICE` if it has that."""
    return _neighbours(np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32))


@compiled("int64(Array(uint32, 1, 'C', readonly=True))")
def _neighbours(codes: NDArray[np.uint32]) -> int:
    found = sort = 0
    for i in range(len(codes)):
        before, code = sort, np.int64(codes[i])
        sort = _SORT_OF[code] if code < 128 else 0
        if i > 0:
            found |= 1 << before * _N_SORTS + sort
        if i > 1 and codes[i] == codes[i - 1] == codes[i - 2]:
            found |= THRICE
    return found
