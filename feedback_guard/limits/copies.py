"""Copies of levels for a place that nobody need trust: names say nothing, and what was not written by us is not read.

A level that the store committed bounds from below whatever the store holds later, since a level only falls by the
passing of time. So a copy may be old, and may even be put back by somebody who kept it: what it refuses, the store
refuses too. Only a copy that was made up could do harm; each carries a keyed digest of its name and its content.
"""

from __future__ import annotations

import hashlib
from typing import Final

from feedback_guard.limits.gcra import Level

_DIGITS: Final = 20
_OFFSET: Final = 10**19 // 2
"""Added to the time, so that one before 1970 sorts as well."""
_TAG: Final = 32
SORTED_CHARS: Final = 4 * _DIGITS
"""So many characters of a copy, read as text, sort by its age: time, whole micro-units, fraction, period."""


class Copies:
    """Names and reads copies under one key.

    Parameters
    ----------
    secret
        Shared by the processes of a deployment.
    place
        Names the database, so that two of them never read each other's copies.

    Examples
    --------
    >>> copies = Copies(b"0123456789abcdef", "postgresql://db/feedback")
    >>> name = copies.name("a counter")
    >>> copies.read(name, copies.write(name, Level(1, 2, 3, 4)))
    Level(used_micro=1, rest=2, period_us=3, last_us=4)
    >>> copies.read(name, copies.write("another name", Level(1, 2, 3, 4))) is None
    True
    """

    def __init__(self, secret: bytes, place: str) -> None:
        self._key = hashlib.blake2b(place.encode(), key=secret[:64], person=b"fg-redis").digest()
        self._prefix = "{fg-" + hashlib.blake2b(b"prefix", key=self._key, digest_size=6).hexdigest() + "}:"

    def name(self, counter: str) -> str:
        """The name of a counter's copy. Its hash tag keeps all of them in one slot of a cluster."""
        return self._prefix + hashlib.blake2b(counter.encode(), key=self._key, digest_size=16).hexdigest()

    def write(self, name: str, level: Level) -> bytes:
        """A level as text, with a digest."""
        fields = (level.last_us + _OFFSET, level.used_micro, level.rest, level.period_us)
        text = "".join(f"{field:0{_DIGITS}d}" for field in fields).encode("ascii")
        return text + self._tag(name, text)

    def read(self, name: str, data: object) -> Level | None:
        """The level; None for whatever was not written under this name with this key."""
        if not isinstance(data, bytes) or len(data) != SORTED_CHARS + _TAG:
            return None
        text = data[:SORTED_CHARS]
        if data[SORTED_CHARS:] != self._tag(name, text):
            return None
        last, used, rest, period = (int(text[i : i + _DIGITS]) for i in range(0, SORTED_CHARS, _DIGITS))
        return Level(used, rest, period, last - _OFFSET)

    def _tag(self, name: str, text: bytes) -> bytes:
        return hashlib.blake2b(name.encode() + text, key=self._key, digest_size=_TAG // 2).hexdigest().encode("ascii")
