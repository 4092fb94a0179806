r"""Reads a body that comes in chunks (RFC 9112, section 7.1), in the one spelling that everybody reads alike.

Extensions and trailers are read over and never passed on: the upstream gets the body's bytes in chunks of the gateway's
own making. What is not body may be as large as the body and a little more, so that nobody can have a megabyte read byte
by byte.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final

from feedback_guard.middleware.replies import BadInputError, bad_input

_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t\x20-\x7e\x80-\xff]*")
_NEVER_LAST: Final = frozenset({b"content-length", b"transfer-encoding", b"host"})
_MAX_LINE: Final = 4096


class _At(Enum):
    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILER = auto()
    END = auto()


class ChunkReader:
    r"""Takes the chunks of one body out of a buffer.

    Parameters
    ----------
    max_overhead
        By how many bytes sizes, extensions and trailers may outweigh the body.

    Examples
    --------
    >>> buffer = bytearray(b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\nGET /")
    >>> ChunkReader(100).read(buffer)
    (b'abcde', True)
    >>> bytes(buffer)
    b'GET /'
    """

    def __init__(self, max_overhead: int) -> None:
        self._at = _At.SIZE
        self._left = 0
        self._overhead = max_overhead

    def read(self, buffer: bytearray) -> tuple[bytes, bool]:
        """Take what is there of the body, and say whether that was its end.

        Raises
        ------
        BadInputError
            If it is not what the RFC says, or beyond the bound.
        """
        parts: list[bytes] = []
        while self._at is not _At.END and self._step(buffer, parts):
            pass
        return b"".join(parts), self._at is _At.END

    def _step(self, buffer: bytearray, parts: list[bytes]) -> bool:
        """Go one step; False if more bytes are needed for it."""
        if self._at is _At.DATA:
            part = bytes(buffer[: self._left])
            if not part:
                return False
            del buffer[: len(part)]
            parts.append(part)
            self._overhead += len(part)
            self._left -= len(part)
            if self._left == 0:
                self._at = _At.DATA_END
            return True
        line = _line(buffer)
        if line is None:
            return False
        self._overhead -= len(line) + 2
        if self._overhead < 0:
            raise _bad("The body has more chunk sizes, extensions or trailers than body.")
        if self._at is _At.SIZE:
            self._size(line)
        elif self._at is _At.DATA_END:
            if line:
                raise _bad("A chunk is longer than its size.")
            self._at = _At.SIZE
        elif line:
            match = _TRAILER.fullmatch(line)
            if match is None or match[1].lower().replace(b"_", b"-") in _NEVER_LAST:
                raise _bad("A trailer of the body is malformed.")
        else:
            self._at = _At.END
        return True

    def _size(self, line: bytes) -> None:
        match = _SIZE.fullmatch(line)
        if match is None:
            raise _bad("The size of a chunk is not a hexadecimal number.")
        self._left = int(match[1], 16)
        self._at = _At.DATA if self._left else _At.TRAILER


def _line(buffer: bytearray) -> bytes | None:
    """Take a line out of the buffer; None while it is not complete."""
    end = buffer.find(b"\n", 0, _MAX_LINE)
    if end < 0:
        if len(buffer) >= _MAX_LINE:
            raise _bad("A line between the chunks is too long.")
        return None
    if end == 0 or buffer[end - 1] != 0x0D:
        raise _bad("A line between the chunks does not end in CR LF.")
    line = bytes(buffer[: end - 1])
    del buffer[: end + 1]
    return line


def _bad(detail: str) -> BadInputError:
    return bad_input(400, "bad_chunk", detail)
