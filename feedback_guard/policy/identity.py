"""The part of the policy that says who the contributor is."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import ip_network
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from feedback_guard import settings
from feedback_guard.clock import MICROSECONDS
from feedback_guard.policy.base import Duration, Name, Strict

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_BY_CLIENT: Final = frozenset(
    {
        "app",
        "asgi",
        "client",
        "endpoint",
        "extensions",
        "headers",
        "http_version",
        "method",
        "path",
        "path_params",
        "query_string",
        "raw_path",
        "root_path",
        "scheme",
        "server",
        "type",
    }
)
"""Keys of a scope that the server fills from the connection and the request: a client chooses what stands there."""

Key = Annotated[str, Field(min_length=1, max_length=256)]
Keys = Annotated[tuple[Key, ...], Field(min_length=1, max_length=8)]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")]
CookieName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]


class Source(StrEnum):
    """Where a contributor may be named."""

    HEADER = "header"
    CALLABLE = "callable"
    JWT = "jwt"
    SCOPE = "scope"
    USER = "user"


class TrustedHops(Strict):
    """A contributor named by a header, believed only when the connection comes from a proxy of yours."""

    header: HeaderName
    """Name of the header, such as `X-Authenticated-User`. Sent twice, it is refused."""
    hops: tuple[str, ...] = Field(min_length=1, max_length=64)
    """Addresses or networks of the proxies, such as `10.0.0.0/8`. `unix` stands for a Unix socket."""

    @field_validator("hops")
    @classmethod
    def _are_networks(cls, hops: tuple[str, ...]) -> tuple[str, ...]:
        for hop in hops:
            if hop == "unix":
                continue
            try:
                ip_network(hop)
            except ValueError as error:
                raise ValueError(f"{hop!r} is neither an address nor a network: {error}") from None
        return hops


Algorithm = Literal[
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
    "HS256",
    "HS384",
    "HS512",
]


class JwtPolicy(Strict):
    """A contributor named by a signed token (JWT). Needs `pip install feedback-guard[jwt]`.

    A request without a token goes on to the next source. A token that is not good is answered with 401, and with 503
    while the keys cannot be had: it never makes anybody anonymous.
    """

    issuer: str = Field(min_length=1, max_length=1_024)
    """What the claim `iss` must be, to the letter."""
    audience: tuple[Key, ...] = Field((), max_length=16)
    """One of these must be in the claim `aud`. Without any, a token that was issued for another application is
    believed."""
    algorithms: tuple[Algorithm, ...] = Field(("RS256",), min_length=1, max_length=14)
    """The only algorithms believed, whatever a token says. `HS…` are for a secret that issuer and guard share: they
    need `jwks_file` and stand alone."""
    jwks_url: str | None = Field(None, max_length=2_048)
    """Where the issuer's keys are: https, or http on this machine. No redirect is followed."""
    jwks_file: str | None = Field(None, min_length=1, max_length=4_096)
    """Instead of a URL: a file with the keys (a JWK set), relative to the working directory. It is read again as a URL
    is."""
    claim: Keys = ("sub",)
    """Path of keys to the claim that names the contributor: a text or a whole number."""
    groups: dict[Name, Keys] = Field(default_factory=dict, max_length=settings.MAX_GROUPS)
    """Groups of the contributor, each with the path of keys to its claim, such as `tenant: [org_id]`. A claim that is
    not there makes no group."""
    header: HeaderName | None = None
    """Header that holds the token alone; by default it is `Authorization: Bearer`."""
    cookie: CookieName | None = None
    """Instead of a header: the cookie that holds the token."""
    leeway: Duration = Field(30 * MICROSECONDS, le=600 * MICROSECONDS)
    """How far the issuer's clock may be off, when `exp` and `nbf` are compared."""
    refresh: Duration = Field(600 * MICROSECONDS, ge=MICROSECONDS)
    """How long keys are used before they are fetched again. A key that the issuer withdrew is believed for so long at
    most."""
    max_stale: Duration = Field(3_600 * MICROSECONDS, ge=MICROSECONDS)
    """How long keys are used in all while they cannot be fetched again. Then every token is answered with 503."""
    cooldown: Duration = Field(30 * MICROSECONDS, ge=MICROSECONDS)
    """Time between two fetches because a token names an unknown key, and between two attempts after a failed one."""
    timeout: Duration = Field(3 * MICROSECONDS, ge=1_000, le=60 * MICROSECONDS)
    """How long a fetch may take."""

    @field_validator("jwks_url")
    @classmethod
    def _is_fixed_and_safe(cls, url: str | None) -> str | None:
        if url is None:
            return None
        if not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError("a URL is printable ASCII without spaces")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ValueError(f"not a URL: {error}") from None
        if not parts.hostname or port == 0:
            raise ValueError("the URL names no host; write it as https://HOST/PATH")
        if parts.username is not None or parts.password is not None or parts.fragment:
            raise ValueError("the URL has a user, a password or a fragment; leave it out")
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            raise ValueError("keys are fetched by https, or by http from this machine; otherwise use `jwks_file`")
        return url

    @model_validator(mode="after")
    def _can_work(self) -> Self:
        if (self.jwks_url is None) is (self.jwks_file is None):
            raise ValueError("the keys come from either `jwks_url` or `jwks_file`")
        if self.header is not None and self.cookie is not None:
            raise ValueError("the token comes from either `header` or `cookie`")
        shared = [name for name in self.algorithms if name.startswith("HS")]
        if shared and len(shared) != len(self.algorithms):
            raise ValueError(f"{shared[0]} stands beside algorithms with public keys; a public key is no secret")
        if shared and self.jwks_file is None:
            raise ValueError(f"{shared[0]} needs its secret in `jwks_file`; secrets are not fetched")
        if self.max_stale < self.refresh:
            raise ValueError("`max_stale` is shorter than `refresh`; make it longer")
        return self


