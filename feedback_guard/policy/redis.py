"""Redis in front of the store's budgets: refusals are known to all processes early. It is never the record."""

from __future__ import annotations

from pydantic import Field, field_validator

from feedback_guard.clock import MICROSECONDS
from feedback_guard.policy.base import Duration, Strict
from feedback_guard.policy.replay import SecretSource


class RedisPolicy(Strict):
    """Redis in front of the budgets, so that a full one is known to all processes before anything costly is done.
    Whatever becomes of Redis, the store decides.
    """

    url: str = Field(pattern=r"^(rediss?://[^/@\s]+(:\d{1,5})?(/\d{1,3})?|unix:///\S+)$", max_length=512)
    """`redis://HOST:PORT/NUMBER`, `rediss://…` for TLS, or `unix:///PATH`. No user or password stands in it."""
    key: SecretSource
    """A secret of at least 16 characters that all processes of one deployment share: names are hashed with it, and what
    is read is checked with it. `openssl rand -hex 32` makes one."""
    username: str | None = Field(None, min_length=1, max_length=128)
    """User of Redis's access control lists."""
    password: SecretSource | None = None
    """Password of Redis."""
    ca_file: str | None = Field(None, min_length=1, max_length=4_096)
    """Certificates that a `rediss://` server is checked with; the system's by default."""
    timeout: Duration = Field(20_000, ge=1_000, le=MICROSECONDS)
    """Longest time that Redis may cost a request."""
    failures: int = Field(3, ge=1, le=100)
    """After so many failures in a row Redis is skipped, and costs nothing."""
    pause: Duration = Field(5 * MICROSECONDS, ge=100_000, le=600 * MICROSECONDS)
    """How long it is skipped before it is tried again, by nobody's request."""
    remember: Duration = Field(60 * MICROSECONDS, ge=MICROSECONDS, le=60 * MICROSECONDS)
    """How long a level is remembered there, at most a minute: so long can Redis be wrong after the store was restored
    from a backup."""

    @field_validator("url")
    @classmethod
    def _port_and_number(cls, url: str) -> str:
        from urllib.parse import urlsplit

        try:
            port = urlsplit(url).port
        except ValueError:
            port = 0
        if port == 0:
            raise ValueError("the port lies in 1..65535")
        return url
