"""Which requests carry feedback: by method and decoded path, as the application's own router decides.

What is compared is `scope["path"]` without `root_path`, never a URL that is put together from headers. Some
details keep a request from reaching the application's handler unseen:

- A router that ends its pattern with `$`, as Starlette's does, also takes `/feedback%0A`; so does this one.
- Some frameworks take `post` for `POST`; methods are compared in capitals.
- Many routers answer HEAD with the handler of GET; a route that takes GET takes both.
- FastAPI sets its own `root_path` further in; it is asked for it when the middleware is made.
- Many routers take `/feedback/`, `//feedback` or `/Feedback` for `/feedback`; see `feedback_guard.middleware.spelling`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from feedback_guard.errors import PolicyError
from feedback_guard.middleware.interface import Scope
from feedback_guard.middleware.spelling import collapsed, folded, trimmed
from feedback_guard.policy.routes import RoutePolicy

_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_MAX_NESTING: Final = 64
_NO_PARAMS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Match:
    """A request that carries feedback: its route, and the values of the path's parameters."""

    route: RoutePolicy
    params: Mapping[str, str]


@dataclass(slots=True)
class _Methods:
    """The routes of one method."""

    exact: dict[str, Match]
    folded: dict[str, Match]
    patterns: list[tuple[str, re.Pattern[str], RoutePolicy]]
    loose: list[tuple[re.Pattern[str], RoutePolicy]]


class RouteTable:
    """Finds the route of a request.

    A path without parameters goes before one with; otherwise the first in the policy wins. An unmatched request
    costs two dictionary lookups and one regular-expression match for each path with parameters.

    Parameters
    ----------
    routes
        The policy's routes.
    root_path
        A prefix that the application strips by itself, whatever the server says; empty for none.
    exactly
        Says whether the application routes exactly; asked once, at the first request whose path fits no route as it
        stands. By default it does not.

    Raises
    ------
    PolicyError
        If a path is not understood, or two routes take the same requests.

    Examples
    --------
    >>> table = RouteTable([RoutePolicy(name="rate", path="/items/{item}/rating", extract="@")])
    >>> match = table.match({"type": "http", "method": "POST", "path": "/items/7/rating"})
    >>> match.route.name, dict(match.params)
    ('rate', {'item': '7'})
    >>> table.match({"type": "http", "method": "GET", "path": "/items/7/rating"}) is None
    True
    >>> table.match({"type": "http", "method": "POST", "path": "//Items/7/rating/"}).route.name
    'rate'
    """

    def __init__(
        self, routes: Sequence[RoutePolicy], *, root_path: str = "", exactly: Callable[[], bool] = lambda: False
    ) -> None:
        self._root_path = root_path
        self._ask = exactly
        self._exactly: bool | None = None
        self._methods: dict[str, _Methods] = {}
        for route in routes:
            for path in route.all_paths:
                pattern = compile_path(route.name, path)
                # Routers answer HEAD with the handler of GET.
                for method in (*route.methods, *(("HEAD",) if "GET" in route.methods else ())):
                    self._add(route, path, pattern, method)

    def _add(self, route: RoutePolicy, path: str, pattern: re.Pattern[str] | None, method: str) -> None:
        table = self._methods.setdefault(method, _Methods({}, {}, [], []))
        if pattern is None:
            taken = path in table.exact
            table.exact[path] = Match(route, _NO_PARAMS)
            table.folded.setdefault(folded(path), table.exact[path])
        else:
            shape = _shape(path)
            taken = any(_shape(known) == shape for known, _, _ in table.patterns)
            table.patterns.append((path, pattern, route))
            loose = compile_path(route.name, collapsed(path))
            if loose is not None:
                # Falcon takes an empty segment for a parameter.
                table.loose.append((re.compile(loose.pattern.replace("[^/]+", "[^/]*"), re.IGNORECASE), route))
        if taken:
            raise PolicyError(
                f"routes: {route.name}: {method} {path!r} is taken already, by another route or by another of its "
                "paths; remove one of them"
            )

    def match(self, scope: Scope) -> Match | None:
        """Return the route of an HTTP request; None if it carries no feedback."""
        method: str = scope["method"]
        table = self._methods.get(method)
        if table is None:
            if method.isupper():
                return None
            table = self._methods.get(method.upper())
            if table is None:
                return None
        path = routed_path(scope, self._root_path)
        found = table.exact.get(path)
        if found is None and path.endswith("\n"):
            found = table.exact.get(path[:-1])
        if found is not None:
            return found
        for _, pattern, route in table.patterns:
            matched = pattern.match(path)
            if matched is not None:
                return Match(route, matched.groupdict())
        if self._exactly is None:
            self._exactly = self._ask()
        return None if self._exactly else self._match_loosely(table, scope)

    def _match_loosely(self, table: _Methods, scope: Scope) -> Match | None:
        found = self._match_spelling(table, scope["path"], scope)
        if found is None and b"%" in (raw_path := scope.get("raw_path") or b""):
            # Some routers, such as BlackSheep's, look at the path as it was sent: `a%2Fb` is one segment there.
            found = self._match_spelling(table, raw_path.decode("latin-1"), scope)
        return found

    def _match_spelling(self, table: _Methods, path: str, scope: Scope) -> Match | None:
        root_path = folded(self._root_path or scope.get("root_path") or "")
        for spelling in (collapsed(path), trimmed(path)):
            if root_path != "/" and spelling.casefold().startswith(root_path + "/"):
                spelling = "/" + spelling.split("/", root_path.count("/") + 1)[-1]  # noqa: PLW2901
            found = table.folded.get(spelling.casefold())
            if found is not None:
                return found
            for pattern, route in table.loose:
                matched = pattern.match(spelling)
                if matched is not None:
                    return Match(route, matched.groupdict())
        return None


