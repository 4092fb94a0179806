"""Which header fields go through, and what the gateway says of the connection they came by.

======================================  ==================================================================
field of the request                    what the upstream gets
======================================  ==================================================================
hop by hop, or named by `Connection`    nothing; a request that so names a field that carries meaning is refused
`Host`                                  the client's, or the one that the operator set
`X-Forwarded-For`, `-Host`, `-Proto`,   what the connection says; only after a trusted proxy is the client's own
`X-Real-IP`, `Forwarded`                account kept, and added to
`X-Forwarded-Port`, `-Prefix`, …        the client's after a trusted proxy, else nothing
`X-Original-URL`, `X-Rewrite-URL`       nothing: they name another path than the one that was judged
a header that names the contributor     the client's from one of the policy's hops, else nothing
`Feedback-Guard`, `Feedback-Guard-…`    the verdicts, and whose request is replayed; never the client's
any other                               the same bytes, in the same order, as often
======================================  ==================================================================

Fields that imitate one of these with `_` for `-` are treated as if they were it: CGI and WSGI read both alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from feedback_guard.errors import UsageError
from feedback_guard.gateway.upstream import Upstream
from feedback_guard.gateway.wire import Headers, is_host
from feedback_guard.middleware.identity import peer_address
from feedback_guard.middleware.interface import STATE_KEY, Scope
from feedback_guard.middleware.replayed import REPLAY_KEY, Replay
from feedback_guard.middleware.replies import bad_input
from feedback_guard.policy.identity import IdentityPolicy, TrustedHops
from feedback_guard.verdict import Verdict

Network = IPv4Network | IPv6Network

_HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"expect",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    }
)
_SET_HERE: Final = frozenset(
    {b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip", b"forwarded"}
)
_OF_A_PROXY: Final = frozenset(
    {b"x-forwarded-port", b"x-forwarded-prefix", b"x-forwarded-server", b"x-forwarded-ssl", b"x-forwarded-scheme"}
)
_OTHER_PATHS: Final = frozenset({b"x-original-url", b"x-rewrite-url"})
_MAY_BE_NAMED: Final = frozenset(
    {b"close", b"keep-alive", b"upgrade", b"http2-settings", b"te", b"trailer", b"trailers"}
)
_VIA: Final = b"1.1 feedback-guard"
_VERDICTS: Final = b"feedback-guard"
"""Field with the verdicts on a judged request, in the order of its contributions."""
_REPLAY: Final = b"feedback-guard-replay"
"""Field that says of a replayed request which it is, and whose."""


@dataclass(frozen=True, slots=True)
class Forwarder:
    """Makes the header fields of both directions.

    Parameters
    ----------
    upstream
        Where requests go.
    host
        Sent as Host instead of the client's; None passes the client's on.
    trusted
        The operator's own proxies, whose account of the client is kept.
    identities
        Headers that name the contributor, by name in lower case, and the networks they are believed from.
    unix
        Names of those headers that are believed from a Unix socket.
    """

    upstream: Upstream
    host: bytes | None
    trusted: tuple[Network, ...]
    identities: Mapping[bytes, tuple[Network, ...]]
    unix: frozenset[bytes]

    @classmethod
    def of(
        cls, upstream: Upstream, identity: IdentityPolicy, *, host: str | None = None, trusted: Iterable[str] = ()
    ) -> Forwarder:
        """Make one from what the operator wrote.

        Raises
        ------
        UsageError
            If a trusted proxy is neither an address nor a network, or the host is none.
        """
        if host is not None and not (host.isascii() and is_host(host.encode("ascii"))):
            raise UsageError(f"--host-header {host!r} is not a host")
        hops: list[TrustedHops] = [*([identity.header] if identity.header else []), *identity.groups.values()]
        identities: dict[bytes, tuple[Network, ...]] = {}
        for hop in hops:
            name = _dashes(hop.header.lower().encode("ascii"))
            networks = tuple(ip_network(one) for one in hop.hops if one != "unix")
            identities[name] = identities.get(name, ()) + networks
        return cls(
            upstream=upstream,
            host=host.encode("ascii") if host is not None else None,
            trusted=tuple(_network(one) for one in trusted),
            identities=identities,
            unix=frozenset(_dashes(hop.header.lower().encode("ascii")) for hop in hops if "unix" in hop.hops),
        )

    def request(self, scope: Scope) -> Headers:
        """Make the fields for the upstream, without those that frame the body."""
        given: Headers = list(scope["headers"])
        named = _named(given)
        trusted = self._is_from(scope, self.trusted)
        fields: Headers = []
        for name, value in given:
            alike = _dashes(name)
            if (
                alike in _HOP_BY_HOP
                or name in named
                or alike in _OTHER_PATHS
                or alike == _VERDICTS
                or alike.startswith(_VERDICTS + b"-")
                or name in {b"host", b"content-length"}
                or (alike in _SET_HERE and (not trusted or alike != name))
                or (alike in _OF_A_PROXY and (not trusted or alike != name))
                or (alike in self.identities and not self._believed(alike, name, scope))
            ):
                continue
            fields.append((name, value))
        host = next((value for name, value in given if name == b"host"), None)
        return [
            (b"host", self.host or host or self.upstream.authority),
            *self._account(fields, scope, host, trusted),
            (b"via", _VIA),
            *_verdicts(scope),
            *_replay(scope),
        ]

    def check(self, scope: Scope) -> None:
        """Look at what `Connection` names.

        Raises
        ------
        BadInputError
            400 if it names a field that carries meaning: without it the upstream would read another request than the
            one that is judged.
        """
        for name in _named(scope["headers"]) - _MAY_BE_NAMED:
            if not (name.startswith(b"x-") and self._is_plain(name)):
                raise bad_input(
                    400, "bad_connection", "Connection names a header field that carries meaning for the application."
                )

    def _is_plain(self, name: bytes) -> bool:
        alike = _dashes(name)
        return alike not in self.identities and alike not in _SET_HERE and alike not in _OF_A_PROXY

    def _believed(self, alike: bytes, name: bytes, scope: Scope) -> bool:
        if name != alike:
            return False
        if not scope.get("client"):
            return alike in self.unix
        return self._is_from(scope, self.identities[alike])

    def _is_from(self, scope: Scope, networks: tuple[Network, ...]) -> bool:
        address = peer_address(scope)
        return address is not None and any(address in network for network in networks)

    def _account(self, fields: Headers, scope: Scope, host: bytes | None, trusted: bool) -> Headers:
        """Add what the connection says of the client."""
        client = scope.get("client")
        peer = str(client[0]).encode("ascii", "replace") if client and client[1] is not None else b"unknown"
        proto = str(scope.get("scheme", "http")).encode("ascii")
        known = {name for name, _ in fields} if trusted else set()
        chain = b", ".join([*(value for name, value in fields if name == b"x-forwarded-for"), peer])
        element = b"for=" + _node(peer) + (b';host="' + host + b'"' if host else b"") + b";proto=" + proto
        elements = b", ".join([*(value for name, value in fields if name == b"forwarded"), element])
        rest = [(name, value) for name, value in fields if name not in {b"x-forwarded-for", b"forwarded"}]
        rest += [(b"x-forwarded-for", chain), (b"forwarded", elements)]
        if b"x-forwarded-proto" not in known:
            rest.append((b"x-forwarded-proto", proto))
        if b"x-forwarded-host" not in known and host:
            rest.append((b"x-forwarded-host", host))
        if b"x-real-ip" not in known:
            rest.append((b"x-real-ip", peer))
        return rest

    @staticmethod
    def response(given: Iterable[tuple[bytes, bytes]]) -> Headers:
        """Keep what is meant for the client of an upstream's fields."""
        fields = [(name, value) for name, value in given]
        lowered = [name.lower() for name, _ in fields]
        dropped = _HOP_BY_HOP | _named(fields)
        # Whoever sends both means the coding; the length alone frames the body, whatever `Connection` says of it.
        length = {b"content-length"}
        dropped = dropped | length if b"transfer-encoding" in lowered else dropped - length
        return [field for name, field in zip(lowered, fields, strict=True) if name not in dropped]


