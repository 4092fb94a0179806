"""Headers that stand on every answer of the review application, errors included.

The pages need no script, no inline style and no image, so the Content-Security-Policy allows none: markup that got
past the escaping would still be inert. The wrapper is outermost, around the error handling, so that no answer can
miss it.
"""

from __future__ import annotations

import logging
import traceback
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from feedback_guard.review.problems import problem

logger = logging.getLogger(__name__)

CSP: Final = (
    "default-src 'none'; script-src 'none'; style-src 'self'; img-src 'none'; connect-src 'none'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'"
)
"""For pages (Content Security Policy Level 3)."""
CSP_RAW: Final = "default-src 'none'; frame-ancestors 'none'; sandbox"
"""For contributed data that is shown as it is, as plain text."""

_ALWAYS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "X-Robots-Tag": "noindex, nofollow",
}


class SecurityHeaders:
    """Wraps an ASGI application and sets the headers of this module on each of its answers.

    Parameters
    ----------
    app
        The application.
    secure
        True when pages come over HTTPS or from localhost. Then browsers send `Sec-Fetch-Site`, and no referrer is
        needed. Over plain HTTP the CSRF defence has only `Origin`, which browsers blank under `no-referrer` (Fetch
        Standard, "append a request Origin header"); `same-origin` keeps it and still tells other sites nothing.
    """

    def __init__(self, app: ASGIApp, *, secure: bool) -> None:
        self.app = app
        self.headers = {**_ALWAYS, "Referrer-Policy": "no-referrer" if secure else "same-origin"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers.update(self.headers)
                headers.setdefault("Content-Security-Policy", CSP)
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except Exception as error:  # noqa: BLE001
            # The message of an error may quote a contributed text: the log gets the kind and the place of it.
            frames = "".join(traceback.format_tb(error.__traceback__))
            logger.error("the review application failed with %s\n%s", type(error).__name__, frames)
            if not started:
                answer = problem(500, "The review application failed; the log says where.")
                await answer(scope, receive, send_with_headers)
