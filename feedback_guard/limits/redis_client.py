"""A connection to Redis as the policy describes it, and the key of what is kept there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from feedback_guard.clock import MICROSECONDS
from feedback_guard.errors import CredentialError, UsageError
from feedback_guard.policy.redis import RedisPolicy
from feedback_guard.secrets_read import read_secret

if TYPE_CHECKING:
    from redis import Redis

MIN_KEY_CHARS: Final = 16
"""Shortest key, in characters."""


def connect(policy: RedisPolicy) -> Redis:
    """A client for one connection, with bounded waits and no retries. Nothing is connected yet.

    Raises
    ------
    UsageError
        If redis-py is not installed.
    CredentialError
        If the password is not there.
    """
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError:
        raise UsageError("the policy has a section redis: pip install 'feedback-guard[redis]'") from None
    seconds = policy.timeout / MICROSECONDS
    options: dict[str, Any] = {
        "username": policy.username,
        "password": None if policy.password is None else read_secret(policy.password, "redis.password"),
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }
    parts = urlsplit(policy.url)
    if parts.scheme == "unix":
        return redis.Redis(unix_socket_path=parts.path, **options)
    if parts.scheme == "rediss":
        options |= {"ssl": True, "ssl_ca_certs": policy.ca_file}
    number = parts.path.strip("/")
    return redis.Redis(host=parts.hostname or "", port=parts.port or 6379, db=int(number or 0), **options)


def secret_of(policy: RedisPolicy) -> bytes:
    """The key that names and copies are made with.

    Raises
    ------
    CredentialError
        If it is not there, or too short.
    """
    secret = read_secret(policy.key, "redis.key")
    if len(secret) < MIN_KEY_CHARS:
        raise CredentialError(f"redis.key has fewer than {MIN_KEY_CHARS} characters; `openssl rand -hex 32` makes one")
    return secret.encode()


def errors() -> tuple[type[Exception], ...]:
    """What may be raised when Redis does not answer."""
    from redis.exceptions import RedisError

    return RedisError, OSError, ValueError