def _named(fields: Iterable[tuple[bytes, bytes]]) -> set[bytes]:
    """What `Connection` names, in lower case."""
    options = [value.lower().split(b",") for name, value in fields if name.lower() == b"connection"]
    return {option.strip() for part in options for option in part} - {b""}


def _verdicts(scope: Scope) -> Headers:
    """What the guard says of each contribution, as a list of tokens with their weights (RFC 9651)."""
    verdicts: Iterable[Verdict] = (scope.get("state") or {}).get(STATE_KEY) or ()
    items = [
        f"{verdict.decision.value};w={verdict.weight:.3f}{';observed' if verdict.observed else ''}"
        for verdict in verdicts
    ]
    return [(_VERDICTS, ", ".join(items).encode("ascii"))] if items else []


def _replay(scope: Scope) -> Headers:
    replay: Replay | None = scope.get(REPLAY_KEY)
    if replay is None:
        return []
    who = f";contributor={display(replay.contributor)}" if replay.contributor is not None else ""
    value = f'"{replay.submission}";route="{replay.route}"{who};attempt={replay.attempt};fence={replay.fence}'
    return [(_REPLAY, value.encode("ascii"))]


def display(text: str) -> str:
    """Write any text as a display string (RFC 9651, section 4.1.11): UTF-8, percent-encoded where it must be.

    Examples
    --------
    >>> display("José 100%")
    '%"Jos%c3%a9 100%25"'
    """
    plain = (chr(byte) if 0x20 <= byte < 0x7F and byte not in b'%"' else f"%{byte:02x}" for byte in text.encode())
    return f'%"{"".join(plain)}"'


def _dashes(name: bytes) -> bytes:
    return name.replace(b"_", b"-")


def _node(peer: bytes) -> bytes:
    """An address as RFC 7239 writes it."""
    return b'"[' + peer + b']"' if b":" in peer else peer


def _network(text: str) -> Network:
    try:
        return ip_network(text.strip())
    except ValueError as error:
        raise UsageError(f"--trusted-proxy {text.strip()!r} is neither an address nor a network: {error}") from None
