"""Who is asking: the session behind a cookie, the moderator behind a Bearer token, and the way in and out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from feedback_guard.clock import MICROSECONDS
from feedback_guard.review import csrf
from feedback_guard.review.auth import Doorkeeper, network_of
from feedback_guard.review.desk import Desk, read
from feedback_guard.review.problems import Refused
from feedback_guard.review.sessions import Session, Sessions
from feedback_guard.store.database import Transaction

SECURE_COOKIE: Final = "__Host-feedback-guard"
"""Bound to this host, HTTPS and the path / (RFC 6265bis, section 4.1.3)."""
PLAIN_COOKIE: Final = "feedback-guard"
"""For plain HTTP, when the policy says `secure_cookies: false`."""

_WRONG: Final = "That is not the token of a moderator."
_LOG_IN: Final = "Log in first."


@dataclass(frozen=True, slots=True)
class Entered:
    """A login that was just made."""

    moderator: str
    cookie: str


class Gate:
    """Lets moderators in.

    Parameters
    ----------
    desk
        Policy, clock and store.
    """

    def __init__(self, desk: Desk) -> None:
        policy = desk.policy.review
        self._desk = desk
        self._sessions = Sessions(policy)
        self._doorkeeper = Doorkeeper(policy)
        self.secure = policy.secure_cookies
        self.cookie_name = SECURE_COOKIE if self.secure else PLAIN_COOKIE

    async def session(self, request: Request) -> Session | None:
        """The session of a request, if its cookie is one that is alive."""
        claimed = self._sessions.parse(request.cookies.get(self.cookie_name, ""))
        if claimed is None:
            return None
        now_us = self._desk.clock.now_us()
        alive, due = await read(self._desk, lambda connection: self._sessions.alive(connection, claimed, now_us))
        if not alive:
            return None
        if due:
            await self._desk.store.run(lambda tx: self._sessions.touch(tx.connection, claimed, now_us))
        return claimed

    async def require(self, request: Request) -> Session:
        """The session of a request.

        Raises
        ------
        Refused
            With 401 if there is none.
        """
        session = await self.session(request)
        if session is None:
            raise Refused(401, _LOG_IN, title="Log in")
        return session

    def own_site(self, request: Request) -> None:
        """Refuse a request that changes something and was not made by one of our own pages.

        Raises
        ------
        Refused
            With 403.
        """
        why = csrf.cross_site(request.headers, https_only=self.secure)
        if why is not None:
            raise Refused(403, f"This request does not come from the review pages: {why}.", title="Not from here")

    def token(self, session: Session, purpose: str, offered: str) -> None:
        """Refuse a form whose token is not the one for this session and purpose.

        Raises
        ------
        Refused
            With 403.
        """
        if not csrf.matches(session.key, purpose, offered):
            raise Refused(
                403, "The form is not one that this login was given. Open the page again.", title="Not from here"
            )

    async def enter(self, request: Request, token: str) -> Entered:
        """Log in: a new session takes the place of the one that the browser had.

        The guess, its count and the new session are one transaction, so that no number of parallel guesses gets
        past the bound.

        Raises
        ------
        Refused
            401 the token is wrong; 429 too many were wrong.
        """
        moderator = self._doorkeeper.recognise(token)
        before = self._sessions.parse(request.cookies.get(self.cookie_name, ""))
        network = network_of(request.client.host if request.client else None)
        now_us = self._desk.clock.now_us()

        def job(tx: Transaction) -> tuple[int, str]:
            wait_us = self._doorkeeper.count(tx.connection, network, now_us, wrong=moderator is None)
            if wait_us or moderator is None:
                return wait_us, ""
            if before is not None:
                self._sessions.close(tx.connection, before)
            return 0, self._sessions.open(tx.connection, moderator, now_us)

        wait_us, cookie = await self._desk.store.run(job)
        _refuse_limited(wait_us)
        if moderator is None:
            raise Refused(401, _WRONG, title="Log in")
        return Entered(moderator, cookie)

    async def leave(self, session: Session) -> None:
        """Log out: the session is gone, whoever has a copy of the cookie."""
        await self._desk.store.run(lambda tx: self._sessions.close(tx.connection, session))

    async def bearer(self, request: Request) -> str:
        """The moderator behind the Bearer token of an API request (RFC 6750).

        A request that also brings cookies comes from a browser, so it must come from our own pages.

        Raises
        ------
        Refused
            401 no token or a wrong one; 403 from another site; 429 too many wrong ones.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        challenge = {"WWW-Authenticate": 'Bearer realm="feedback_guard review"'}
        if scheme.lower() != "bearer" or not token or len(request.headers.getlist("authorization")) != 1:
            raise Refused(401, "Send the token of a moderator as Authorization: Bearer.", headers=challenge)
        if "cookie" in request.headers and request.method not in ("GET", "HEAD"):
            self.own_site(request)
        moderator = self._doorkeeper.recognise(token.strip())
        network = network_of(request.client.host if request.client else None)
        now_us = self._desk.clock.now_us()
        # Right or wrong, in the writer's turn: so parallel guesses are counted one after the other. Nothing is
        # written for a right one, so it costs no disk.
        _refuse_limited(
            await self._desk.store.run(
                lambda tx: self._doorkeeper.count(tx.connection, network, now_us, wrong=moderator is None)
            )
        )
        if moderator is None:
            raise Refused(401, _WRONG, headers=challenge)
        return moderator

    def give(self, response: Response, cookie: str) -> None:
        """Put the cookie of a login on an answer. It ends with the browser; the server ends it sooner."""
        response.set_cookie(self.cookie_name, cookie, path="/", secure=self.secure, httponly=True, samesite="strict")

    def take(self, response: Response) -> None:
        """Take the cookie back."""
        response.delete_cookie(self.cookie_name, path="/", secure=self.secure, httponly=True, samesite="strict")


def _refuse_limited(wait_us: int) -> None:
    if wait_us:
        seconds = -(-wait_us // MICROSECONDS)
        raise Refused(
            429,
            f"Too many wrong tokens came from your network. Try again in {seconds} seconds.",
            title="Too many attempts",
            headers={"Retry-After": str(seconds)},
        )