class CallablePolicy(Strict):
    """A contributor named by a Python function, `FeedbackGuardMiddleware(identify=function)`.

    It gets the scope and returns a name, a dictionary of `contributor` and `groups`, or None for the next source. It
    may be asynchronous. One that raises, or takes too long, is answered with 503.
    """

    deadline: Duration = Field(MICROSECONDS, ge=1_000, le=60 * MICROSECONDS)
    """How long it may take."""
    groups: tuple[Name, ...] = Field((), max_length=settings.MAX_GROUPS)
    """Names of the groups that it may return."""


class IdentityPolicy(Strict):
    """Who the contributor is. It never comes from the body."""

    order: tuple[Source, ...] = Field(tuple(Source), min_length=1, max_length=len(Source))
    """In which order the sources below are asked. The first that names somebody decides; those that are not set up are
    passed over."""
    header: TrustedHops | None = None
    """Take the contributor from a header that a trusted proxy sets."""
    callable: CallablePolicy | None = None
    """Take the contributor from a Python function."""
    jwt: JwtPolicy | None = None
    """Take the contributor from a signed token (JWT)."""
    scope: tuple[Key, ...] = Field((), max_length=8)
    """Take the contributor from the ASGI scope, by this path of keys and attributes, as middleware further out puts it
    there: `[session, user_id]`, or `[auth, claims, sub]`."""
    user: bool = True
    """Take the contributor from `scope["user"]` as authentication middleware sets it (attributes `identity`, then
    `username`, then `display_name`), if it is authenticated."""
    groups: dict[Name, TrustedHops] = Field(default_factory=dict, max_length=settings.MAX_GROUPS)
    """Groups of the contributor, each from a header that a trusted proxy sets."""
    network_group: bool = True
    """Adds the group `network`: the connection's /24 (IPv4) or /48 (IPv6), as the server sees it."""
    missing: Literal["refuse", "anonymous"] = "refuse"
    """Without a contributor: `refuse` answers 401, `anonymous` charges the one budget that all such share."""

    @property
    def configured(self) -> tuple[Source, ...]:
        """The sources that are set up, in the order in which they are asked."""
        ready = {
            Source.HEADER: self.header is not None,
            Source.CALLABLE: self.callable is not None,
            Source.JWT: self.jwt is not None,
            Source.SCOPE: bool(self.scope),
            Source.USER: self.user,
        }
        return tuple(source for source in self.order if ready[source])

    @property
    def group_names(self) -> tuple[str, ...]:
        """Every group that a contribution over HTTP may have, by any source."""
        return (
            *self.groups,
            *(self.jwt.groups if self.jwt else ()),
            *(self.callable.groups if self.callable else ()),
            *(("network",) if self.network_group else ()),
        )

    @field_validator("scope")
    @classmethod
    def _is_not_the_clients(cls, scope: tuple[str, ...]) -> tuple[str, ...]:
        if scope and scope[0] in _BY_CLIENT:
            raise ValueError(
                f"a client chooses what stands in scope[{scope[0]!r}]; name what your middleware puts there"
            )
        if any(key.startswith("_") for key in scope[1:]):
            raise ValueError("a key that begins with an underscore is not looked at")
        return scope

    @model_validator(mode="after")
    def _order_is_whole(self) -> Self:
        if len(set(self.order)) != len(self.order):
            raise ValueError("a source stands twice in `order`; remove one")
        every = self.model_copy(update={"order": tuple(Source)}).configured
        left_out = [source.value for source in every if source not in self.order]
        if left_out:
            off = "set `user: false`" if left_out[0] == "user" else f"remove `{left_out[0]}`"
            raise ValueError(f"`order` leaves out {left_out[0]}, which is set up; add it, or {off}")
        return self
