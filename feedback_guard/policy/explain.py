"""What pydantic found wrong, said for the person who edits the file: where, which key, what, and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from feedback_guard.policy import describe
from feedback_guard.policy.tree import KeyPath, Mapping, Problem, dotted, locate

_KINDS: Final = {
    "bool_type": "neither true nor false",
    "int_type": "not a whole number",
    "float_type": "not a number",
    "string_type": "not a text",
    "tuple_type": "not a list",
    "dict_type": "not a mapping",
    "model_type": "not a mapping",
    "enum": "unknown",
    "literal_error": "unknown",
}
_SECRETS: Final = frozenset({"url", "token_sha256"})
"""Keys whose values are not repeated: a database URL may hold a password."""


def problems(error: ValidationError, root: Mapping) -> Iterator[Problem]:
    """Every error of a validation as a problem at its place in the files."""
    for detail in error.errors(include_url=False, include_context=False):
        path: KeyPath = detail["loc"]
        if path and path[-1] == "[key]":
            path = path[:-1]
        yield Problem(locate(root, path), path, _message(detail, path))


def _message(detail: ErrorDetails, path: KeyPath) -> str:
    kind = detail["type"]
    if kind == "extra_forbidden":
        return f"unknown key{_hint(path)}; allowed values: {', '.join(describe.keys_at(path[:-1]))}"
    if kind == "value_error":
        return detail["msg"].removeprefix("Value error, ")
    fragment = describe.at(path)
    values = f"; allowed values: {describe.allowed(fragment)}" if fragment else ""
    if kind == "missing":
        return f"is missing{values}"
    shown = "this value" if path and path[-1] in _SECRETS else _shown(detail["input"])
    if kind in {"enum", "literal_error"}:
        near = difflib.get_close_matches(str(detail["input"]), map(str, (fragment or {}).get("enum", [])), 1)
        return f"{shown} is unknown{f'; did you mean {near[0]!r}?' if near else ''}{values}"
    if kind in _KINDS:
        return f"{shown} is {_KINDS[kind]}{values}"
    if "pattern" in kind and detail["loc"][-1] == "[key]":
        return f"a name of its own, but {detail['msg'].removeprefix('String ')}"
    return f"{shown} {'does not fit' if 'pattern' in kind else 'is out of bounds'}{values}"


def _hint(path: KeyPath) -> str:
    """A key that is spelt alike, the places where this very key belongs, or a key that is somewhat alike."""
    key, keys = str(path[-1]), describe.keys_at(path[:-1])
    homes = sorted({dotted(where[:-1]) or "the top" for where, _, _ in describe.walk() if where[-1] == key})
    if 0 < len(homes) <= 2 and not difflib.get_close_matches(key, keys, 1, cutoff=0.8):
        return f"; it belongs under {' or '.join(homes)}"
    near = difflib.get_close_matches(key, keys, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _shown(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list" if len(value) else "an empty list"
        case _:
            text = repr(value)
            return text if len(text) <= 42 else f"{text[:40]}…"
