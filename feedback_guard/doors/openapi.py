"""Reads an OpenAPI document: from a file, from an address of this machine, or from the application itself."""

from __future__ import annotations

import asyncio
import http.client
import json
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from feedback_guard.doors.interface import Doors
from feedback_guard.errors import UsageError

MAX_BYTES: Final = 16 * 1024 * 1024
"""Largest document, in bytes."""
TIMEOUT_SECONDS: Final = 10.0
"""How long a server, or an application, may take to give it."""
USUAL_PATHS: Final = ("/openapi.json", "/schema/openapi.json", "/api/openapi.json", "/docs/openapi.json")
"""Where applications usually have it."""


def doors_in(document: Any, where: str) -> Doors:
    """List the writing routes in a document.

    Paths are as in the document: a prefix of `servers` is a proxy's, or what a policy leaves out as `root_path`.

    Raises
    ------
    UsageError
        If it is no OpenAPI document.

    Examples
    --------
    >>> document = {"openapi": "3.1.0", "paths": {"/items/{id}": {"get": {}, "put": {}}}}
    >>> [str(door) for door in doors_in(document, "here").doors]
    ['PUT /items/{id}']
    """
    version = isinstance(document, dict) and (document.get("openapi") or document.get("swagger"))
    paths = document.get("paths", {}) if version else None
    if not isinstance(paths, dict):
        raise UsageError(f"{where} is no OpenAPI document: it has no `openapi` with `paths`")
    found = Doors()
    base = document.get("basePath")
    prefix = base.rstrip("/") if isinstance(base, str) else ""
    for path, item in paths.items():
        if not isinstance(item, dict) or not str(path).startswith("/"):
            raise UsageError(f"{where}: paths: {path!r} is not a path with its operations")
        if "$ref" in item:
            found.dark[prefix + str(path)] = "its operations stand in another document"
        found.add([name for name in item if isinstance(name, str)], prefix + str(path))
    return found


def load(source: str) -> Doors:
    """Read a document from a file (JSON or YAML) or from an address of this machine.

    Raises
    ------
    UsageError
        If it cannot be read, is too large, or the address is another machine's.
    """
    if source.startswith(("http://", "https://")):
        return doors_in(_parse(_fetch(source), source), source)
    try:
        with Path(source).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{source} cannot be read: {error.strerror}") from None
    return doors_in(_parse(data, source), source)


def _parse(data: bytes, where: str) -> Any:
    if len(data) > MAX_BYTES:
        raise UsageError(f"{where} is larger than {MAX_BYTES} bytes")
    try:
        if data.lstrip()[:1] == b"{":
            return json.loads(data)
        import yaml

        return yaml.load(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where} is not JSON: {error}") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{where} is neither JSON nor YAML: {str(error).splitlines()[0]}") from None


def _fetch(url: str) -> bytes:
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        local = host == "localhost" or ip_address(host).is_loopback
        port = parts.port
    except ValueError:
        local, port = False, None
    if not local:
        raise UsageError(f"{url}: only an address of this machine is asked; save the document to a file, and name that")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(host, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        answer = connection.getresponse()
        if answer.status != 200:
            raise UsageError(f"{url} answers {answer.status}; name the address of the OpenAPI document itself")
        return answer.read(MAX_BYTES + 1)
    except (OSError, http.client.HTTPException) as error:
        raise UsageError(f"{url} cannot be read: {str(error) or type(error).__name__}") from None
    finally:
        connection.close()


def ask(app: Any) -> Doors | None:
    """Ask an application for its document where applications usually have it; None if there is none."""
    for path in USUAL_PATHS:
        data = asyncio.run(_ask(app, path))
        if data is not None:
            try:
                return doors_in(_parse(data, path), path)
            except UsageError:
                continue
    return None


async def _ask(app: Any, path: str) -> bytes | None:
    status, body, waiting = 0, bytearray(), [{"type": "http.request", "body": b"", "more_body": False}]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
    }

    async def receive() -> dict[str, Any]:
        return waiting.pop() if waiting else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)
        body.extend(message.get("body", b"")[: MAX_BYTES + 1 - len(body)])

    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await app(scope, receive, send)
    except Exception:  # noqa: BLE001 - whatever an application that was not started does, it has no document to give
        return None
    return bytes(body) if status == 200 else None
