r"""Reads requests from bytes, and refuses whatever two programs could read differently.

Request smuggling lives on leniency: a proxy and its upstream that disagree about where a request ends. So there is one
spelling of everything here: lines end in CRLF, a length is one number in digits, the only transfer coding is `chunked`,
a request has a length or chunks and never both, nothing stands before a colon but a name, and no line is folded. What
is refused ends the connection, because nobody can say where the next request would begin.

The target is a path and perhaps a query, kept byte for byte. An absolute target (`http://host/path`) is refused: it
would name a host, and the upstream is named by the operator alone.

There is no input or output in this module: bytes come in, a head and a body come out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from feedback_guard.gateway.bounds import Bounds
from feedback_guard.gateway.chunks import ChunkReader
from feedback_guard.middleware.replies import BadInputError, bad_input

Headers = list[tuple[bytes, bytes]]

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE: Final = re.compile(rb"(" + _TOKEN + rb") (\S+) HTTP/(\d)\.(\d)")
_FIELD: Final = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_TARGET: Final = re.compile(rb"/[\x21\x22\x24-\x7e]*")
"""Visible ASCII without `#`: a fragment never belongs into a request."""
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?")
_LENGTH: Final = re.compile(rb"\d{1,18}")
_MAX_METHOD: Final = 32
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})


@dataclass(frozen=True, slots=True)
class Head:
    """The head of one request.

    Parameters
    ----------
    method
        As it was sent.
    raw_path, query_string
        As they were sent.
    version
        `1.0` or `1.1`.
    headers
        In order, with repetitions; names in lower case, values without surrounding white space.
    length
        Of the body in bytes; None when it comes in chunks.
    keep_alive
        Whether the client wants to send another request afterwards.
    expects
        Whether the client waits for `100 Continue`.
    """

    method: str
    raw_path: bytes
    query_string: bytes
    version: str
    headers: Headers
    length: int | None
    keep_alive: bool
    expects: bool


class RequestReader:
    r"""Reads the requests of one connection, one after the other.

    Parameters
    ----------
    bounds
        Of the listener.

    Examples
    --------
    >>> reader = RequestReader(Bounds())
    >>> reader.feed(b"POST /a/../b?q=%20 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}GET / HT")
    >>> head = reader.head()
    >>> head.raw_path, head.query_string, head.length
    (b'/a/../b', b'q=%20', 2)
    >>> reader.body()
    (b'{}', True)
    >>> reader.next()
    >>> reader.head() is None, reader.waiting
    (True, 8)
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._buffer = bytearray()
        self._scanned = 0
        self._left = 0
        self._chunks: ChunkReader | None = None

    @property
    def waiting(self) -> int:
        """Bytes that were fed and not read yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take bytes from the connection."""
        self._buffer += data

    def next(self) -> None:
        """Begin with the next request. What follows the last one in the buffer is its beginning."""
        self._scanned = 0
        self._left = 0
        self._chunks = None

    def head(self) -> Head | None:
        """Read a head; None as long as it is not complete.

        Raises
        ------
        BadInputError
            With the status to answer. Nothing may be read from the connection afterwards.
        """
        if self._scanned <= 1 and self._buffer.startswith(b"\r\n"):
            self._scanned = 0
            del self._buffer[:2]  # RFC 9112, section 2.2: one empty line before a request is read over
        end = self._find_end()
        if end is None:
            return None
        lines = bytes(self._buffer[: end - 4]).split(b"\r\n")
        del self._buffer[:end]
        head = _parse(lines, self._bounds)
        if head.length is None:
            self._chunks = ChunkReader(self._bounds.chunk_overhead_bytes)
        else:
            self._left = head.length
        return head

    def body(self) -> tuple[bytes, bool]:
        """Read what is there of the body, and say whether that was its end.

        Raises
        ------
        BadInputError
            If its chunks are not what RFC 9112 says.
        """
        if self._chunks is not None:
            return self._chunks.read(self._buffer)
        data = bytes(self._buffer[: self._left])
        del self._buffer[: len(data)]
        self._left -= len(data)
        return data, self._left == 0

    def _find_end(self) -> int | None:
        """Look at what is new, once, so that a head in many small pieces costs no more than one in a large one."""
        buffer, at = self._buffer, self._scanned
        while (at := buffer.find(b"\n", at)) >= 0:
            if at == 0 or buffer[at - 1] != 0x0D:
                raise bad_input(400, "bad_line", "A line of the request does not end in CR LF.")
            if at >= 3 and buffer[at - 3] == 0x0D and buffer[at - 2] == 0x0A:
                if at + 1 > self._bounds.head_bytes:
                    break
                return at + 1
            at += 1
        self._scanned = len(buffer)
        if b"\n" not in buffer and len(buffer) > self._bounds.target_bytes + 2 * _MAX_METHOD:
            raise _too_long(self._bounds)
        if len(buffer) > self._bounds.head_bytes:
            raise bad_input(
                431, "head_too_large", f"The head of the request is larger than {self._bounds.head_bytes} bytes."
            )
        return None


