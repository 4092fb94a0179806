"""Against requests that another site makes a moderator's browser send.

Three defences stand behind one another. The session cookie is `SameSite=Strict`. Every request that changes something
must come from this origin, by `Sec-Fetch-Site` or else by `Origin` (Fetch Metadata; RFC 6454). Every form carries a
token that is bound to the session and to what the form does, so that a token for one item is worth nothing for
another.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers

_OWN_SITE: Final = frozenset({"same-origin", "none"})


def cross_site(headers: Headers, *, https_only: bool) -> str | None:
    """Why a request that changes something is refused as coming from elsewhere; None when it comes from here.

    Parameters
    ----------
    headers
        Of the request. A header that stands twice counts by its worst value.
    https_only
        True refuses an `http:` origin, except localhost.
    """
    sites = headers.getlist("sec-fetch-site")
    if sites:
        # `same-site` is refused: a sibling sub-domain is somebody else. `none` is the person's own doing
        # (a reload, a bookmark).
        foreign = [site for site in sites if site not in _OWN_SITE]
        return f"Sec-Fetch-Site says {foreign[0][:32]!r}" if foreign else None
    origins = headers.getlist("origin")
    if not origins:
        # Every current browser sends one of the two with a POST. A program has no business with cookies: it sends
        # a Bearer token.
        return "it names neither Sec-Fetch-Site nor Origin"
    hosts = headers.getlist("host")
    if len(hosts) != 1:
        return "it names no Host, or several"
    for origin in origins:
        if not _same_origin(origin, hosts[0], https_only=https_only):
            return "its Origin is another site"
    return None


def _same_origin(origin: str, host: str, *, https_only: bool) -> bool:
    """Compare an Origin with the Host.

    The scheme is not known behind a proxy that ends TLS, so it is checked on its own.
    """
    try:
        parts = urlsplit(origin)
        name = parts.hostname
    except ValueError:
        return False
    if parts.scheme not in ("https", "http") or parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        return False
    if parts.scheme == "http" and https_only and name not in ("localhost", "127.0.0.1", "::1"):
        return False
    default = ":443" if parts.scheme == "https" else ":80"
    return parts.netloc.lower().removesuffix(default) == host.lower().removesuffix(default)


def token(key: bytes, purpose: str) -> str:
    """The token of a form.

    Parameters
    ----------
    key
        Secret of the session, which only the cookie carries.
    purpose
        What the form does, to what; a token serves for nothing else.

    Examples
    --------
    >>> token(b"k", "logout") == token(b"k", "logout"), token(b"k", "a") == token(b"k", "b")
    (True, False)
    """
    return hmac.new(key, b"feedback-guard review\0" + purpose.encode(), hashlib.sha256).hexdigest()


def matches(key: bytes, purpose: str, offered: str) -> bool:
    """Whether a form's token is the one for this session and purpose, in constant time."""
    return hmac.compare_digest(token(key, purpose).encode(), offered.encode("utf-8", "replace"))
