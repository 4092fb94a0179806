"""Contributors named by a signed token (JWT, RFC 7519), checked as RFC 8725 asks.

The algorithms are the policy's, and each goes with its own type of key, so neither `none` nor a public key taken for a
secret gets anywhere. Nothing in a token says where a key is to be had: `jku`, `jwk` and `x5u` are not looked at. Header
and claims are read as strictly as a body. Of what a client sends, nothing is logged.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Mapping
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry
from pydantic import JsonValue

from feedback_guard import settings
from feedback_guard.clock import MICROSECONDS, Clock
from feedback_guard.middleware.interface import Scope
from feedback_guard.middleware.jwks import Key, Keys, Load
from feedback_guard.middleware.principal import Principal, as_name
from feedback_guard.middleware.replies import BadInputError, Problem, bad_input
from feedback_guard.middleware.strict_json import parse_strictly
from feedback_guard.policy.identity import JwtPolicy

_TOKEN: Final = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_BEARER: Final = re.compile(rb"bearer(?: +|\Z)", re.IGNORECASE)
_NAMES: Final = {"EdDSA": "Ed25519"}
"""Algorithms by their newer names (RFC 9864)."""


class Tokens:
    """Names contributors by their tokens.

    Parameters
    ----------
    policy
        Where the token is, who issued it, and which claims count.
    clock
        For `exp` and `nbf`, and for the age of the keys.
    load
        Reads the keys; by default from where the policy says.
    """

    def __init__(self, policy: JwtPolicy, clock: Clock, load: Load | None = None) -> None:
        self._policy = policy
        self._clock = clock
        self._keys = Keys(policy, clock, load)
        self._registry = JWSRegistry(algorithms=[_NAMES.get(name, name) for name in policy.algorithms])
        self._header = (policy.header or "authorization").lower().encode("ascii")
        self._cookie = policy.cookie.encode("ascii") if policy.cookie is not None else None

    async def find(self, scope: Scope) -> Principal | None:
        """The contributor that a request's token names; None if there is no token.

        Raises
        ------
        BadInputError
            400 if there are two tokens, 401 if the token is not good.
        IdentityError
            If the issuer's keys cannot be had.
        """
        token = self._token(scope)
        return None if token is None else self._principal(await self._claims(token))

    def _token(self, scope: Scope) -> bytes | None:
        if self._cookie is not None:
            values = _cookies(scope, self._cookie)
        else:
            values = [value for name, value in scope["headers"] if name == self._header]
        if len(values) > 1:
            raise bad_input(400, "ambiguous_identity", "There is more than one token.")
        if not values or not values[0]:
            return None
        value = values[0]
        if self._header == b"authorization" and self._cookie is None:
            bearer = _BEARER.match(value)
            if bearer is None:
                return None
            value = value[bearer.end() :]
        if len(value) > settings.MAX_TOKEN_BYTES:
            raise _bad("The token is too long.")
        return value

    async def _claims(self, token: bytes) -> Mapping[str, JsonValue]:
        """The claims of a token, after its signature and times were checked."""
        if not _TOKEN.fullmatch(token):
            raise _bad("The token is no signed JWT.")
        signed, _, signature = token.rpartition(b".")
        header, payload = (_decode(part) for part in signed.split(b"."))
        fields = _object(header)
        algorithm, ident = fields.get("alg"), fields.get("kid")
        if algorithm not in self._policy.algorithms or not isinstance(algorithm, str):
            raise _bad("The token is signed with an algorithm that is not taken.")
        if not isinstance(ident, str | None) or "crit" in fields or "b64" in fields:
            raise _bad("The token's header is not understood.")
        key = await self._keys.find(ident, algorithm)
        if key is None:
            raise _bad("The token is signed with a key that its issuer does not have.")
        self._verify(algorithm, key, signed, _decode(signature))
        claims = _object(payload)
        self._check(claims)
        return claims

    def _verify(self, algorithm: str, key: Key, signed: bytes, signature: bytes) -> None:
        known = self._registry.get_alg(_NAMES.get(algorithm, algorithm))
        try:
            known.check_key(key.key)
            good = known.verify(signed, signature, key.key)
        except (JoseError, ValueError, TypeError):
            good = False
        if good is not True:
            raise _bad("The token's signature is wrong.")

    def _check(self, claims: Mapping[str, JsonValue]) -> None:
        now, leeway = self._clock.now_us() / MICROSECONDS, self._policy.leeway / MICROSECONDS
        if claims.get("iss") != self._policy.issuer:
            raise _bad("The token is from another issuer.")
        wanted, given = self._policy.audience, claims.get("aud")
        audience = given if isinstance(given, list) else [given]
        if wanted and not any(isinstance(name, str) and name in wanted for name in audience):
            raise _bad("The token is for another audience.")
        expires = _time(claims, "exp")
        if expires is None:
            raise _bad("The token does not say when it expires.")
        if now >= expires + leeway:
            raise _bad("The token has expired.")
        begins = _time(claims, "nbf")
        if begins is not None and now < begins - leeway:
            raise _bad("The token is not valid yet.")

    def _principal(self, claims: Mapping[str, JsonValue]) -> Principal:
        name = _named(claims, self._policy.claim)
        if name is None:
            raise _bad("The token does not name its user.")
        groups = {group: _named(claims, path) for group, path in self._policy.groups.items()}
        return Principal(name, {group: value for group, value in groups.items() if value is not None})


def _named(claims: Mapping[str, JsonValue], path: tuple[str, ...]) -> str | None:
    """The name at a path of claims; None if there is nothing."""
    value: Any = claims
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    if value is None:
        return None
    name = as_name(value)
    if name is None:
        raise _bad("A claim of the token is neither a text nor a whole number.")
    return name


def _time(claims: Mapping[str, JsonValue], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _bad("A time in the token is not a number.")
    return value


def _object(data: bytes) -> dict[str, JsonValue]:
    try:
        value = parse_strictly(data)
    except BadInputError:
        raise _bad("The token is not JSON.") from None
    if not isinstance(value, dict):
        raise _bad("The token is not a JSON object.")
    return value


def _decode(text: bytes) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except (ValueError, binascii.Error):
        raise _bad("The token is not base64url.") from None


def _cookies(scope: Scope, name: bytes) -> list[bytes]:
    """Every value of a cookie, in whichever of the header fields it stands."""
    found: list[bytes] = []
    for header, value in scope["headers"]:
        if header != b"cookie":
            continue
        for part in value.split(b";"):
            key, separator, text = part.strip().partition(b"=")
            if separator and key == name:
                found.append(text)
    return found


def _bad(detail: str) -> BadInputError:
    headers = ((b"www-authenticate", b'Bearer error="invalid_token"'),)
    return BadInputError(Problem(401, "bad_token", detail, headers=headers))
