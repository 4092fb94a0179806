"""Reads `application/x-www-form-urlencoded`, in a body or a query, if it has one reading.

What browsers, `URLSearchParams` and HTTP clients write is taken. What parsers disagree on is refused: `;` between
pairs, `%` without two digits (`%u0061`, `%zz`), bytes that are not ASCII, escapes that are not UTF-8.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from feedback_guard import settings
from feedback_guard.middleware.fields import Pair, check_name, check_value, malformed

_PLAIN: Final = re.compile(rb"(?:[!-$&-:<-~]|%[0-9A-Fa-f]{2})*+")
_LONE_PERCENT: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def read_pairs(data: bytes, *, names: bool = True) -> list[Pair]:
    """Read names and values, in their order.

    Parameters
    ----------
    data
        The body, or the query; its size is bounded by the caller.
    names
        Whether names are checked, and whether every one must have a value: so it is in a form, while a query may hold
        parameters that nobody asks for.

    Raises
    ------
    BadInputError
        400, with a sentence that says what is ambiguous or malformed.

    Examples
    --------
    >>> read_pairs(b"input=where+is+my+card%3F&label=card_arrival")
    [('input', 'where is my card?'), ('label', 'card_arrival')]
    >>> read_pairs(b"label=a;label=b")
    Traceback (most recent call last):
    ...
    feedback_guard.middleware.replies.BadInputError: A form holds a character that has to be percent-encoded.
    """
    if not data:
        return []
    if data.count(b"&") >= settings.MAX_FORM_FIELDS:
        raise malformed(f"A form holds more than {settings.MAX_FORM_FIELDS} fields.")
    if _LONE_PERCENT.search(data):
        raise malformed("A form holds a percent sign without two hexadecimal digits.")
    if not _PLAIN.fullmatch(data):
        raise malformed("A form holds a character that has to be percent-encoded.")
    found: list[Pair] = []
    for part in data.split(b"&"):
        name, separator, value = part.partition(b"=")
        if names and not separator:
            raise malformed("A form holds a field without a value.")
        if not part:
            continue
        key, text = _decode(name), _decode(value)
        if names:
            check_name(key)
        check_value(text)
        found.append((key, text))
    return found


def _decode(data: bytes) -> str:
    if data.isalnum():
        return data.decode("ascii")
    try:
        return unquote_to_bytes(data.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        raise malformed("A form is not in UTF-8.") from None
