"""The way in and out: the form to log in with, and what it does."""

from __future__ import annotations

import re
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from feedback_guard.review.body import read_form
from feedback_guard.review.gate import Gate
from feedback_guard.review.problems import Refused
from feedback_guard.review.render import go, page

_NEXT: Final = re.compile(
    r"/(?:decided|undelivered|drift|campaigns(?:/[A-Za-z0-9_-]{1,64})?|items/[A-Za-z0-9_-]{1,64}(?:/full)?)?"
)
"""Where a login may lead: pages of this application that only show something."""


class Entrance:
    """Log in and log out.

    Parameters
    ----------
    gate
        Who is let in.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def routes(self) -> list[Route]:
        """Paths and what answers them."""
        return [
            Route("/login", self.show_login, methods=["GET"]),
            Route("/login", self.log_in, methods=["POST"]),
            Route("/logout", self.log_out, methods=["POST"]),
        ]

    async def show_login(self, request: Request) -> Response:
        """The form to log in with."""
        return login_page(request)

    async def log_in(self, request: Request) -> Response:
        """Look at a token; a right one opens a session."""
        self._gate.own_site(request)
        form = await read_form(request)
        target = form.get("next", "/")
        try:
            entered = await self._gate.enter(request, form.get("secret", ""))
        except Refused as refused:
            answer = login_page(request, target=target, message=refused.detail, status=refused.status)
            answer.headers.update(refused.headers)
            return answer
        answer = go(request, target if _NEXT.fullmatch(target) else "/")
        self._gate.give(answer, entered.cookie)
        return answer

    async def log_out(self, request: Request) -> Response:
        """End the session."""
        self._gate.own_site(request)
        session = await self._gate.require(request)
        form = await read_form(request)
        self._gate.token(session, "logout", form.get("token", ""))
        await self._gate.leave(session)
        answer = go(request, "/login")
        self._gate.take(answer)
        return answer


def login_page(request: Request, *, target: str = "/", message: str = "", status: int = 200) -> Response:
    """The form to log in with.

    Parameters
    ----------
    request
        What it answers.
    target
        Where the login leads; a path that is not one of the pages leads to the list.
    message
        What went wrong, if anything.
    status
        HTTP status.
    """
    target = target if _NEXT.fullmatch(target) else "/"
    return page(request, "login", session=None, status=status, next=target, message=message)
