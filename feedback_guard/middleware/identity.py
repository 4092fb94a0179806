"""Who the contributor is: from authentication, or from a proxy of the operator's, never from the body.

A header is believed only when the connection itself comes from a trusted hop. `scope["client"]` is what the server
says the connection is; a server that rewrites it from `X-Forwarded-For` takes this knowledge away (uvicorn does by
default for local proxies, and then gives port 0, which no connection has: such an address is never a trusted hop).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final
from uuid import UUID

from feedback_guard import settings
from feedback_guard.errors import PolicyError
from feedback_guard.middleware.interface import Scope
from feedback_guard.middleware.replies import bad_input
from feedback_guard.policy.identity import IdentityPolicy, TrustedHops

log = logging.getLogger(__name__)

ANONYMOUS: Final = "(anonymous)"
"""Contributor of whatever comes without one. Nobody can be named so by authentication."""
NETWORK_GROUP: Final = "network"
_UNIX: Final = "unix"
_USER_ATTRIBUTES: Final = ("identity", "username", "display_name")

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever offers a contribution.

    Parameters
    ----------
    contributor
        Byte-exact: neither case nor spaces nor Unicode form are changed. Header bytes stand as latin-1.
    groups
        Wider principals, by name.
    anonymous
        True when nobody is named.
    """

    contributor: str
    groups: Mapping[str, str] = field(default_factory=dict)
    anonymous: bool = False


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
        return _identifier(values[0].decode("latin-1")) if values and values[0] else None


class Identifier:
    """Finds the principal of a request.

    Parameters
    ----------
    policy
        Where to look.

    Raises
    ------
    PolicyError
        If the groups cannot all be kept.

    Examples
    --------
    >>> who = Identifier(IdentityPolicy(header={"header": "X-User", "hops": ["10.0.0.0/8"]}))
    >>> scope = {"headers": [(b"x-user", b"ada")], "client": ("10.1.2.3", 50_000)}
    >>> who.identify(scope).contributor
    'ada'
    """

    def __init__(self, policy: IdentityPolicy) -> None:
        self._policy = policy
        self._header = _Hop(policy.header) if policy.header is not None else None
        self._groups = {name: _Hop(hops) for name, hops in policy.groups.items()}
        self._warned = False
        if policy.network_group and NETWORK_GROUP in self._groups:
            raise PolicyError(
                "identity: groups: the name 'network' is taken by network_group; rename the group, or switch "
                "network_group off"
            )
        if len(self._groups) + policy.network_group > settings.MAX_GROUPS:
            raise PolicyError(
                f"identity: groups: a contribution keeps at most {settings.MAX_GROUPS} groups, the network included; "
                "remove a group, or switch network_group off"
            )

    def identify(self, scope: Scope) -> Principal:
        """Find the principal of a request.

        Raises
        ------
        BadInputError
            400 if a trusted header stands twice; 401 if nobody is named and the policy refuses that, or the name
            cannot be kept.
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
        contributor = self._from_header(scope, address)
        if contributor is None and self._policy.user:
            contributor = _from_user(scope.get("user"))
        if contributor is not None:
            return Principal(contributor, groups)
        if self._policy.missing == "refuse":
            raise bad_input(401, "no_contributor", "Sign in: contributions are taken from identified users only.")
        return Principal(ANONYMOUS, groups, anonymous=True)

    def _from_header(self, scope: Scope, address: Address | None) -> str | None:
        if self._header is None:
            return None
        if self._header.trusts(scope, address):
            return self._header.value(scope)
        if not self._warned and self._header.sent(scope):
            self._warned = True  # once for each process: a client could fill the log otherwise
            log.warning(
                "the header %s came from a connection that is not among the trusted hops, and is ignored; if it came "
                "through a proxy of yours, check identity.header.hops, and that the server does not rewrite the "
                "client's address (uvicorn: --no-proxy-headers)",
                self._header.header,
            )
        return None


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
        return str(IPv4Network((int(address) >> 8 << 8, 24)))
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
        if isinstance(value, str | int | UUID) and not isinstance(value, bool) and str(value):
            return _identifier(str(value))
    return None


def _identifier(value: str) -> str:
    if len(value) > settings.MAX_ID_CHARS:
        raise bad_input(
            401, "bad_identity", f"The contributor's name is longer than {settings.MAX_ID_CHARS} characters."
        )
    if value == ANONYMOUS or "\x00" in value or not _encodes(value):
        raise bad_input(401, "bad_identity", "The contributor's name cannot be kept.")
    return value


def _encodes(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
