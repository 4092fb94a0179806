"""The policy's schema in the forms that people and editors read: JSON Schema, allowed values in words, the file's form.

Everything is derived from the descriptions and bounds in `schema.py`; nothing is written down a second time.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import yaml
from pydantic import BaseModel

from feedback_guard.clock import MICROSECONDS
from feedback_guard.policy.base import DURATION_SCHEMA, MAX_DURATION_US
from feedback_guard.policy.schema import Policy
from feedback_guard.policy.tree import KeyPath, read_plain

_UNITS: Final = (("d", 86_400 * MICROSECONDS), ("h", 3_600 * MICROSECONDS), ("m", 60 * MICROSECONDS))
_EXTENDS: Final = {
    "type": "string",
    "description": "A preset (`observe`, `balanced`, `strict`) or a policy file, relative to this one, on which this"
    " file builds: mappings are merged key by key, everything else, lists too, is replaced.",
}

Fragment = dict[str, Any]
"""A piece of JSON Schema, with references resolved."""


def format_duration(us: int) -> str:
    """Write microseconds as a policy file does, in the largest unit that divides them.

    Examples
    --------
    >>> format_duration(5_400_000_000), format_duration(2_500), format_duration(0)
    ('90m', '2.5ms', '0s')
    """
    for unit, size in _UNITS:
        if us and us % size == 0:
            return f"{us // size}{unit}"
    if us % MICROSECONDS == 0:
        return f"{us // MICROSECONDS}s"
    return f"{us / 1_000:.3f}".rstrip("0").rstrip(".") + "ms"


@cache
def _raw() -> Fragment:
    return Policy.model_json_schema()


def json_schema() -> Fragment:
    """JSON Schema (draft 2020-12) of a policy file, for editors."""
    schema = tidy(_raw())
    schema["properties"] = {"extends": dict(_EXTENDS), **schema["properties"]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "feedback_guard policy"}


def tidy(node: Any) -> Any:
    """Durations as texts, descriptions in one line, no titles made of names, no defaults of whole sections."""
    if isinstance(node, list):
        return [tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    out = {key: tidy(value) for key, value in node.items() if not (key == "title" and isinstance(value, str))}
    if isinstance(out.get("description"), str):
        out["description"] = " ".join(out["description"].split())
    if is_duration(out) and isinstance(out.get("default"), int):
        out["default"] = format_duration(out["default"])
    section = "$ref" in out and "properties" in resolve(out)
    if section and "share" not in out.get("default", {"share": 0}):
        del out["default"]
    return out


def resolve(fragment: Fragment) -> Fragment:
    """Follow a reference; what stands beside it (default, description) goes before."""
    while "$ref" in fragment:
        target = _raw()["$defs"][fragment["$ref"].removeprefix("#/$defs/")]
        fragment = {**target, **{key: value for key, value in fragment.items() if key != "$ref"}}
    return fragment


def without_null(fragment: Fragment) -> Fragment:
    """The one alternative of an optional value that is not null; what stands beside it goes before."""
    for option in fragment.get("anyOf", ()):
        if option.get("type") != "null":
            return {**resolve(option), **{key: value for key, value in fragment.items() if key != "anyOf"}}
    return fragment


def is_duration(fragment: Fragment) -> bool:
    """Whether a value is written with a unit of time."""
    return without_null(fragment).get("pattern") == DURATION_SCHEMA["pattern"]


def at(path: KeyPath) -> Fragment | None:
    """The schema of the value at a path, or None where the schema has nothing."""
    fragment: Fragment = _raw()
    for part in path:
        fragment = without_null(resolve(fragment))
        if isinstance(part, int):
            following = fragment.get("items")
        else:
            following = fragment.get("properties", {}).get(part) or next(
                iter(fragment.get("patternProperties", {}).values()), None
            )
        if following is None:
            return None
        fragment = following
    return resolve(fragment)


def keys_at(path: KeyPath) -> list[str]:
    """The keys that a mapping at a path may have."""
    keys = list(without_null(at(path) or {}).get("properties", {}))
    return keys if path else ["extends", *keys]


def walk(fragment: Fragment | None = None, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Fragment, bool]]:
    """Every key of the schema with its fragment and whether it is required; 0 stands for any item of a list."""
    fragment = without_null(resolve(fragment if fragment is not None else _raw()))
    for key, value in fragment.get("properties", {}).items():
        below = (*path, key)
        yield below, resolve(value), key in fragment.get("required", ())
        yield from walk(value, below)
    for value in fragment.get("patternProperties", {}).values():
        yield from walk(value, (*path, "NAME"))
    if "items" in fragment:
        yield from walk(fragment["items"], (*path, 0))


def allowed(fragment: Fragment) -> str:
    """The allowed values in words.

    Examples
    --------
    >>> allowed(at(("mode",)))
    'observe, enforce'
    >>> allowed(at(("signals", "false_hold_rate")))
    'a number above 0, at most 0.5'
    """
    if "anyOf" in fragment:
        return f"{allowed(without_null(fragment))}, or null"
    if "enum" in fragment or "const" in fragment:
        return ", ".join(str(value) for value in fragment.get("enum", [fragment.get("const")]))
    if is_duration(fragment):
        return f"a number with ms, s, m, h or d, such as 30s, at most {format_duration(MAX_DURATION_US)}"
    match fragment.get("type"):
        case "boolean":
            return "true or false"
        case "integer":
            return "a whole number" + _bounds(fragment)
        case "number":
            return "a number" + _bounds(fragment)
        case "string":
            return "a text" + _lengths(fragment, "characters") + _pattern(fragment)
        case "array":
            return f"a list{_lengths(fragment, 'items')}, each {_item(resolve(fragment['items']))}"
        case _ if "patternProperties" in fragment:
            return "a mapping of names" + _pattern({"pattern": next(iter(fragment["patternProperties"]))})
        case _:
            return "a mapping with the keys " + ", ".join(fragment.get("properties", {}))


def _item(fragment: Fragment) -> str:
    return f"one of {allowed(fragment)}" if "enum" in fragment else allowed(fragment)


def _bounds(fragment: Fragment) -> str:
    """Bounds in digits alone: YAML 1.2 has no separators in numbers."""
    low, high = fragment.get("minimum"), fragment.get("maximum")
    if low is not None and high is not None:
        return f" from {low:.15g} to {high:.15g}"
    words = (("exclusiveMinimum", "above"), ("minimum", "at least"), ("maximum", "at most"))
    bounds = ", ".join(f"{word} {fragment[key]:.15g}" for key, word in words if key in fragment)
    return f" {bounds}" if bounds else ""


def _lengths(fragment: Fragment, unit: str) -> str:
    low = fragment.get("minLength", fragment.get("minItems", 0))
    high = fragment.get("maxLength", fragment.get("maxItems"))
    if high is not None:
        return f" of {low} to {high} {unit}" if low else f" of at most {high} {unit}"
    return f" of at least {low} {unit}" if low else ""


def _pattern(fragment: Fragment) -> str:
    return f" matching {fragment['pattern']}" if "pattern" in fragment else ""


def as_file(policy: BaseModel) -> dict[str, Any]:
    """The whole policy as a policy file would say it, durations with units."""
    return {key: _as_file(value, (key,)) for key, value in policy.model_dump(mode="json").items()}


def _as_file(value: Any, path: KeyPath) -> Any:
    if isinstance(value, dict):
        return {key: _as_file(below, (*path, key)) for key, below in value.items()}
    if isinstance(value, list):
        return [_as_file(item, (*path, index)) for index, item in enumerate(value)]
    if isinstance(value, int) and not isinstance(value, bool) and is_duration(at(path) or {}):
        return format_duration(value)
    return value


class _Dumper(yaml.SafeDumper):
    """Writes what this package's reader reads: a text that would be read as something else is put in quotes."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    try:
        plain = read_plain(text) == text
    except ValueError:
        plain = False
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _represent_text)


def write_yaml(tree: dict[str, Any]) -> str:
    """Write a tree of plain values as a policy file."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
