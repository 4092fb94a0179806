"""YAML as a tree that remembers where everything stands.

The language is deliberately smaller than YAML: one document of mappings, lists and scalars. Anchors and aliases are
refused (a few hundred bytes of them can stand for billions of values), and so are tags, keys that are not text and
keys that stand twice. Plain scalars are read as YAML 1.2 has them: only `true` and `false` are booleans, so `no`, `on`
and `1:30` are texts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import yaml

from feedback_guard import settings

KeyPath: TypeAlias = tuple[str | int, ...]
"""Where a value stands in the tree, from the top."""

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEAN: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER: Final = re.compile(r"[-+]?[0-9]+")
_OTHER_BASE: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A place in a file. Lines and columns count from 1."""

    file: str
    line: int
    column: int = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong at a place, said for the person who edits the file."""

    mark: Mark
    path: KeyPath
    message: str

    def __str__(self) -> str:
        where = f"{self.mark.file}:{self.mark.line}: "
        return where + (f"{dotted(self.path)}: " if self.path else "") + self.message


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text, number, boolean or nothing."""

    mark: Mark
    value: str | float | bool | None


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    mark: Mark
    items: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys with values; `keys` has the mark of each key."""

    mark: Mark
    entries: dict[str, Node] = field(default_factory=dict)
    keys: dict[str, Mark] = field(default_factory=dict)


Node: TypeAlias = Scalar | Sequence | Mapping


class Unreadable(Exception):  # noqa: N818
    """The file cannot be read further; carries the problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def dotted(path: KeyPath) -> str:
    """Write a path as people do.

    Examples
    --------
    >>> dotted(("routes", 0, "path"))
    'routes[0].path'
    """
    out = ""
    for part in path:
        out += f"[{part}]" if isinstance(part, int) else f".{part}" if out else part
    return out


def plain(node: Node) -> Any:
    """Return the values alone."""
    match node:
        case Mapping():
            return {key: plain(value) for key, value in node.entries.items()}
        case Sequence():
            return [plain(item) for item in node.items]
        case Scalar():
            return node.value


def locate(root: Node, path: KeyPath) -> Mark:
    """Return the mark of the key at a path, or of the nearest thing above it that exists."""
    node, mark = root, root.mark
    for part in path:
        if isinstance(node, Mapping) and isinstance(part, str) and part in node.entries:
            mark = node.keys[part]
            node = node.entries[part]
        elif isinstance(node, Sequence) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
            mark = node.mark
        else:
            break
    return mark


def merge(below: Node, above: Node) -> Node:
    """Lay one tree over another: mappings are merged, everything else is replaced. Marks stay with their values."""
    if not isinstance(below, Mapping) or not isinstance(above, Mapping):
        return above
    entries, keys = dict(below.entries), below.keys | above.keys
    for key, value in above.entries.items():
        entries[key] = merge(entries[key], value) if key in entries else value
    return Mapping(above.mark, entries, keys)


def parse(text: str, file: str) -> tuple[Mapping, list[Problem]]:
    """Read a document whose top is a mapping.

    Parameters
    ----------
    text
        At most `settings.MAX_POLICY_BYTES` long; the caller sees to it.
    file
        How problems name the file.

    Returns
    -------
    tuple of Mapping and list of Problem
        The tree, as far as it could be read, and what is wrong with it.

    Raises
    ------
    Unreadable
        If there is no reading on: a syntax error, an anchor, too deep a nesting, more than one document.
    """
    builder = _Builder(text, file)
    try:
        return builder.document(), builder.problems
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        mark = Mark(file, at.line + 1, at.column + 1) if at else Mark(file, 1)
        said = " ".join(filter(None, (error.context, error.problem)))
        raise Unreadable(Problem(mark, (), f"not YAML: {said}")) from None
    except yaml.YAMLError as error:
        raise Unreadable(Problem(Mark(file, 1), (), f"not YAML: {str(error).splitlines()[0]}")) from None


