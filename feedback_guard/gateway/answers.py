"""Turns the head of an answer into bytes, and decides how its body ends."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Final

from feedback_guard.errors import UsageError

_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_PHRASES: Final = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}
_BODYLESS: Final = frozenset({204, 304})


class Framing(Enum):
    """How a body ends."""

    NONE = auto()
    LENGTH = auto()
    CHUNKED = auto()
    CLOSE = auto()


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """The head of one answer.

    Parameters
    ----------
    data
        What goes over the connection.
    framing
        How the body ends.
    length
        Of the body in bytes, where the framing says so.
    keep_alive
        Whether another request may follow.
    """

    data: bytes
    framing: Framing
    length: int
    keep_alive: bool


def answer_head(
    status: int,
    headers: Iterable[tuple[bytes, bytes]],
    *,
    method: str,
    version: str,
    keep_alive: bool,
    date: bytes,
) -> AnswerHead:
    r"""Make the head of an answer.

    Parameters
    ----------
    status, headers
        As the application gave them.
    method, version
        Of the request.
    keep_alive
        Whether the connection could be kept.
    date
        For an answer that has none.

    Raises
    ------
    UsageError
        If the application gave what no answer may have.

    Examples
    --------
    >>> answer_head(200, [], method="GET", version="1.1", keep_alive=True, date=b"now").data
    b'HTTP/1.1 200 OK\r\ndate: now\r\ntransfer-encoding: chunked\r\n\r\n'
    """
    if not 200 <= status <= 999:
        raise UsageError(f"an answer with the status {status} is none; the application must give one of 200 to 999")
    fields: list[tuple[bytes, bytes]] = []
    length: int | None = None
    dated = False
    for given, value in headers:
        name = given.lower()
        if not _NAME.fullmatch(name) or _FORBIDDEN.search(value):
            raise UsageError("the application's answer has a header field with characters that none may have")
        if name in {b"connection", b"transfer-encoding", b"keep-alive"}:
            keep_alive = keep_alive and not (name == b"connection" and b"close" in value.lower())
            continue  # these are the server's own
        if name == b"content-length":
            if not value.isdigit() or (length is not None and length != int(value)):
                raise UsageError("the application's answer has a Content-Length that is not one number")
            if length is not None:
                continue
            length = int(value)
        dated = dated or name == b"date"
        fields.append((given, value))
    framing = _framing(status, length, method, version)
    if framing is Framing.CLOSE:
        keep_alive = False
    if status == 204:
        fields = [(name, value) for name, value in fields if name.lower() != b"content-length"]
    if not dated and date:
        fields.append((b"date", date))
    if framing is Framing.CHUNKED:
        fields.append((b"transfer-encoding", b"chunked"))
    if not keep_alive:
        fields.append((b"connection", b"close"))
    lines = [b"HTTP/1.1 %d %s" % (status, _PHRASES.get(status, b"")), *(name + b": " + value for name, value in fields)]
    return AnswerHead(b"\r\n".join([*lines, b"", b""]), framing, length or 0, keep_alive)


def _framing(status: int, length: int | None, method: str, version: str) -> Framing:
    if method == "HEAD" or status in _BODYLESS:
        return Framing.NONE
    if length is not None:
        return Framing.LENGTH
    return Framing.CHUNKED if version == "1.1" else Framing.CLOSE
