"""Templates, made once. Everything is escaped unless `display` made it; an unknown name is an error, not a blank."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from feedback_guard.clock import format_iso8601
from feedback_guard.review import words
from feedback_guard.review.sessions import Session


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("feedback_guard.review"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(iso=format_iso8601, moment=words.moment, duration=words.duration, counted=words.counted)
    return environment


_ENVIRONMENT = _environment()


def page(
    request: Request, name: str, *, session: Session | None, status: int = 200, here: str = "", **values: Any
) -> HTMLResponse:
    """Render a page.

    Parameters
    ----------
    request
        What it answers.
    name
        Of the template, without `.html`.
    session
        Whose login it is shown to; None shows no navigation.
    status
        HTTP status.
    here
        Which entry of the navigation is the present one.
    values
        What the template needs.
    """
    # Where this application is mounted, as the server says; links are written relative to it.
    base = request.scope.get("root_path", "").rstrip("/")
    html = _ENVIRONMENT.get_template(f"{name}.html").render(
        base=base, session=session, here=here, status=status, **values
    )
    # A lone surrogate cannot be encoded; `display` names each, so `replace` only guards against a 500.
    return HTMLResponse(html.encode("utf-8", "replace"), status_code=status)


def go(request: Request, path: str) -> Response:
    """Continue at another page, with GET."""
    return RedirectResponse(request.scope.get("root_path", "").rstrip("/") + path, status_code=303)
