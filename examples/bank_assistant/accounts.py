"""Who is asking: a bearer token that the bank has signed names the account."""

from __future__ import annotations

import hashlib
import hmac
import os

from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, BaseUser
from starlette.requests import HTTPConnection

_SECRET = os.environ.get("BANK_SECRET", "for the demo only").encode()


class Account(BaseUser):
    """An account of the bank."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def is_authenticated(self) -> bool:
        """Always: there is no account without a valid token."""
        return True

    @property
    def display_name(self) -> str:
        """The account's name."""
        return self.name

    @property
    def identity(self) -> str:
        """The account's name."""
        return self.name


def _signature(name: str) -> str:
    return hmac.new(_SECRET, name.encode(), hashlib.sha256).hexdigest()


def issue_token(name: str) -> str:
    """What the bank gives to an account when it logs in."""
    return f"{name}.{_signature(name)}"


class TokenBackend(AuthenticationBackend):
    """Sets `scope["user"]`, from where the guard takes the contributor."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, Account] | None:
        """Read the token; nobody is logged in without one."""
        scheme, _, token = conn.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        name, _, signature = token.rpartition(".")
        if not name or not hmac.compare_digest(signature.encode(), _signature(name).encode()):
            raise AuthenticationError("this token was not issued by the bank")
        return AuthCredentials(["authenticated"]), Account(name)
