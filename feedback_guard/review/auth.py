"""Who may decide: tokens of moderators, compared in constant time, and a bound on wrong guesses per network.

A token is 256 random bits, so the policy holds a plain SHA-256 of it: there is nothing to guess that a slow hash would
protect. The bound on failures keeps logs and the database quiet. It is counted per network, never per name, so
nobody can lock a moderator out by failing in her name.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from ipaddress import ip_address, ip_network

from sqlalchemy import Connection, delete, func, insert, select

from feedback_guard.clock import MICROSECONDS
from feedback_guard.policy.review import ReviewPolicy
from feedback_guard.store.tables import login_failure

WINDOW_US = 60 * MICROSECONDS
"""The time in which failures are counted."""
MAX_TOKEN_CHARS = 512
"""Longest token that is looked at."""


def new_token() -> tuple[str, str]:
    """A token for a moderator, and the digest of it for the policy.

    Examples
    --------
    >>> token, digest = new_token()
    >>> len(token), digest == token_sha256(token)
    (46, True)
    """
    token = "fg_" + secrets.token_urlsafe(32)
    return token, token_sha256(token)


def token_sha256(token: str) -> str:
    """The digest of a token, as `review.moderators` holds it."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def network_of(host: str | None) -> str:
    """The network whose failures count together: /24 of IPv4, /48 of IPv6, `local` for a Unix socket.

    Examples
    --------
    >>> network_of("192.0.2.7"), network_of("2001:db8:1:2::3"), network_of(None)
    ('192.0.2.0/24', '2001:db8:1::/48', 'local')
    """
    if not host:
        return "local"
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return "other"
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:
        address = mapped
    return str(ip_network(f"{address}/{24 if address.version == 4 else 48}", strict=False))


class Doorkeeper:
    """Recognises moderators by their tokens, and counts failures.

    Parameters
    ----------
    policy
        Who may log in, and how many failures a minute are borne.
    """

    def __init__(self, policy: ReviewPolicy) -> None:
        self._moderators = policy.moderators
        self._attempts = policy.attempts_per_minute

    def recognise(self, token: str) -> str | None:
        """The name of the moderator whose token it is. Every entry is compared, so the time tells nothing."""
        digest = token_sha256(token[:MAX_TOKEN_CHARS])
        found: str | None = None
        for moderator in self._moderators:
            if hmac.compare_digest(moderator.token_sha256, digest):
                found = moderator.name
        return found if len(token) <= MAX_TOKEN_CHARS else None

    def count(self, connection: Connection, network: str, now_us: int, *, wrong: bool) -> int:
        """Count a guess, inside a writing transaction, so that no number of parallel guesses gets past the bound.

        Parameters
        ----------
        network
            Where it came from.
        now_us
            Microseconds since the epoch.
        wrong
            Whether it was a wrong one; a right one is refused too while the network has to wait.

        Returns
        -------
        int
            Microseconds that the network has to wait; 0 if the guess may be answered.
        """
        row = connection.execute(
            select(func.count(), func.min(login_failure.c.at_us)).where(
                login_failure.c.network == network, login_failure.c.at_us > now_us - WINDOW_US
            )
        ).one()
        if row[0] >= self._attempts:
            # A failure from the future (the clock was set back) does not make the wait longer than the window.
            return int(min(row[1] + WINDOW_US - now_us, WINDOW_US))
        if wrong:
            old = (login_failure.c.at_us <= now_us - WINDOW_US) | (login_failure.c.at_us > now_us + WINDOW_US)
            connection.execute(delete(login_failure).where(old))
            connection.execute(insert(login_failure).values(network=network, at_us=now_us))
        return 0
