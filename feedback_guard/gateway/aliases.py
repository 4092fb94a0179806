"""Other spellings of a guarded path, which an upstream may take for the path itself.

The guard itself judges what differs in case and slashes only (`middleware.spelling`), as routers in Python and Express
do. Behind a gateway there is somebody else's router, and some are more generous: servlet containers drop `;anything`,
file servers and frameworks fold `/./` and `/x/../`, some decode twice, some treat a backslash as a slash or end at a
NUL. A request that would be guarded if it were spelt plainly, and is not, is refused, so that none of this is a way
around the guard. A path that the upstream really serves under two names is two paths of the policy.

The same holds for `X-HTTP-Method-Override` and its like, where they would turn a request into a guarded one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from feedback_guard.middleware.interface import Scope
from feedback_guard.policy.routes import RoutePolicy

_PARAMETER: Final = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}")
_OVERRIDES: Final = frozenset({b"x-http-method-override", b"x-http-method", b"x-method-override"})
_ROUNDS: Final = 3


@dataclass(frozen=True, slots=True)
class _Pattern:
    route: str
    methods: frozenset[str]
    segments: tuple[re.Pattern[str], ...]

    def fits(self, segments: Sequence[str]) -> bool:
        return len(segments) == len(self.segments) and all(
            pattern.fullmatch(segment) for pattern, segment in zip(self.segments, segments, strict=True)
        )


class Aliases:
    """Knows the other spellings of a policy's routes.

    Parameters
    ----------
    routes
        Of the policy.

    Examples
    --------
    >>> aliases = Aliases([RoutePolicy(name="rate", path="/items/{item}/rating", extract="@")])
    >>> scope = {"method": "POST", "path": "", "headers": []}
    >>> aliases.route({**scope, "raw_path": b"/x/..//items/a%2Fb/Rating;v=1/"})
    'rate'
    >>> aliases.route({**scope, "raw_path": b"/items/7/x/../ratings"}) is None
    True
    """

    def __init__(self, routes: Iterable[RoutePolicy]) -> None:
        self._patterns = [
            _Pattern(route.name, _methods(route), tuple(_pattern(segment) for segment in _plain(path)))
            for route in routes
            for path in route.all_paths
        ]
        self._methods = frozenset(method for pattern in self._patterns for method in pattern.methods)

    def route(self, scope: Scope) -> str | None:
        """Return the name of the route that this request may reach without being named so; None if there is none.

        Ask only for a request that is not guarded as it stands.
        """
        methods = {scope["method"].upper()}
        methods |= {
            value.decode("latin-1").strip().upper()
            for name, value in scope["headers"]
            if name.replace(b"_", b"-") in _OVERRIDES
        }
        methods &= self._methods
        if not methods:
            return None
        raw = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape")
        spellings = list(_spellings(raw))
        for pattern in self._patterns:
            if pattern.methods & methods and any(pattern.fits(spelling) for spelling in spellings):
                return pattern.route
        return None


def _methods(route: RoutePolicy) -> frozenset[str]:
    """The methods of a route. Routers answer HEAD with the handler of GET."""
    return frozenset({*route.methods, *(("HEAD",) if "GET" in route.methods else ())})


def _spellings(raw_path: bytes) -> Iterator[tuple[str, ...]]:
    """The ways to read a path: decoded once or to the end, an encoded slash being one, or part of a segment."""
    once = unquote_to_bytes(raw_path)
    thrice = once
    for _ in range(_ROUNDS):
        thrice = unquote_to_bytes(thrice)
    for whole in {raw_path, once, thrice}:
        yield tuple(_plain(whole.decode("utf-8", "replace")))
    segments = [unquote_to_bytes(segment) for segment in raw_path.split(b"/")]
    yield tuple(_folded(segment.decode("utf-8", "replace") for segment in segments))


def _plain(path: str) -> list[str]:
    return _folded(path.replace("\\", "/").split("/"))


def _folded(segments: Iterable[str]) -> list[str]:
    """Fold what some router folds: case, forms of letters, parameters after `;`, what follows a NUL, `.` and `..`."""
    kept: list[str] = []
    for segment in segments:
        text = segment.split(";", 1)[0].split("\x00", 1)[0]
        text = unicodedata.normalize("NFKC", text).casefold().strip()
        if text == "..":
            if kept:
                kept.pop()
        elif text and text != ".":
            kept.append(text)
    return kept


def _pattern(segment: str) -> re.Pattern[str]:
    literal = [re.escape(part) for part in _PARAMETER.split(segment)]
    return re.compile(".+".join(literal), re.DOTALL)
