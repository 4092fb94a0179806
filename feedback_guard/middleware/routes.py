"""Which requests carry feedback: by method and decoded path, as the application's own router decides.

What is compared is `scope["path"]` without `root_path`, never a URL that is put together from headers. Some
details keep a request from reaching the application's handler unseen:

- A router that ends its pattern with `$`, as Starlette's does, also takes `/feedback%0A`; so does this one.
- Some frameworks take `post` for `POST`; methods are compared in capitals.
- Many routers answer HEAD with the handler of GET; a route that takes GET takes both.
- FastAPI sets its own `root_path` further in; it is asked for it when the middleware is made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from feedback_guard.errors import PolicyError
from feedback_guard.middleware.interface import Scope
from feedback_guard.policy.schema import RoutePolicy

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
    patterns: list[tuple[str, re.Pattern[str], RoutePolicy]]


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
    """

    def __init__(self, routes: Sequence[RoutePolicy], *, root_path: str = "") -> None:
        self._root_path = root_path
        self._methods: dict[str, _Methods] = {}
        for route in routes:
            for path in route.all_paths:
                pattern = compile_path(route.name, path)
                # Routers answer HEAD with the handler of GET.
                for method in (*route.methods, *(("HEAD",) if "GET" in route.methods else ())):
                    self._add(route, path, pattern, method)

    def _add(self, route: RoutePolicy, path: str, pattern: re.Pattern[str] | None, method: str) -> None:
        table = self._methods.setdefault(method, _Methods({}, []))
        if pattern is None:
            taken = path in table.exact
            table.exact[path] = Match(route, _NO_PARAMS)
        else:
            shape = _shape(path)
            taken = any(_shape(known) == shape for known, _, _ in table.patterns)
            table.patterns.append((path, pattern, route))
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
    """Return the `root_path` that an application sets for itself, looking through middleware around it.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> own_root_path(SimpleNamespace(app=SimpleNamespace(root_path="/api")))
    '/api'
    """
    for _ in range(_MAX_NESTING):
        if app is None:
            break
        root_path = getattr(app, "root_path", None)
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
