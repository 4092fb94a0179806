"""An issuer of tokens: its keys, what it publishes of them, and tokens of every kind, good and forged."""

from __future__ import annotations

import base64
import functools
import json
from typing import Any

from joserfc import jwk
from joserfc.jws import JWSRegistry

from feedback_guard.clock import MICROSECONDS
from tests.middleware.fakes import NOW_US

ISSUER = "https://login.example/"
AUDIENCE = "feedback"
NOW = NOW_US // MICROSECONDS
POLICY: dict[str, Any] = {"issuer": ISSUER, "audience": [AUDIENCE], "jwks_url": "https://login.example/jwks"}


@functools.lru_cache(maxsize=64)
def make_key(kind: str, ident: str, size: Any = None) -> Any:
    """A key pair of the issuer, the same for the same arguments."""
    sizes: dict[str, Any] = {"RSA": 2048, "EC": "P-256", "OKP": "Ed25519", "oct": 256}
    return jwk.generate_key(kind, size or sizes[kind], {"kid": ident}, private=True, auto_kid=False)  # type: ignore[call-overload]


def published(*keys: Any, private: bool = False, **more: Any) -> bytes:
    """A JWK set as an issuer serves it."""
    listed = [{**key.as_dict(private=private or key.key_type == "oct"), **more} for key in keys]
    return json.dumps({"keys": listed}).encode()


def encode(value: Any) -> bytes:
    """A part of a token: JSON, or bytes as they are, in base64url."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of a good token; one that is changed to None is left out."""
    value = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": NOW + 300, **changes}
    return {name: part for name, part in value.items() if part is not None}


def sign(key: Any, payload: Any = None, *, alg: str = "RS256", header: Any = None, kid: Any = ...) -> bytes:
    """A token, signed by that key as that algorithm, whatever its header and claims say."""
    fields = {"alg": alg, "typ": "JWT", "kid": key.kid if kid is ... else kid}
    fields = {name: value for name, value in fields.items() if value is not None}
    head = header if isinstance(header, bytes) else fields | (header or {})
    signed = encode(head) + b"." + encode(claims() if payload is None else payload)
    name = {"EdDSA": "Ed25519"}.get(alg, alg)
    return signed + b"." + encode(JWSRegistry.algorithms[name].sign(signed, key))
