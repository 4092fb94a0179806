"""A request as bytes, so that what a moderator approved is what the application gets, to the byte.

Everything a server puts into a scope is kept as it came: decoded and raw path, query, every header field with its
repetitions and order. Nothing is parsed and put together again, so `/a/../b` does not become `/b`.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from feedback_guard.errors import GuardError
from feedback_guard.middleware.interface import Scope

VERSION: Final = 1
"""Version of the serialisation; a reader refuses any other."""


class EnvelopeError(GuardError):
    """Kept bytes that are not a request of this version."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """One HTTP request.

    Parameters
    ----------
    method, scheme, http_version, path, root_path
        As in the scope; `path` is decoded.
    raw_path
        The path as it was sent; None where the server does not say.
    query_string
        As it was sent.
    headers
        Every field, in order, names in lower case.
    client, server
        Address and port (or socket path and None); None where unknown.
    body
        The whole body.
    stripped
        Names of header fields that carried credentials and are not in `headers`, in lower case.
    mount
        The `root_path` that the guard saw, if it stands below a mount that had moved the prefix there.
    """

    method: str
    scheme: str
    http_version: str
    path: str
    raw_path: bytes | None
    query_string: bytes
    root_path: str
    headers: tuple[tuple[bytes, bytes], ...]
    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    body: bytes
    stripped: tuple[str, ...] = ()
    mount: str | None = None

    @classmethod
    def of(cls, scope: Scope, headers: list[tuple[bytes, bytes]], body: bytes) -> Envelope:
        """Make one from a scope.

        Parameters
        ----------
        scope
            As it reached the guard.
        headers
            The fields as the application is to get them, framed for `body`.
        body
            The whole body.
        """
        client, server = scope.get("client"), scope.get("server")
        seen, outside = scope.get("root_path", ""), scope.get("app_root_path")
        return cls(
            method=scope["method"],
            scheme=scope.get("scheme", "http"),
            http_version=scope.get("http_version", "1.1"),
            path=scope["path"],
            raw_path=scope.get("raw_path"),
            query_string=scope.get("query_string", b""),
            # Starlette's Mount moves the prefix into root_path and remembers the original: a replay begins outside.
            root_path=seen if outside is None else outside,
            mount=seen if outside is not None and seen != outside else None,
            headers=tuple((bytes(name), bytes(value)) for name, value in headers),
            client=(client[0], client[1]) if client else None,
            server=(server[0], server[1]) if server else None,
            body=body,
        )

    def to_bytes(self) -> bytes:
        r"""Serialise: JSON, byte strings in base64.

        Examples
        --------
        >>> scope = {"method": "POST", "path": "/f", "raw_path": b"/%66", "query_string": b"q=%20"}
        >>> kept = Envelope.of(scope, [(b"x-name", b"\xe9")], b"{}").to_bytes()
        >>> Envelope.from_bytes(kept).raw_path
        b'/%66'
        """
        value: dict[str, Any] = {
            "version": VERSION,
            "method": self.method,
            "scheme": self.scheme,
            "http_version": self.http_version,
            "path": self.path,
            "raw_path": None if self.raw_path is None else _text(self.raw_path),
            "query_string": _text(self.query_string),
            "root_path": self.root_path,
            "headers": [[_text(name), _text(value)] for name, value in self.headers],
            "client": self.client,
            "server": self.server,
            "body": _text(self.body),
        }
        if self.mount is not None:
            value["mount"] = self.mount
        if self.stripped:
            value["stripped"] = self.stripped
        return json.dumps(value, separators=(",", ":")).encode("ascii")

    @classmethod
    def from_bytes(cls, data: bytes) -> Envelope:
        """Read what `to_bytes` wrote.

        Raises
        ------
        EnvelopeError
            If the bytes are something else, or of another version.
        """
        try:
            value: dict[str, Any] = json.loads(data)
            if value["version"] != VERSION:
                raise EnvelopeError(f"a kept request has version {value['version']!r}; this program reads {VERSION}")
            raw_path, client, server = value["raw_path"], value["client"], value["server"]
            return cls(
                method=value["method"],
                scheme=value["scheme"],
                http_version=value["http_version"],
                path=value["path"],
                raw_path=None if raw_path is None else _bytes(raw_path),
                query_string=_bytes(value["query_string"]),
                root_path=value["root_path"],
                headers=tuple((_bytes(name), _bytes(text)) for name, text in value["headers"]),
                client=(client[0], client[1]) if client else None,
                server=(server[0], server[1]) if server else None,
                body=_bytes(value["body"]),
                mount=value.get("mount"),
                stripped=tuple(str(name) for name in value.get("stripped", ())),
            )
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise EnvelopeError(f"a kept request cannot be read ({type(error).__name__}); was it altered?") from None

    @property
    def path_outside(self) -> str:
        """The decoded path at the outermost application.

        A mount, such as Litestar's, may have taken its prefix off the path before the guard saw it; the raw path
        still has it.
        """
        if self.raw_path is None:
            return self.path
        sent = unquote_to_bytes(self.raw_path).decode("utf-8", "replace")
        return self.path if self.path in {sent, self.root_path + sent} else sent

    def scope(self) -> Scope:
        """Make a fresh scope of it, without `state`, `app` and what routing adds."""
        scope: Scope = {
            "type": "http",
            # 2.3: an application that streams watches `receive` for a disconnect, and there is one at the end.
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "method": self.method,
            "scheme": self.scheme,
            "http_version": self.http_version,
            "path": self.path,
            "query_string": self.query_string,
            "root_path": self.root_path,
            "headers": list(self.headers),
            "client": self.client,
            "server": self.server,
        }
        if self.raw_path is not None:
            scope["raw_path"] = self.raw_path
        return scope


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
