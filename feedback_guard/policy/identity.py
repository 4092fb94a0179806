"""The part of the policy that says who the contributor is."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Literal

from pydantic import Field, field_validator

from feedback_guard import settings
from feedback_guard.policy.base import Name, Strict


class TrustedHops(Strict):
    """A contributor named by a header, believed only when the connection comes from a proxy of yours."""

    header: str = Field(pattern=r"^[A-Za-z0-9-]{1,64}$")
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


class IdentityPolicy(Strict):
    """Who the contributor is. It never comes from the body."""

    user: bool = True
    """Take the contributor from `scope["user"]` as authentication middleware sets it (attributes `identity`, then
    `username`, then `display_name`), if it is authenticated."""
    header: TrustedHops | None = None
    """Take the contributor from a header that a trusted proxy sets. Looked at before `scope["user"]`."""
    groups: dict[Name, TrustedHops] = Field(default_factory=dict, max_length=settings.MAX_GROUPS)
    """Groups of the contributor, each from a header that a trusted proxy sets."""
    network_group: bool = True
    """Adds the group `network`: the connection's /24 (IPv4) or /48 (IPv6), as the server sees it."""
    missing: Literal["refuse", "anonymous"] = "refuse"
    """Without a contributor: `refuse` answers 401, `anonymous` charges the one budget that all such share."""