def _too_long(bounds: Bounds) -> BadInputError:
    return bad_input(414, "target_too_long", f"The request's target is longer than {bounds.target_bytes} bytes.")


def _parse(lines: list[bytes], bounds: Bounds) -> Head:
    line = _REQUEST_LINE.fullmatch(lines[0])
    if line is None:
        raise bad_input(400, "bad_request_line", "The request line is not `METHOD /path HTTP/1.1`.")
    method, target, version = line[1], line[2], (line[3] + b"." + line[4]).decode("ascii")
    if version not in {"1.0", "1.1"}:
        raise bad_input(505, "bad_version", "Only HTTP/1.0 and HTTP/1.1 are spoken here.")
    if len(method) > _MAX_METHOD or method.upper() == b"CONNECT":
        raise bad_input(501, "bad_method", "The method is unknown here.")
    if len(target) > bounds.target_bytes:
        raise _too_long(bounds)
    if not _TARGET.fullmatch(target):
        raise bad_input(
            400, "bad_target", "The request's target is not a path in ASCII; other forms of it are not taken."
        )
    if len(lines) - 1 > bounds.header_count:
        raise bad_input(431, "too_many_headers", f"The request has more than {bounds.header_count} header fields.")
    headers = [_field(line) for line in lines[1:]]
    length = _framing(headers, version)
    _check_host([value for name, value in headers if name == b"host"], version)
    options = {
        option.strip().lower() for name, value in headers if name == b"connection" for option in value.split(b",")
    }
    raw_path, _, query_string = target.partition(b"?")
    return Head(
        method=method.decode("ascii"),
        raw_path=raw_path,
        query_string=query_string,
        version=version,
        headers=headers,
        length=length,
        keep_alive=version == "1.1" and b"close" not in options,
        expects=_expects([value for name, value in headers if name == b"expect"], version),
    )


def _field(line: bytes) -> tuple[bytes, bytes]:
    match = _FIELD.fullmatch(line)
    if match is None:
        raise bad_input(400, "bad_header", "A header field is malformed, folded, or has a forbidden character.")
    name = match[1].lower()
    if name.replace(b"_", b"-") in _FRAMING and name not in _FRAMING:
        # Gateways that hand headers on as variables read both alike.
        raise bad_input(400, "bad_header", "A header field imitates Content-Length or Transfer-Encoding.")
    return name, match[2].rstrip(b" \t")


def _framing(headers: Headers, version: str) -> int | None:
    """How the body ends: after so many bytes, or, if None, with its last chunk."""
    lengths = [value for name, value in headers if name == b"content-length"]
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if codings:
        if lengths:
            raise bad_input(400, "bad_framing", "The request has both Content-Length and Transfer-Encoding.")
        if len(codings) > 1 or version == "1.0":
            raise bad_input(400, "bad_framing", "Transfer-Encoding stands twice, or in HTTP/1.0.")
        if codings[0].lower() != b"chunked":
            raise bad_input(501, "unknown_coding", "The only transfer coding that is understood here is `chunked`.")
        return None
    if len(lengths) > 1 or (lengths and not _LENGTH.fullmatch(lengths[0])):
        raise bad_input(400, "bad_framing", "Content-Length is not one number.")
    return int(lengths[0]) if lengths else 0


def is_host(value: bytes) -> bool:
    """Whether it is a name or an address, with or without a port."""
    return _HOST.fullmatch(value) is not None


def _check_host(hosts: list[bytes], version: str) -> None:
    if len(hosts) != 1 and (hosts or version == "1.1"):
        raise bad_input(400, "bad_host", "The request needs exactly one Host.")
    if hosts and not is_host(hosts[0]):
        raise bad_input(400, "bad_host", "Host is not a name or an address, with or without a port.")


def _expects(values: list[bytes], version: str) -> bool:
    if not values or version == "1.0":
        return False
    if len(values) > 1 or values[0].lower() != b"100-continue":
        raise bad_input(417, "bad_expectation", "The only expectation that can be met is `100-continue`.")
    return True
