"""Asks an application of a known framework for its routes; nothing is imported that it did not import itself.

What cannot be looked into is noted, so that an empty list never stands for "I could not see".
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from feedback_guard.doors.interface import WRITING, Doors, join

_MAX_DEPTH: Final = 64


def doors_of(app: Any) -> Doors:
    """List the writing routes of an application, through middleware and mounts.

    Parameters
    ----------
    app
        An application of Starlette, FastAPI, Litestar, Quart, Django, Falcon, BlackSheep, or Flask's behind an adapter.

    Examples
    --------
    >>> from fastapi import FastAPI
    >>> app = FastAPI()
    >>> _ = app.post("/feedback")(lambda: None)
    >>> [str(door) for door in doors_of(app).doors]
    ['POST /feedback']
    """
    found = Doors()
    _look(app, "", found, ())
    return found


def _look(app: Any, prefix: str, found: Doors, above: tuple[int, ...]) -> None:
    app = getattr(app, "__self__", app)
    if id(app) in above or len(above) >= _MAX_DEPTH:
        return
    above = (*above, id(app))

    def below(inner: Any, path: str) -> None:
        _look(inner, path, found, above)

    for look in (_starlette, _litestar, _werkzeug, _django, _falcon, _blacksheep):
        if look(app, prefix, found, below):
            return
    for name in ("app", "wsgi_app", "asgi_app", "wsgi_application", "wsgi", "application"):
        inner = getattr(app, name, None)
        if callable(inner):
            below(inner, prefix)
            return
    kind = type(app)
    name = getattr(app, "__qualname__", kind.__qualname__)
    found.dark[prefix or "/"] = f"{getattr(app, '__module__', kind.__module__)}.{name} does not tell its routes"


Below = Callable[[Any, str], None]


def _family(app: Any) -> set[str]:
    """The packages that the classes of an object come from."""
    return {kind.__module__.partition(".")[0] for kind in type(app).__mro__}


def _starlette(app: Any, prefix: str, found: Doors, below: Below) -> bool:
    if "starlette" not in _family(app):
        return False
    if type(app).__module__ == "starlette.staticfiles":
        return True
    routes = getattr(app, "routes", None)
    if not isinstance(routes, (list, tuple)):
        return False
    for route in routes:
        contexts = getattr(route, "effective_route_contexts", None)  # of what include_router() was given
        for one in contexts() if contexts is not None else (route,):
            _starlette_route(getattr(one, "starlette_route", None) or one, prefix, found, below)
    return True


def _starlette_route(route: Any, prefix: str, found: Doors, below: Below) -> None:
    path = join(prefix, route.path) if getattr(route, "path", "") else prefix
    if hasattr(route, "methods"):
        # Neither a class, Starlette's HTTPEndpoint, nor a plain ASGI application names its methods.
        endpoint = route.endpoint
        unnamed = [name for name in WRITING if not isinstance(endpoint, type) or hasattr(endpoint, name.lower())]
        found.add(route.methods or unnamed, path)
    elif hasattr(route, "app") and not hasattr(route, "endpoint"):
        below(route.app, path)


def _litestar(app: Any, prefix: str, found: Doors, below: Below) -> bool:
    if type(app).__name__ != "Litestar" or not hasattr(app, "routes"):
        return False
    for route in app.routes:
        path = join(prefix, route.path)
        handler = getattr(route, "route_handler", None)
        if getattr(handler, "is_mount", False):
            below(getattr(handler, "fn", handler), path)
        elif hasattr(route, "route_handlers"):
            found.add(route.methods, path)
    return True


def _werkzeug(app: Any, prefix: str, found: Doors, _: Below) -> bool:
    rules = getattr(getattr(app, "url_map", None), "iter_rules", None)
    if rules is None:
        return False
    for rule in rules():
        found.add(set(rule.methods or ()), join(prefix, rule.rule))
    return True


def _falcon(app: Any, prefix: str, found: Doors, _: Below) -> bool:
    if "falcon" not in _family(app):
        return False
    inspect: Any = importlib.import_module("falcon.inspect")  # the application's own package is there
    for route in inspect.inspect_routes(app):
        found.add([method.method for method in route.methods if not method.internal], join(prefix, route.path))
    for sink in inspect.inspect_sinks(app):
        found.dark[join(prefix, sink.prefix)] = "a sink of Falcon takes every method and path below it"
    return True


def _blacksheep(app: Any, prefix: str, found: Doors, below: Below) -> bool:
    if "blacksheep" not in _family(app):
        return False
    for method, route in [*app.router.registered_routes, *app.router.iter_with_methods()]:
        found.add([_text(method)], join(prefix, _colons(_text(route.pattern))))
    for route in app.mount_registry.mounted_apps:
        below(route.handler, join(prefix, _text(route.pattern).removesuffix("/*")))
    return True


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _colons(pattern: str) -> str:
    """BlackSheep writes `/:name`, `{path:name}` and `*` too."""
    pattern = re.sub(r"\{([a-z]+):(\w+)\}", r"<\1:\2>", pattern)
    return re.sub(r"/:(\w+)", r"/{\1}", pattern).replace("*", "{tail:path}")


def _django(app: Any, prefix: str, found: Doors, _: Below) -> bool:
    if "django" not in _family(app):
        return False
    urls: Any = importlib.import_module("django.urls")  # as above
    _urls(urls.get_resolver().url_patterns, prefix.rstrip("/") + "/", found, 0)
    return True


def _urls(patterns: Iterable[Any], prefix: str, found: Doors, depth: int) -> None:
    for pattern in patterns:
        path = prefix + _route(str(pattern.pattern))
        nested = getattr(pattern, "url_patterns", None)
        if nested is None:
            found.add(_methods(pattern.callback), path)
        elif depth < _MAX_DEPTH:
            _urls(nested, path, found, depth + 1)


def _route(pattern: str) -> str:
    """A path of Django's as a template; of a regular expression, what is known."""
    named = re.sub(r"\(\?P<(\w+)>(?:[^()]|\([^()]*\))*\)", r"{\1}", pattern)
    return named.removeprefix("^").removesuffix("$").removesuffix(r"\Z").replace("\\", "")


def _methods(view: Any) -> list[str]:
    """The methods of a view. A function says nothing of them: it may well take what is posted."""
    view = getattr(view, "func", view)
    of_class = getattr(view, "view_class", None) or getattr(view, "cls", None)
    actions = getattr(view, "actions", None)
    if isinstance(actions, dict):
        return list(actions)
    if of_class is not None:
        return [name for name in WRITING if callable(getattr(of_class, name.lower(), None))]
    for cell in getattr(view, "__closure__", None) or ():
        operations = getattr(cell.cell_contents, "operations", None)
        if isinstance(operations, list) and all(hasattr(operation, "methods") for operation in operations):
            return [method for operation in operations for method in operation.methods]  # django-ninja's
    return [] if (getattr(view, "__module__", None) or "").startswith(("ninja.", "django.")) else ["POST"]
