"""The doors of an application: every route on which it takes something in."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

WRITING: Final = ("POST", "PUT", "PATCH", "DELETE")
"""Methods that change something."""
MAX_DOORS: Final = 20_000
"""Most routes of one application that are listed; further ones count as not looked into."""

_PARAMETER = re.compile(
    r"""\{ \*? (?P<brace>[A-Za-z_]\w*) \*? (?::(?P<conv>[^{}]*))? \}   # {name}, {name:path}
      | < (?:(?P<kind>[a-z_]+)(?:\([^()]*\))?:)? (?P<angle>[A-Za-z_]\w*) >  # <name>, <path:name>, <int(max=9):name>
    """,
    re.VERBOSE,
)
_MANY: Final = frozenset({"path"})


@dataclass(frozen=True, slots=True)
class Door:
    """One route.

    Parameters
    ----------
    method
        In capitals.
    path
        Whole, from outside; `{name}` stands for one segment, `{name:path}` for any number.
    """

    method: str
    path: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(slots=True)
class Doors:
    """What was found."""

    doors: set[Door] = field(default_factory=set)
    dark: dict[str, str] = field(default_factory=dict)
    """Prefixes that could not be looked into, and why."""

    def add(self, methods: object, path: str) -> None:
        """Note the writing methods of a route."""
        names = {str(method).upper() for method in methods} if isinstance(methods, (set, list, tuple)) else set()
        for method in names.intersection(WRITING):
            if len(self.doors) >= MAX_DOORS:
                self.dark["/"] = f"there are more than {MAX_DOORS} routes"
                return
            self.doors.add(Door(method, template(path)))


def join(prefix: str, path: str) -> str:
    """Put a path below a prefix.

    Examples
    --------
    >>> join("/api/", "/feedback"), join("", "feedback"), join("/api", "")
    ('/api/feedback', '/feedback', '/api')
    """
    if not path:
        return prefix or "/"
    return prefix.rstrip("/") + "/" + path.removeprefix("/")


def template(path: str) -> str:
    """Write a path as a policy writes it, whichever framework it comes from.

    Examples
    --------
    >>> template("/items/<int:item>/<path:rest>")
    '/items/{item}/{rest:path}'
    >>> template("/items/{item:uuid}/{rest:path}")
    '/items/{item}/{rest:path}'
    """

    def one(match: re.Match[str]) -> str:
        name = match["brace"] or match["angle"]
        many = (match["conv"] or match["kind"]) in _MANY
        return f"{{{name}:path}}" if many else f"{{{name}}}"

    return _PARAMETER.sub(one, path)


def example(path: str) -> str:
    r"""Return a path that a template stands for, with values that no policy names literally.

    Examples
    --------
    >>> example("/items/{item}/{rest:path}")
    '/items/\x7f/\x7f/\x7f'
    """
    return re.sub(r"\{[^{}:]+(:path)?\}", lambda found: "\x7f/\x7f" if found[1] else "\x7f", path)
