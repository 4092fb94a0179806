"""Who the contributor is: from authentication, or from a proxy of the operator's, never from the body.

The sources are asked in the policy's order, and the first that names somebody decides. One that was given something
that is not good, such as an expired token, refuses; there is no falling back to another.

A header is believed only when the connection itself comes from a trusted hop. `scope["client"]` is what the server
says the connection is; a server that rewrites it from `X-Forwarded-For` takes this knowledge away (uvicorn does by
default for local proxies, and then gives port 0, which no connection has: such an address is never a trusted hop).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final, Protocol

from feedback_guard import settings
from feedback_guard.contribution import ANONYMOUS
from feedback_guard.errors import PolicyError
from feedback_guard.middleware.interface import Scope
from feedback_guard.middleware.principal import Principal, as_name, checked
from feedback_guard.middleware.replies import BadInputError, Problem, bad_input
from feedback_guard.policy.identity import IdentityPolicy, Source, TrustedHops

log = logging.getLogger(__name__)

NETWORK_GROUP: Final = "network"
_UNIX: Final = "unix"
_USER_ATTRIBUTES: Final = ("identity", "username", "display_name")

Address = IPv4Address | IPv6Address


class _Hop:
    """A header and the connections that may set it."""

    def __init__(self, policy: TrustedHops) -> None:
        self.header = policy.header
        self._name = policy.header.lower().encode("ascii")
        self._unix = _UNIX in policy.hops
        self._networks: tuple[IPv4Network | IPv6Network, ...] = tuple(
            ip_network(hop) for hop in policy.hops if hop != _UNIX
        )

    def trusts(self, scope: Scope, address: Address | None) -> bool:
        client = scope.get("client")
        if not client:
            server = scope.get("server")
            # A TCP server may fail to name a peer that has already gone; a Unix socket's server has no port.
            return self._unix and (not server or server[1] is None)
        if address is None or not client[1]:
            return False
        return any(address in network for network in self._networks)

    def sent(self, scope: Scope) -> bool:
        return any(name == self._name for name, _ in scope["headers"])

    def value(self, scope: Scope) -> str | None:
        """The value that a trusted hop set; None if it is absent or empty."""
        values = [value for name, value in scope["headers"] if name == self._name]
        if len(values) > 1:
            raise bad_input(400, "ambiguous_identity", f"The header {self.header} stands more than once.")
        return checked(values[0].decode("latin-1")) if values and values[0] else None


class Named(Protocol):
    """A source that names contributors."""

    async def find(self, scope: Scope) -> Principal | None:
        """The contributor, with groups that this source knows; None if it names nobody.

        Raises
        ------
        BadInputError
            If what the client sent to name itself is not good.
        IdentityError
            If it cannot be found out now.
        """


class Identifier:
    """Finds the principal of a request.

    Parameters
    ----------
    policy
        Where to look, and in which order.
    sources
        Those that are set up elsewhere: `jwt` and `callable`.

    Raises
    ------
    PolicyError
        If the groups cannot all be kept.

    Examples
    --------
    >>> import asyncio
    >>> who = Identifier(IdentityPolicy(header={"header": "X-User", "hops": ["10.0.0.0/8"]}))
    >>> scope = {"headers": [(b"x-user", b"ada")], "client": ("10.1.2.3", 50_000)}
    >>> asyncio.run(who.identify(scope)).contributor
    'ada'
    """

    def __init__(self, policy: IdentityPolicy, sources: Mapping[Source, Named] | None = None) -> None:
        self._policy = policy
        self._groups = {name: _Hop(hops) for name, hops in policy.groups.items()}
        check_groups(policy)
        known: dict[Source, Named] = dict(sources or {})
        if policy.header is not None:
            known[Source.HEADER] = _Header(_Hop(policy.header))
        if policy.scope:
            known[Source.SCOPE] = _InScope(policy.scope)
        known[Source.USER] = _User()
        self._sources = tuple(known[source] for source in policy.configured)
        self._warned = False

    async def identify(self, scope: Scope) -> Principal:
        """Find the principal of a request.

        Raises
        ------
        BadInputError
            400 if a trusted header stands twice; 401 if nobody is named and the policy refuses that, the name cannot
            be kept, or a token is not good.
        IdentityError
            If it cannot be found out now.
        """
        address = peer_address(scope)
        groups: dict[str, str] = {}
        for name, hop in self._groups.items():
            value = hop.value(scope) if hop.trusts(scope, address) else None
            if value is not None:
                groups[name] = value
        if self._policy.network_group:
            network = network_of(address)
            if network is not None:
                groups[NETWORK_GROUP] = network
        for source in self._sources:
            found = await source.find(scope)
            if found is not None:
                return Principal(found.contributor, {**found.groups, **groups})
        self._warn_if_nobody_ever(scope)
        if self._policy.missing == "refuse":
            raise _nobody(bearer=self._policy.jwt is not None)
        return Principal(ANONYMOUS, groups, anonymous=True)

    def _warn_if_nobody_ever(self, scope: Scope) -> None:
        """Say once that no client can be named, because nothing around the guard puts a name where it looks."""
        keys = [getattr(source, "key", None) for source in self._sources]
        if self._warned or not keys or any(key is None or key in scope for key in keys):
            return
        self._warned = True
        log.warning(
            "a request names nobody, and is %s: the guard looks for contributors in %s, which nothing around it has "
            "set; if that is so for every request, put the guard further in than your authentication middleware, or "
            "say under `identity` in the policy where the name comes from",
            "refused with 401" if self._policy.missing == "refuse" else "taken as anonymous",
            " and ".join(f"scope[{key!r}]" for key in keys),
        )


class _Header:
    """A header that a trusted hop sets."""

    def __init__(self, hop: _Hop) -> None:
        self._hop = hop
        self._warned = False

    async def find(self, scope: Scope) -> Principal | None:
        if self._hop.trusts(scope, peer_address(scope)):
            value = self._hop.value(scope)
            return None if value is None else Principal(value)
        if not self._warned and self._hop.sent(scope):
            self._warned = True  # once for each process: a client could fill the log otherwise
            log.warning(
                "the header %s came from a connection that is not among the trusted hops, and is ignored; if it came "
                "through a proxy of yours, check identity.header.hops, and that the server does not rewrite the "
                "client's address (uvicorn: --no-proxy-headers)",
                self._hop.header,
            )
        return None


class _User:
    """`scope["user"]`, as authentication middleware sets it."""

    key: Final = "user"

    async def find(self, scope: Scope) -> Principal | None:
        name = _from_user(scope.get("user"))
        return None if name is None else Principal(name)


class _InScope:
    """What middleware further out put into the scope."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        self._keys = keys
        self.key = keys[0]

    async def find(self, scope: Scope) -> Principal | None:
        value: Any = scope
        for key in self._keys:
            value = value.get(key) if isinstance(value, Mapping) else getattr(value, key, None)
            if value is None:
                return None
        name = as_name(value)
        return None if name is None else Principal(name)


