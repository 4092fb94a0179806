"""JSON that has one reading: what the guard judges is what the application will see.

RFC 8259 leaves open what duplicate keys, lone surrogates and huge numbers mean, and parsers differ. I-JSON (RFC 7493)
closes most of these holes; this reader refuses what I-JSON forbids, and whatever is beyond the bounds in `settings`.
The depth is checked by a linear scan before anything is parsed, so no body can exhaust the stack.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

from pydantic import JsonValue

from feedback_guard import settings
from feedback_guard.middleware.replies import BadInputError, bad_input

# An unterminated string matches to the end, so that the scan stays linear; the parser refuses it afterwards.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKETS = re.compile(rb"[\[{]+|[\]}]+")
_EMPTY = re.compile(rb"[\[{][ \t\n\r]*+[\]}]")
_LONG_NUMBER = re.compile(rb"[0-9]{%d}" % (settings.MAX_INTEGER_DIGITS + 1))
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_BOM: Final = b"\xef\xbb\xbf"


def parse_strictly(body: bytes) -> JsonValue:
    """Read a body as JSON that has one reading.

    Parameters
    ----------
    body
        The whole body; its size is bounded by the caller.

    Raises
    ------
    BadInputError
        400, with a sentence that says what is ambiguous or malformed.

    Examples
    --------
    >>> parse_strictly(b'{"input": "where is my card?", "rating": 0}')
    {'input': 'where is my card?', 'rating': 0}
    >>> parse_strictly(b'{"label": "a", "label": "b"}')
    Traceback (most recent call last):
    ...
    feedback_guard.middleware.replies.BadInputError: A key stands twice in one object.
    """
    if not body.strip(b" \t\n\r"):
        raise _malformed("The body is empty; JSON was expected.")
    if body.startswith(_BOM):
        raise _malformed("The body begins with a byte order mark; leave it out.")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _malformed(f"The body is not UTF-8 at byte {error.start}.") from None
    _check_bounds(body)
    try:
        value: JsonValue = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        what = "something follows the JSON value" if error.msg == "Extra data" else "it is not JSON"
        raise _malformed(f"The body cannot be read at character {error.pos}: {what}.") from None
    if _SURROGATE_ESCAPE.search(body):
        _refuse_lone_surrogates(value)
    return value


def _check_bounds(body: bytes) -> None:
    """Check depth, number of values and length of numbers without parsing; exact for well-formed JSON."""
    opened = body.count(b"{") + body.count(b"[")
    if opened <= settings.MAX_JSON_DEPTH and len(body) <= settings.MAX_JSON_NODES and not _LONG_NUMBER.search(body):
        return  # whatever stands in strings: a value takes a byte at least, and a level a bracket
    bare = _STRING.sub(b'"', body)
    if _LONG_NUMBER.search(bare):
        raise _malformed(f"A number has more than {settings.MAX_INTEGER_DIGITS} digits in a row.")
    depth = opened = 0
    for run in _BRACKETS.finditer(bare):
        length = run.end() - run.start()
        if bare[run.start()] in b"[{":
            depth += length
            opened += length
            if depth > settings.MAX_JSON_DEPTH:
                raise _malformed(f"The body is nested deeper than {settings.MAX_JSON_DEPTH}.")
            if opened > settings.MAX_JSON_NODES:
                raise _too_many()
        else:
            depth -= length
    # A container with n values has n - 1 commas; the outermost value adds one, an empty container takes one back.
    commas = bare.count(b",")
    if commas >= settings.MAX_JSON_NODES:
        raise _too_many()
    if 1 + commas + opened - sum(1 for _ in _EMPTY.finditer(bare)) > settings.MAX_JSON_NODES:
        raise _too_many()


def _too_many() -> BadInputError:
    return _malformed(f"The body holds more than {settings.MAX_JSON_NODES} values.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _malformed("A key stands twice in one object.")
    return found


def _refuse_constant(name: str) -> Any:
    raise _malformed(f"{name} is not JSON.")


def _finite(literal: str) -> float:
    number = float(literal)
    if not math.isfinite(number):
        raise _malformed("A number is too large to be represented.")
    return number


def _refuse_lone_surrogates(value: JsonValue) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise _malformed("A text holds half of a surrogate pair.") from None


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite)


def _malformed(detail: str) -> BadInputError:
    return bad_input(400, "bad_json", detail)
