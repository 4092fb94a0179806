"""What each framework's file gives the suite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Mount

from feedback_guard import FeedbackGuardMiddleware, Guard
from feedback_guard.middleware.interface import ASGIApp
from tests.frameworks.desk import Desk

PREFIX = "/sub"
POLL_SECONDS = 0.05
ROUTES: list[dict[str, Any]] = [
    {
        "name": name,
        "path": path,
        "extract": "{kind: 'label', input: input, label: label}",
        "max_body_bytes": 4_000_000,
        "body_deadline": "15s",
    }
    for name, path in (
        ("feedback", "/feedback"),
        ("rating", "/items/{item}/rating"),
        ("wait", "/wait"),
        ("stream", "/stream"),
    )
]
ROUTES.append({**ROUTES[0], "name": "form", "path": "/judged-form", "accepts": ["multipart"], "form": {"files": 1}})
"""The policy's; the endpoints `/upload`, `/form` and `/echo` are not the guard's business."""


def mount_in_starlette(app: ASGIApp) -> ASGIApp:
    """Put an application below `/sub` of a Starlette application."""
    return Starlette(routes=[Mount(PREFIX, app=app)])


@dataclass(frozen=True)
class Framework:
    """One framework: how its application is made, and where the middleware can stand.

    Parameters
    ----------
    name
        Of the framework.
    make
        Makes the application; given a guard, it puts the middleware inside in the framework's own way.
    mount
        Puts an ASGI application below `/sub` of an application of this framework.
    exempt
        What does not apply, by the name of a check or of a placement, and why.
    """

    name: str
    make: Callable[[Desk, Guard | None], Any]
    mount: Callable[[ASGIApp], ASGIApp] = mount_in_starlette
    exempt: Mapping[str, str] = field(default_factory=dict)


def guarded(app: ASGIApp, guard: Guard) -> ASGIApp:
    """Wrap an application from outside."""
    return FeedbackGuardMiddleware(app, guard=guard, **options())


def options() -> dict[str, Any]:
    """How the suite runs the middleware wherever it stands."""
    return {"poll_seconds": POLL_SECONDS}