def _nobody(*, bearer: bool) -> BadInputError:
    return BadInputError(
        Problem(
            401,
            "no_contributor",
            "Sign in: contributions are taken from identified users only.",
            headers=((b"www-authenticate", b"Bearer"),) if bearer else (),
        )
    )


def check_groups(policy: IdentityPolicy) -> None:
    """Make sure that a contribution can keep the groups of all sources.

    Raises
    ------
    PolicyError
        If there are too many, or two of one name.
    """
    names = policy.group_names
    if policy.network_group and names.count(NETWORK_GROUP) > 1:
        raise PolicyError(
            "identity: groups: the name 'network' is taken by network_group; rename the group, or switch network_group "
            "off"
        )
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise PolicyError(f"identity: groups: two sources set the group {twice!r}; rename one of them")
    if len(names) > settings.MAX_GROUPS:
        raise PolicyError(
            f"identity: groups: a contribution keeps at most {settings.MAX_GROUPS} groups, the network included; "
            "remove a group, or switch network_group off"
        )


def peer_address(scope: Scope) -> Address | None:
    """Return the address of the connection; None where there is none. IPv4 within IPv6 becomes IPv4."""
    client = scope.get("client")
    if not client:
        return None
    try:
        address = ip_address(client[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def network_of(address: Address | None) -> str | None:
    """Return the /24 (IPv4) or /48 (IPv6) of an address.

    Examples
    --------
    >>> network_of(ip_address("203.0.113.77"))
    '203.0.113.0/24'
    """
    if address is None:
        return None
    if isinstance(address, IPv4Address):
        return f"{str(address).rpartition('.')[0]}.0/24"
    return str(IPv6Network((int(address) >> 80 << 80, 48)))


def _from_user(user: Any) -> str | None:
    """Read `scope["user"]` as authentication middleware sets it; None unless it is authenticated."""
    authenticated = getattr(user, "is_authenticated", None)
    if callable(authenticated):
        authenticated = authenticated()
    if authenticated is not True:
        return None
    for name in _USER_ATTRIBUTES:
        try:
            value = getattr(user, name, None)
        except NotImplementedError:  # Starlette's BaseUser has all three; a subclass may give only one of them
            continue
        found = as_name(value)
        if found is not None:
            return found
    return None
