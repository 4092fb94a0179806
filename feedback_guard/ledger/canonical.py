"""Canonical bytes of a record: RFC 8785, restricted to what reads back the same everywhere.

Texts, integers, booleans, null, lists and objects. Floats are refused: their shortest form is a matter of the
library that prints them, and a hash must not depend on that.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from typing import Final

import rfc8785
from pydantic import JsonValue

from feedback_guard.errors import LedgerError

MAX_INTEGER: Final = 2**53 - 1
"""Largest integer that every JSON reader keeps exactly."""
MAX_DEPTH: Final = 16
"""Deepest nesting of a record."""

# It need not look for circles: what is nested too deeply was refused before.
_encode: Final = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, sort_keys=True, separators=(",", ":")
).encode


def canonical_text(value: Mapping[str, JsonValue]) -> str:
    """Write a record as canonical JSON.

    Raises
    ------
    LedgerError
        If it holds a float, an integer beyond 2**53 - 1, a text that is not Unicode, or is nested too deeply.

    Examples
    --------
    >>> canonical_text({"weight_micro": 250000, "decision": "accept"})
    '{"decision":"accept","weight_micro":250000}'
    """
    _check(value, 0)
    text = _encode(value)
    _check_unicode(text)
    return text


def check_scalars(*values: str | int) -> None:
    """Refuse a text or an integer that a record cannot hold.

    Raises
    ------
    LedgerError
        If an integer is beyond 2**53 - 1, a text is not Unicode, or it is neither.
    """
    _check(values, 0)
    for value in values:
        if isinstance(value, str):
            _check_unicode(value)


def canonical_json(value: JsonValue | Mapping[str, JsonValue]) -> str:
    """Write any JSON value, floats included, as RFC 8785 text: for what is kept beside the ledger.

    Raises
    ------
    LedgerError
        If it has no canonical form, such as NaN or an integer beyond 2**53 - 1.
    """
    if isinstance(value, Mapping):
        with contextlib.suppress(LedgerError):
            return canonical_text(value)  # the same text, several times as fast, where there are no floats
    try:
        return rfc8785.dumps(value).decode("utf-8")
    except (rfc8785.CanonicalizationError, UnicodeError, RecursionError) as error:
        raise LedgerError(f"cannot be written as canonical JSON: {error}") from None


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: it holds no lone surrogate."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _check_unicode(text: str) -> None:
    if not is_unicode(text):
        raise LedgerError("a record cannot hold a lone surrogate: it is no Unicode text")


def _check(value: object, depth: int) -> None:
    """Refuse what has no canonical form. Leaves are looked at where they stand: a call for each would take longer."""
    if isinstance(value, Mapping):
        for key in value:
            # RFC 8785 sorts names by UTF-16 units, Python by code points; they agree on ASCII.
            if not isinstance(key, str) or not key.isascii():
                raise LedgerError(f"the names in a record are ASCII texts; {key!r} is not")
        items: Iterable[object] = value.values()
    elif isinstance(value, (list, tuple)):
        items = value
    else:
        raise LedgerError(
            f"a record holds texts, integers, booleans, null, lists and objects, not {type(value).__name__}; "
            "write weights and probabilities as integers of micro-units or parts per billion"
        )
    if depth >= MAX_DEPTH:
        raise LedgerError(f"a record is nested at most {MAX_DEPTH} deep")
    for item in items:
        if item is None or isinstance(item, str):
            continue
        if isinstance(item, int):
            if not -MAX_INTEGER <= item <= MAX_INTEGER:
                raise LedgerError(f"a record holds integers up to 2**53 - 1; {item} is beyond")
            continue
        _check(item, depth + 1)