def read_plain(text: str) -> str | float | bool | None:
    """Read a scalar without quotes, by YAML 1.2's core schema.

    Raises
    ------
    ValueError
        If it is a number that is not finite, too long, or means different things to different readers.

    Examples
    --------
    >>> [read_plain(text) for text in ("no", "true", "~", "12", "1.5", "30s")]
    ['no', True, None, 12, 1.5, '30s']
    """
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    if _OTHER_BASE.fullmatch(text) or (_INTEGER.fullmatch(text) and re.match(r"[-+]?0[0-9]", text)):
        raise ValueError(f"{text[:40]} could be decimal or not; write a plain number, or put it in quotes")
    if not _FLOAT.fullmatch(text):
        if _NOT_FINITE.fullmatch(text):
            raise ValueError(f"{text} is no finite number")
        return text
    if len(text) > settings.MAX_INTEGER_DIGITS or not math.isfinite(float(text)):
        raise ValueError(f"the number {text[:20]}… is too long or too large")
    return int(text) if _INTEGER.fullmatch(text) else float(text)


class _Builder:
    """Makes the tree from the parser's events, so that a bomb is refused at its first anchor, before it grows."""

    def __init__(self, text: str, file: str) -> None:
        self.problems: list[Problem] = []
        self._file = file
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=_LOADER)

    def document(self) -> Mapping:
        top = Mark(self._file, 1)
        next(self._events)  # the stream starts
        if isinstance(next(self._events), yaml.StreamEndEvent):
            raise Unreadable(Problem(top, (), "the file is empty; write at least `extends: balanced`"))
        root = self._node(next(self._events), (), 0)
        next(self._events)  # the document ends
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise self._stop(after, (), "a second document starts; a policy is one document")
        if not isinstance(root, Mapping):
            raise Unreadable(Problem(root.mark, (), f"a policy is a mapping of keys to values, not {_kind(root)}"))
        return root

    def _node(self, event: yaml.Event, path: KeyPath, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise self._stop(
                event, path, "anchors (&) and aliases (*) are refused; write the value out, or use extends"
            )
        tag: str | None = getattr(event, "tag", None)
        if tag is not None:
            shown = tag.replace("tag:yaml.org,2002:", "!!")[:60]
            self._problem(event, path, f"tags such as {shown} are refused; leave it out")
        if depth > settings.MAX_POLICY_DEPTH:
            raise self._stop(event, path[:2], f"nested more than {settings.MAX_POLICY_DEPTH} deep")
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(event, path, depth)
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Node] = []
            while not isinstance(item := next(self._events), yaml.SequenceEndEvent):
                items.append(self._node(item, (*path, len(items)), depth + 1))
            return Sequence(self._mark(event), tuple(items))
        return self._scalar(event, path)

    def _mapping(self, start: yaml.Event, path: KeyPath, depth: int) -> Mapping:
        mapping = Mapping(self._mark(start))
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, path, depth + 1)
            name = key.value if isinstance(key, Scalar) else None
            value = self._node(next(self._events), (*path, name if isinstance(name, str) else "?"), depth + 1)
            if not isinstance(name, str):
                shown = f"{_kind(key)} {event.value}" if isinstance(event, yaml.ScalarEvent) else _kind(key)
                self._problem(event, path, f"a key is {shown}; keys are texts, put it in quotes")
            elif name in mapping.entries:
                first = mapping.keys[name].line
                self._problem(event, (*path, name), f"the key stands twice, first in line {first}; keep one")
            else:
                mapping.entries[name] = value
                mapping.keys[name] = self._mark(event)
        return mapping

    def _scalar(self, event: yaml.Event, path: KeyPath) -> Scalar:
        text: str = event.value  # type: ignore[attr-defined]
        mark = self._mark(event)
        if event.style not in (None, ""):  # type: ignore[attr-defined]
            return Scalar(mark, text)
        try:
            return Scalar(mark, read_plain(text))
        except ValueError as error:
            self._problem(event, path, str(error))
            return Scalar(mark, text)

    def _mark(self, event: yaml.Event) -> Mark:
        at = event.start_mark
        return Mark(self._file, at.line + 1, at.column + 1) if at else Mark(self._file, 1)

    def _problem(self, event: yaml.Event, path: KeyPath, message: str) -> None:
        self.problems.append(Problem(self._mark(event), path, message))

    def _stop(self, event: yaml.Event, path: KeyPath, message: str) -> Unreadable:
        return Unreadable(Problem(self._mark(event), path, message))


def _kind(node: Node) -> str:
    match node:
        case Mapping():
            return "a mapping"
        case Sequence():
            return "a list"
        case Scalar(value=None):
            return "nothing"
        case Scalar(value=bool()):
            return "a boolean"
        case Scalar(value=str()):
            return "a text"
        case Scalar():
            return "a number"