def routed_path(scope: Scope, own_root_path: str = "") -> str:
    """Return the path that the application's router sees.

    Examples
    --------
    >>> routed_path({"path": "/api/feedback", "root_path": "/api"})
    '/feedback'
    >>> routed_path({"path": "/apiary", "root_path": "/api"})
    '/apiary'
    """
    path: str = scope["path"]
    root_path = own_root_path or scope.get("root_path") or ""
    if root_path and path.startswith(root_path):
        rest = path[len(root_path) :]
        if not rest or rest.startswith("/"):
            return rest
    return path


def own_root_path(app: Any) -> str:
    """Return the `root_path` that an application, FastAPI's, sets for itself, looking through middleware around it.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> own_root_path(SimpleNamespace(app=SimpleNamespace(root_path="/api")))
    '/api'
    """
    for _ in range(_MAX_NESTING):
        if app is None:
            break
        # Quart and Flask call the folder of their files so, which may well be the start of a path: `/app`.
        root_path = None if hasattr(app, "import_name") else getattr(app, "root_path", None)
        if isinstance(root_path, str) and root_path:
            return root_path
        app = getattr(app, "app", None)
    return ""


def parameters(route: RoutePolicy) -> list[str]:
    """Return the names of the parameters that every path of a route has, in order."""
    found = [_PARAMETER.findall(path) for path in route.all_paths]
    return [name for name in found[0] if all(name in names for names in found)]


def compile_path(name: str, path: str) -> re.Pattern[str] | None:
    """Compile a path of the route of that name; None for a path without parameters.

    At most one parameter in a segment, so that matching takes linear time.

    Raises
    ------
    PolicyError
        If the path is not understood.
    """
    names = _PARAMETER.findall(path)
    literal = _PARAMETER.sub("", path)
    if "{" in literal or "}" in literal:
        raise PolicyError(
            f"routes: {name}: path {path!r}: a parameter is written {{name}}, in letters, digits and _, "
            "and stands for one segment; convertors such as {name:int} are not known here"
        )
    if len(set(names)) != len(names):
        raise PolicyError(f"routes: {name}: path {path!r}: a parameter's name stands twice; rename one")
    if any(len(_PARAMETER.findall(segment)) > 1 for segment in path.split("/")):
        raise PolicyError(f"routes: {name}: path {path!r}: only one parameter fits in a segment")
    if not names:
        return None
    parts: list[str] = []
    position = 0
    for found in _PARAMETER.finditer(path):
        parts += [re.escape(path[position : found.start()]), f"(?P<{found[1]}>[^/]+)"]
        position = found.end()
    parts.append(re.escape(path[position:]))
    return re.compile("".join(parts) + r"\n?\Z")


def _shape(path: str) -> str:
    """A path without the names of its parameters."""
    return _PARAMETER.sub("{}", path)
