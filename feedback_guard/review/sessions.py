"""Logins of moderators, kept on the server so that they can be revoked.

The cookie carries the moderator's name and 256 random bits; the store holds only a hash. The hash also covers the
digest of the moderator's token in the policy: change the token, or take the moderator out, and every login of hers
ends. A login ends after `review.idle` without a request, and after `review.session` in any case.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, insert, select, update

from feedback_guard.clock import MICROSECONDS
from feedback_guard.policy.review import ReviewPolicy
from feedback_guard.review import csrf
from feedback_guard.store.tables import review_session

MAX_SESSIONS: Final = 20
"""Most logins of one moderator at a time; one more ends the oldest."""
TOUCH_US: Final = 60 * MICROSECONDS
"""A login's last use is written down when it is older than this, or than a twentieth of `review.idle`."""

_COOKIE = re.compile(r"([a-z0-9][a-z0-9_-]{0,63})\.([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class Session:
    """A login.

    Parameters
    ----------
    moderator
        Her name in the policy.
    key
        What only the cookie carries; form tokens are made from it.
    id_sha256
        What the store knows it by.
    """

    moderator: str
    key: bytes
    id_sha256: str

    def token(self, purpose: str) -> str:
        """The token of a form of this session."""
        return csrf.token(self.key, purpose)


class Sessions:
    """Opens, finds and ends logins. Every method takes the connection of a transaction.

    Parameters
    ----------
    policy
        Who may log in, and for how long.
    """

    def __init__(self, policy: ReviewPolicy) -> None:
        self._tokens: Mapping[str, str] = {item.name: item.token_sha256 for item in policy.moderators}
        self._session_us = policy.session
        self._idle_us = policy.idle

    def parse(self, cookie: str) -> Session | None:
        """What a cookie claims to be; whether it is one, `alive` tells."""
        match = _COOKIE.fullmatch(cookie)
        if match is None or match[1] not in self._tokens:
            return None
        key = match[2].encode("ascii")
        stored = hashlib.sha256(b"\0".join((b"session", self._tokens[match[1]].encode(), match[1].encode(), key)))
        return Session(match[1], key, stored.hexdigest())

    def open(self, connection: Connection, moderator: str, now_us: int) -> str:
        """Begin a login and return its cookie. Logins that ran out are forgotten, and so are too many of one name."""
        cookie = f"{moderator}.{secrets.token_urlsafe(32)}"
        session = self.parse(cookie)
        if session is None:
            raise KeyError(moderator)
        table = review_session.c
        connection.execute(
            delete(review_session).where(
                (table.created_us <= now_us - self._session_us) | (table.last_us <= now_us - self._idle_us)
            )
        )
        newest = (
            select(table.id_sha256)
            .where(table.moderator == moderator)
            .order_by(table.created_us.desc())
            .limit(MAX_SESSIONS - 1)
            .subquery()
        )
        connection.execute(
            delete(review_session).where(table.moderator == moderator, table.id_sha256.not_in(newest.select()))
        )
        connection.execute(
            insert(review_session).values(
                id_sha256=session.id_sha256, moderator=moderator, created_us=now_us, last_us=now_us
            )
        )
        return cookie

    def alive(self, connection: Connection, session: Session, now_us: int) -> tuple[bool, bool]:
        """Whether a login exists and has not run out, and whether its last use is due to be written down."""
        row = connection.execute(
            select(review_session.c.created_us, review_session.c.last_us).where(
                review_session.c.id_sha256 == session.id_sha256, review_session.c.moderator == session.moderator
            )
        ).first()
        if row is None or now_us - row.created_us >= self._session_us or now_us - row.last_us >= self._idle_us:
            return False, False
        return True, now_us - row.last_us >= min(TOUCH_US, self._idle_us // 20)

    def touch(self, connection: Connection, session: Session, now_us: int) -> None:
        """Write down that a login is in use. A clock that jumped back does not shorten it."""
        connection.execute(
            update(review_session)
            .where(review_session.c.id_sha256 == session.id_sha256, review_session.c.last_us < now_us)
            .values(last_us=now_us)
        )

    def close(self, connection: Connection, session: Session) -> None:
        """End a login: a copy of its cookie is worth nothing from now on."""
        connection.execute(delete(review_session).where(review_session.c.id_sha256 == session.id_sha256))
