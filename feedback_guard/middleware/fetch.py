"""Fetches one small document from an address that the policy fixes: no redirect, no more than so much, in no more time.

A client of a few lines instead of a library's: whatever it does not do, such as following a redirect, asking a proxy
that an environment variable names, or inflating a body, cannot be made to happen.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Final
from urllib.parse import urlsplit

import h11

from feedback_guard.errors import IdentityError

_CHUNK: Final = 65_536
_MAX_HEAD: Final = 65_536


async def fetch(url: str, *, max_bytes: int, timeout_seconds: float) -> bytes:
    """Fetch a document with GET.

    Parameters
    ----------
    url
        http or https, checked by the policy.
    max_bytes
        Largest document, in bytes.
    timeout_seconds
        For everything together: the name, the connection, TLS, the answer.

    Raises
    ------
    IdentityError
        If there is no answer in time, its status is not 200, it is compressed or too large.
    """
    host = urlsplit(url).netloc
    try:
        async with asyncio.timeout(timeout_seconds):
            return await _get(url, max_bytes)
    except TimeoutError:
        raise IdentityError(f"{host} did not answer within {timeout_seconds:g} s") from None
    except (OSError, h11.ProtocolError) as error:
        # Neither the message of a TLS error nor that of a socket says anything of a client.
        raise IdentityError(f"{host} cannot be asked: {type(error).__name__}: {error}") from None


async def _get(url: str, max_bytes: int) -> bytes:
    parts = urlsplit(url)
    host = parts.hostname or ""
    context = await asyncio.to_thread(ssl.create_default_context) if parts.scheme == "https" else None
    port = parts.port or (443 if context else 80)
    reader, writer = await asyncio.open_connection(host, port, ssl=context, limit=_CHUNK)
    try:
        return await _exchange(reader, writer, parts.netloc, (parts.path or "/") + _query(parts.query), max_bytes)
    finally:
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1.0):
                await writer.wait_closed()


def _query(query: str) -> str:
    return f"?{query}" if query else ""


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, netloc: str, target: str, max_bytes: int
) -> bytes:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
    fields = [
        ("Host", netloc),
        ("Accept", "application/json, application/jwk-set+json"),
        ("Accept-Encoding", "identity"),
        ("User-Agent", "feedback-guard"),
        ("Connection", "close"),
    ]
    request = connection.send(h11.Request(method="GET", target=target, headers=fields))
    writer.write((request or b"") + (connection.send(h11.EndOfMessage()) or b""))
    await writer.drain()
    found = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_CHUNK))
        elif isinstance(event, h11.Response):
            _check(event, netloc)
        elif isinstance(event, h11.Data):
            found += event.data
            if len(found) > max_bytes:
                raise IdentityError(f"{netloc} answered with more than {max_bytes} bytes")
        elif isinstance(event, h11.EndOfMessage):
            return bytes(found)
        elif not isinstance(event, h11.InformationalResponse):
            raise IdentityError(f"{netloc} did not answer")


def _check(response: h11.Response, netloc: str) -> None:
    if response.status_code != 200:
        moved = "; redirects are not followed, name the last address" if 300 <= response.status_code < 400 else ""
        raise IdentityError(f"{netloc} answered {response.status_code}{moved}")
    for name, value in response.headers:
        if name == b"content-encoding" and value.strip().lower() not in {b"", b"identity"}:
            raise IdentityError(f"{netloc} answered with a compressed body")
