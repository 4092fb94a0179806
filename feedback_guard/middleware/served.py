"""Reads served texts out of answers, as they pass: a whole document, a plain text, or a stream of events.

What cannot be read is never an error of the application's: its answer passes as it is, without a digest.
"""

from __future__ import annotations

import codecs
import json
from typing import Any, Final, Protocol

from jmespath.exceptions import JMESPathError
from pydantic import JsonValue

from feedback_guard import settings
from feedback_guard.errors import GuardError
from feedback_guard.middleware.expressions import RequestFunctions, compile_expression, search
from feedback_guard.policy.receipts import ServingPolicy
from feedback_guard.receipts.form import TextDigest

_DONE: Final = "[DONE]"


class UnreadableError(GuardError):
    """An answer is not what the policy says that it is, or a larger one than is read."""


class Reader(Protocol):
    """Follows one answer."""

    def feed(self, data: bytes) -> None:
        """Take a piece of the body.

        Raises
        ------
        UnreadableError
            If it cannot be read.
        """

    def finish(self) -> TextDigest:
        """The digest of the served text, when the body is whole.

        Raises
        ------
        UnreadableError
            If there is none.
        """


class Finder:
    """The expressions of one serving endpoint, compiled once.

    Raises
    ------
    PolicyError
        If one calls what does not exist.
    """

    def __init__(self, policy: ServingPolicy) -> None:
        where = f"receipts.serving: {policy.name}"
        self._read = policy.read
        self._max_bytes = policy.max_bytes
        self._output = self._interaction = None
        if policy.output is not None:
            self._output = compile_expression(policy.output, RequestFunctions, (), f"{where}: output")
        if policy.interaction is not None:
            self._interaction = compile_expression(policy.interaction, RequestFunctions, (), f"{where}: interaction")

    def reader(self) -> Reader:
        """Make what follows one answer."""
        if self._read == "text":
            return _Plain(self._max_bytes)
        if self._read == "events":
            return _Events(self._output, self._max_bytes)
        return _Document(self._output, self._max_bytes)

    def interaction(self, body: bytes) -> str | None:
        """The identifier that a whole document names; None if it names none.

        Raises
        ------
        UnreadableError
            If it is no document, or no identifier stands there.
        """
        if self._interaction is None:
            return None
        found = _search(self._interaction, _document(body))
        if isinstance(found, int) and not isinstance(found, bool):
            found = str(found)
        if not isinstance(found, str) or not 1 <= len(found) <= settings.MAX_ID_CHARS:
            raise UnreadableError("the expression finds no identifier")
        return found


class _Counted:
    """Bounds what is read of an answer."""

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes

    def count(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            raise UnreadableError("the answer is larger than is read")


class _Document(_Counted):
    """A JSON document."""

    def __init__(self, output: Any, max_bytes: int) -> None:
        super().__init__(max_bytes)
        self._output = output
        self._data = bytearray()

    def feed(self, data: bytes) -> None:
        self.count(data)
        self._data += data

    def finish(self) -> TextDigest:
        found = _search(self._output, _document(bytes(self._data)))
        if not isinstance(found, str):
            raise UnreadableError("the expression finds no text")
        return TextDigest().update(found)


class _Plain(_Counted):
    """The served text itself, in UTF-8."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(max_bytes)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._digest = TextDigest()

    def feed(self, data: bytes, *, final: bool = False) -> None:
        self.count(data)
        try:
            self._digest.update(self._decoder.decode(data, final))
        except UnicodeDecodeError:
            raise UnreadableError("the answer is not in UTF-8") from None

    def finish(self) -> TextDigest:
        self.feed(b"", final=True)
        return self._digest


class _Events(_Counted):
    """Server-sent events (HTML Living Standard, section 9.2), each with a JSON document that may hold a piece."""

    def __init__(self, output: Any, max_bytes: int) -> None:
        super().__init__(max_bytes)
        self._output = output
        self._buffer = bytearray()
        self._lines: list[str] = []
        self._size = 0
        self._pieces = 0
        self._digest = TextDigest()

    def feed(self, data: bytes) -> None:
        self.count(data)
        self._buffer += data
        *lines, rest = bytes(self._buffer).replace(b"\r\n", b"\n").split(b"\n")
        self._buffer = bytearray(rest)
        if len(rest) > settings.MAX_EVENT_BYTES:
            raise UnreadableError("an event is larger than is read")
        for line in lines:
            self._line(line)

    def finish(self) -> TextDigest:
        # What is not ended by an empty line is no event.
        if not self._pieces:
            raise UnreadableError("no event holds a text")
        return self._digest

    def _line(self, line: bytes) -> None:
        if not line:
            self._event()
            return
        name, _, value = line.partition(b":")
        if name != b"data":
            return
        self._size += len(value)
        if self._size > settings.MAX_EVENT_BYTES:
            raise UnreadableError("an event is larger than is read")
        try:
            self._lines.append(value.removeprefix(b" ").decode("utf-8"))
        except UnicodeDecodeError:
            raise UnreadableError("an event is not in UTF-8") from None

    def _event(self) -> None:
        text, self._lines, self._size = "\n".join(self._lines), [], 0
        if not text or text.strip() == _DONE:
            return
        piece = _search(self._output, _document(text))
        if piece is None:
            return
        if not isinstance(piece, str):
            raise UnreadableError("the expression finds something that is no text")
        self._pieces += 1
        self._digest.update(piece)


def _document(data: bytes | str) -> JsonValue:
    try:
        document: JsonValue = json.loads(data)
    except (ValueError, RecursionError):
        raise UnreadableError("the answer is not JSON") from None
    return document


def _search(compiled: Any, document: JsonValue) -> Any:
    try:
        return search(compiled, document, RequestFunctions({}))
    except (JMESPathError, GuardError, ValueError, TypeError, OverflowError, RecursionError):
        raise UnreadableError("the expression cannot be applied to the answer") from None
