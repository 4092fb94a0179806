"""Who sends what is unlike the trusted set of late: many people, or a few?

A stream that has left the trusted set is an honest change or an attack, and the alarm cannot tell which. But one
account, or a crew, must not be able to raise it and then be forgiven for being unlike. So it is counted how many
contributors the latest unlike contributions come from.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedback_guard.contribution import ANONYMOUS

WITHIN: Final = 200
"""Latest contributions that are looked at. Of an honest stream about four of them are unlike (`FAR[0]`)."""
_NOBODY: Final = 0


class Crowd:
    """The senders of the latest unlike contributions.

    Parameters
    ----------
    senders
        As `senders` returned it.

    Examples
    --------
    >>> crowd = Crowd()
    >>> for who in ("ada", "ada", "grace"):
    ...     crowd.note(who, unlike=True)
    >>> crowd.size
    2
    """

    def __init__(self, senders: NDArray[np.uint64] | None = None) -> None:
        self._latest: deque[int] = deque([] if senders is None else senders.tolist(), maxlen=WITHIN)
        self._counts = Counter(each for each in self._latest if each != _NOBODY)

    @property
    def size(self) -> int:
        """Contributors who sent an unlike contribution of late."""
        return len(self._counts)

    @property
    def senders(self) -> NDArray[np.uint64]:
        """For each of the latest contributions, a number for its contributor; 0 where it was not unlike."""
        return np.array(self._latest, dtype=np.uint64)

    def note(self, contributor: str, *, unlike: bool) -> None:
        """Take in a contribution. What comes without a name counts for nobody."""
        if len(self._latest) == WITHIN and (gone := self._latest[0]) != _NOBODY:
            self._counts[gone] -= 1
            if not self._counts[gone]:
                del self._counts[gone]
        number = _number(contributor) if unlike and contributor != ANONYMOUS else _NOBODY
        self._latest.append(number)
        if number != _NOBODY:
            self._counts[number] += 1


def _number(name: str) -> int:
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8, person=b"drift-crowd").digest()
    return int.from_bytes(digest, "big") or 1
