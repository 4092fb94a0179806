"""Other spellings of a path that many routers take for the same: each would lead around a guard that compares exactly.

Seen with the frameworks themselves (the test suite asks each of them):

====================  =============================================================
Litestar              a slash at the end, doubled slashes
Quart, Flask          doubled slashes
Falcon                doubled slashes at the start; an empty segment for a parameter
BlackSheep            a slash at the end, capitals; compares the path as it was sent
Express (Node)        a slash at the end, capitals
Starlette, FastAPI    none: they redirect, or answer 404
Django                none
====================  =============================================================

So all of these are taken for the same, unless the application is known to route exactly. There a request with
another spelling is left alone: what follows is a redirect, and judging it would judge one contribution twice.
"""

from __future__ import annotations

from typing import Any, Final

_MAX_PARTS: Final = 10_000
"""Most routes and middleware that are looked at; an application with more counts as unknown."""
_EXACT: Final = ("starlette", "fastapi")


def collapsed(path: str) -> str:
    """Return a path without empty segments and without a line feed at its end.

    Examples
    --------
    >>> collapsed("//items/7//rating/")
    '/items/7/rating'
    """
    return "/" + "/".join(segment for segment in path.removesuffix("\n").split("/") if segment)


def trimmed(path: str) -> str:
    """Return a path with one slash at its start, none at its end, and whatever empty segments are in between.

    Examples
    --------
    >>> trimmed("//items//rating/")
    '/items//rating'
    """
    return "/" + path.removesuffix("\n").strip("/")


def folded(path: str) -> str:
    r"""Return what all spellings of a path have in common.

    Examples
    --------
    >>> folded("/Feedback/") == folded("//feedbac\N{KELVIN SIGN}") == "/feedback"
    True
    """
    return collapsed(path).casefold()


def routes_exactly(app: Any) -> bool:
    """Say whether everything that an application routes to is found under one spelling only.

    Looks through middleware (an attribute `app`) and into what is mounted: a Flask application below a FastAPI one
    has Flask's router.

    Examples
    --------
    >>> from starlette.applications import Starlette
    >>> routes_exactly(Starlette())
    True
    >>> async def unknown(scope, receive, send): ...
    >>> routes_exactly(unknown)
    False
    """
    waiting, seen = [app], set[int]()
    while waiting:
        part = waiting.pop()
        part = getattr(part, "__self__", part)
        if id(part) in seen:
            continue
        seen.add(id(part))
        if len(seen) > _MAX_PARTS:
            return False
        within = _within(part)
        if within is None:
            return False
        waiting += within
    return True


def _within(part: Any) -> list[Any] | None:
    """What may come after this part; None if its router is not known."""
    family = type(part).__module__.partition(".")[0]
    if family == "django":
        return []
    if family not in _EXACT:
        inner = getattr(part, "app", None)
        return [inner] if callable(inner) else None
    included = getattr(part, "original_router", None)  # how FastAPI keeps what include_router() was given
    if included is not None:
        return [included]
    routes = getattr(part, "routes", None)
    if routes:
        return list(routes)
    inner = getattr(part, "app", None)
    # A route's own `app` is its endpoint, behind which nothing is routed by path any more.
    return [inner] if callable(inner) and not hasattr(part, "endpoint") else []
