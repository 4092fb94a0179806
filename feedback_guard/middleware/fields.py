"""Names and values of form fields and query parameters, as long as every reader takes them for the same.

Frameworks differ in what they make of `label` beside `label[]` (PHP, Rails and qs put both into one value), of `Label`
beside `label` (ASP.NET), of `a.b` beside `a_b` (PHP), and of a name that stands twice (the first, the last, or both).
Whatever could be read in two ways is refused.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from pydantic import JsonValue

from feedback_guard import settings
from feedback_guard.middleware.replies import BadInputError, bad_input

Pair = tuple[str, str]
"""A name and its value."""

_NAME: Final = re.compile(r"[!#$&-:<-Z^-~]([ !#$&-:<-Z^-~]*[!#$&-:<-Z^-~])?(\[[ !#$&-:<-Z^-~]*\])*")
_SIMPLE: Final = re.compile(r"[a-z0-9_-]+")
_MANGLED: Final = str.maketrans(" .", "__")
_CHARSET: Final = "_charset_"
_BOM: Final = "\ufeff"


def malformed(detail: str) -> BadInputError:
    """Make the error for a form that is not read."""
    return bad_input(400, "bad_form", detail)


def check_name(name: str) -> None:
    """Refuse a name that parsers take apart in different ways.

    Raises
    ------
    BadInputError
        400, unless it is printable ASCII without quotes, percent signs, semicolons and backslashes, with its brackets
        in pairs at its end, as in `tags[]`.
    """
    if len(name) > settings.MAX_FIELD_NAME_CHARS:
        raise malformed(f"A field's name is longer than {settings.MAX_FIELD_NAME_CHARS} characters.")
    if not _NAME.fullmatch(name):
        raise malformed(
            "A field's name is empty, or holds something besides printable ASCII without quotes, %, ; and backslashes."
        )


def check_value(value: str) -> None:
    """Refuse what some parsers cut off: a NUL ends a text for some, a leading byte order mark vanishes for others."""
    if "\x00" in value or value.startswith(_BOM):
        raise malformed("A field holds a NUL character, or begins with a byte order mark.")


def as_object(pairs: Sequence[Pair], *, lists: Collection[str] = (), files: Iterable[str] = ()) -> dict[str, JsonValue]:
    """Put fields into an object: each name with its text, or with a list of texts where the route says so.

    Parameters
    ----------
    pairs
        Names and values in their order, checked.
    lists
        Names that may stand several times; they always become lists.
    files
        Names of files: they are no fields, and no field may have their name.

    Raises
    ------
    BadInputError
        400 for a name that stands twice, or two names that some frameworks put into one value.

    Examples
    --------
    >>> as_object([("input", "a"), ("tag", "x"), ("tag", "y")], lists=["tag"])
    {'input': 'a', 'tag': ['x', 'y']}
    >>> as_object([("label", "a"), ("label", "b")])
    Traceback (most recent call last):
    ...
    feedback_guard.middleware.replies.BadInputError: A field stands more than once.
    """
    names = {name for name, _ in pairs}
    uploaded = set(files)
    if names & uploaded:
        raise malformed("A name is used for a field and for a file.")
    _check_spellings(names | uploaded)
    found: dict[str, JsonValue] = {}
    for name, value in pairs:
        if name == _CHARSET and value.lower() != "utf-8":
            raise malformed("The field _charset_ names a charset other than UTF-8.")
        if name in lists:
            several = found.setdefault(name, [])
            assert isinstance(several, list)  # noqa: S101 - nothing else is put there
            several.append(value)
        elif name in found:
            raise malformed("A field stands more than once.")
        else:
            found[name] = value
    return found


def look_up(pairs: Sequence[Pair], name: str) -> list[str]:
    """The values under a name, among others that do not matter.

    Raises
    ------
    BadInputError
        400 if another spelling of the name stands there too.
    """
    wanted = _fold(name)
    found: list[str] = []
    for other, value in pairs:
        folded = _fold(other)
        if other == name:
            found.append(value)
        elif folded == wanted or folded in _stems(wanted) or wanted in _stems(folded):
            raise malformed("A parameter stands in two spellings.")
    return found


def share_a_name(ours: Iterable[str], theirs: Iterable[str]) -> bool:
    """Whether some framework could put a name of ours and one of theirs into one value.

    Examples
    --------
    >>> share_a_name(["label"], ["page", "Label[]"]), share_a_name(["label"], ["labels"])
    (True, False)
    """
    return not {_root(name) for name in ours}.isdisjoint(_root(name) for name in theirs)


def _root(name: str) -> str:
    return _fold(name).partition("[")[0]


def _check_spellings(names: set[str]) -> None:
    if all(map(_SIMPLE.fullmatch, names)):
        return  # each is the only spelling of itself
    folded = {_fold(name) for name in names}
    if len(folded) != len(names) or any(stem in folded for name in folded for stem in _stems(name)):
        raise malformed("A field's name stands in two spellings, such as label and label[] or Label.")


def _fold(name: str) -> str:
    return name.casefold().translate(_MANGLED)


def _stems(name: str) -> Iterator[str]:
    """What stands before each bracket: `a[b][c]` gives `a` and `a[b]`."""
    position = name.find("[")
    while position > 0:
        yield name[:position]
        position = name.find("[", position + 1)
