"""Django, with its own views and with ninja."""

from __future__ import annotations

from typing import Any

from django.core.asgi import get_asgi_application

from feedback_guard import Guard
from feedback_guard.middleware.interface import Receive, Scope, Send
from tests.frameworks.apps import django_settings, django_views
from tests.frameworks.desk import Desk
from tests.frameworks.interface import Framework

assert django_settings.DONE


def make(desk: Desk, guard: Guard | None) -> Any:
    handler = get_asgi_application()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await handler({**scope, django_views.DESK: desk}, receive, send)

    return app


FRAMEWORK = Framework(
    "django",
    make,
    exempt={
        "inside": "Django's own middleware is not ASGI: wrap what get_asgi_application() returns",
        "websocket": "Django serves no websockets of its own",
        "lifespan": "Django does not speak the lifespan protocol",
    },
)
