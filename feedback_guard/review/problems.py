"""Refusals, raised anywhere in the application and answered as a page or as problem+json (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import JSONResponse


class Refused(Exception):  # noqa: N818
    """The request is answered with an error.

    Parameters
    ----------
    status
        HTTP status.
    detail
        A sentence for the person: what is wrong and what to do. It never holds contributed text.
    title
        Heading of the page; by default the standard phrase of the status.
    headers
        Further headers, such as `Retry-After`.
    """

    def __init__(self, status: int, detail: str, *, title: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.title = title or HTTPStatus(status).phrase
        self.headers = dict(headers or {})


def problem(status: int, detail: str, *, title: str = "", headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An error as problem+json.

    Examples
    --------
    >>> problem(404, "There is no such item.").body
    b'{"type":"about:blank","title":"Not Found","status":404,"detail":"There is no such item."}'
    """
    return JSONResponse(
        {"type": "about:blank", "title": title or HTTPStatus(status).phrase, "status": status, "detail": detail},
        status_code=status,
        headers=dict(headers or {}),
        media_type="application/problem+json",
    )
