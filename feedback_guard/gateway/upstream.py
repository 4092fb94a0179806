"""The one application that a gateway stands in front of. Only the operator names it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final, Literal, Self, cast

from feedback_guard.errors import UsageError

_URL: Final = re.compile(r"(https?)://(?:([A-Za-z0-9._-]{1,253})|\[([0-9A-Fa-f:.]{2,45})\])(?::(\d{1,5}))?/?")
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where requests go.

    Parameters
    ----------
    scheme
        `http` or `https`.
    host
        A name or an address.
    port
        TCP port.
    """

    scheme: Literal["http", "https"]
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read a URL that has a scheme, a host and perhaps a port, and nothing else.

        A path is refused: the gateway passes paths on as they came, so there is nothing to put one before.

        Raises
        ------
        UsageError
            If it is anything else.

        Examples
        --------
        >>> Upstream.parse("http://127.0.0.1:5000").port
        5000
        >>> Upstream.parse("https://[2001:db8::1]").authority
        b'[2001:db8::1]'
        """
        match = _URL.fullmatch(url)
        port = int(match[4]) if match and match[4] else None
        if match is None or port == 0 or (port or 1) > 65_535 or (match[3] and not _is_ipv6(match[3])):
            raise UsageError(
                f"--upstream {url!r} is not `http://HOST:PORT` or `https://HOST:PORT`; it takes no path, query or "
                "credentials"
            )
        scheme = cast('Literal["http", "https"]', match[1])
        return cls(scheme, match[2] or match[3], port or _PORTS[scheme])

    @property
    def authority(self) -> bytes:
        """As a Host field has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}").encode("ascii")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority.decode('ascii')}"


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True
