"""What a replayed request proves itself with. By default nothing of the client's: credentials are not kept.

At hold time the header fields that carry credentials are taken out of the request. What stands in their place when
it is replayed is the route's decision: nothing, the client's own (kept encrypted), a credential of the operator's, or
one that a function makes for the occasion.
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

from feedback_guard.errors import CredentialError, UsageError
from feedback_guard.middleware.envelope import Envelope
from feedback_guard.middleware.replayed import Replay
from feedback_guard.middleware.traces import place_of
from feedback_guard.policy.replay import CredentialMode
from feedback_guard.policy.routes import RoutePolicy
from feedback_guard.policy.schema import Policy
from feedback_guard.secrets_read import read_secret

Fields = tuple[tuple[bytes, bytes], ...]
MintedFields = Mapping[str, str] | Iterable[tuple[str, str]] | None
CredentialCallable = Callable[[Replay], MintedFields | Awaitable[MintedFields]]
"""From a replay to the header fields that prove who it is, or None if there are none to be had."""

ALWAYS: Final = frozenset({b"authorization", b"cookie", b"proxy-authorization"})
"""Header fields that always carry credentials."""
MINT_SECONDS: Final = 5.0
"""How long a function may take to make a credential."""
MAX_FIELDS: Final = 16
"""Most header fields that a function may return."""
MAX_VALUE_BYTES: Final = 16 * 1024
"""Longest value of one of them, in bytes."""
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")


def take_out(envelope: Envelope, names: frozenset[bytes]) -> tuple[Envelope, bytes | None]:
    """Take the credentials out of a request.

    Parameters
    ----------
    envelope
        The whole request.
    names
        Header fields that carry credentials, in lower case.

    Returns
    -------
    Envelope
        The request without them; it names the fields that are gone.
    bytes or None
        The fields with their places, for `put_back`; None if there were none.
    """
    taken = [(place, *field) for place, field in enumerate(envelope.headers) if field[0].lower() in names]
    if not taken:
        return envelope, None
    left = tuple(field for field in envelope.headers if field[0].lower() not in names)
    gone = tuple(sorted({name.lower().decode("latin-1") for _, name, _ in taken}))
    whole = [[place, _text(name), _text(value)] for place, name, value in taken]
    return replace(envelope, headers=left, stripped=gone), json.dumps(whole, separators=(",", ":")).encode("ascii")


def put_back(envelope: Envelope, taken: bytes) -> Envelope:
    """Make the request whole again, each field in its place.

    Raises
    ------
    CredentialError
        If the bytes are not what `take_out` made.
    """
    headers = list(envelope.headers)
    try:
        for place, name, value in json.loads(taken):
            headers.insert(place, (base64.b64decode(name, validate=True), base64.b64decode(value, validate=True)))
    except (ValueError, TypeError) as error:
        raise CredentialError(f"the kept credentials cannot be read ({type(error).__name__})") from None
    return replace(envelope, headers=tuple(headers), stripped=())


def instead(envelope: Envelope, fields: Fields) -> Envelope:
    """Put header fields into a request, in place of those of the same names."""
    names = {name for name, _ in fields}
    return replace(envelope, headers=(*(field for field in envelope.headers if field[0].lower() not in names), *fields))


class Credentials:
    """Each route's way with credentials.

    Parameters
    ----------
    policy
        What the operator decided.
    callables
        Functions that make a credential, by the route's name.

    Raises
    ------
    UsageError
        If a function is for a route that there is not, or whose policy has another way.
    """

    def __init__(self, policy: Policy, callables: Mapping[str, CredentialCallable]) -> None:
        self._routes = {route.name: route for route in policy.routes}
        token = policy.identity.jwt.header if policy.identity.jwt is not None else None
        named = (*policy.credentials.headers, *([token] if token is not None else []))
        self._names = ALWAYS | {name.lower().encode("ascii") for name in named}
        self._callables = dict(callables)
        self._services: dict[str, Fields] = {}
        for name in self._callables:
            route = self._routes.get(name)
            if route is None:
                known = ", ".join(self._routes) or "none"
                raise UsageError(f"credentials: the policy has no route {name!r}; it has: {known}")
            if route.credentials is not CredentialMode.NONE:
                raise UsageError(
                    f"credentials: the route {name!r} has `credentials: {route.credentials}` in the policy and a"
                    " function here; keep one of them"
                )

    def load(self) -> None:
        """Read what the policy names, so that what is missing is found before the first replay needs it.

        Raises
        ------
        CredentialError
            If a secret is missing, or cannot stand in a header.
        """
        self._services = {
            route.name: _service(route)
            for route in self._routes.values()
            if route.credentials is CredentialMode.SERVICE
        }

    def part(self, envelope: Envelope) -> tuple[Envelope, bytes | None]:
        """The request as it is kept, and the credentials to be encrypted if the route keeps them; see `take_out`."""
        return take_out(envelope, self._names)

    def keeps(self, route: str) -> bool:
        """Whether a route keeps its clients' credentials."""
        return self._routes[route].credentials is CredentialMode.KEEP

    async def prove(self, replay: Replay, envelope: Envelope, kept: Callable[[], bytes | None]) -> Envelope:
        """The request with what it is to prove itself with.

        Parameters
        ----------
        replay
            Which, and whose.
        envelope
            As it was kept.
        kept
            Decrypts the kept credentials; None if there are none.

        Raises
        ------
        CredentialError
            If there are none to be had now. It says why, without any of them.
        """
        route = self._routes.get(replay.route)
        if route is None:
            raise CredentialError(f"the policy has no route {replay.route!r} any more")
        if route.idempotent:
            envelope = instead(envelope, ((b"idempotency-key", replay.idempotency_key.encode("ascii")),))
        if route.credentials is CredentialMode.KEEP:
            taken = kept()
            if taken is None and envelope.stripped:
                raise CredentialError("no credentials are kept for this request")
            return envelope if taken is None else put_back(envelope, taken)
        if route.credentials is CredentialMode.SERVICE:
            # A file may have been rotated since; an environment variable cannot be.
            fields = await asyncio.to_thread(_service, route) if _in_file(route) else self._services[route.name]
            return instead(envelope, fields)
        mint = self._callables.get(route.name)
        return envelope if mint is None else instead(envelope, await _minted(mint, replay))


async def _minted(mint: CredentialCallable, replay: Replay) -> Fields:
    where = f"the function for the route {replay.route!r}"
    try:
        async with asyncio.timeout(MINT_SECONDS):
            # A function that is not a coroutine may take its time: it is kept off the event loop.
            made = await mint(replay) if inspect.iscoroutinefunction(mint) else await asyncio.to_thread(mint, replay)
            if inspect.isawaitable(made):
                made = await made
    except TimeoutError:
        raise CredentialError(f"{where} made no credential within {MINT_SECONDS:g} s") from None
    except CredentialError:
        raise
    except Exception as error:  # noqa: BLE001 - the operator's own code; what it raised may hold what it asked for
        raise CredentialError(f"{where} made no credential: {place_of(error)}") from None
    if made is None:
        raise CredentialError(f"{where} has no credential for this request")
    try:
        pairs = list(made.items() if isinstance(made, Mapping) else made)
        if len(pairs) > MAX_FIELDS:
            raise CredentialError(f"{where} returned {len(pairs)} header fields; at most {MAX_FIELDS} are taken")
        return tuple(field(name, value, where) for name, value in pairs)
    except (TypeError, ValueError) as error:
        raise CredentialError(f"{where} returned no header fields ({type(error).__name__})") from None


def field(name: str, value: str, where: str) -> tuple[bytes, bytes]:
    """A header field, checked: it cannot become two.

    Raises
    ------
    CredentialError
        If it can stand in no header. The value is not in the message.
    """
    if not _NAME.fullmatch(name):
        raise CredentialError(f"{where}: a header's name has letters, digits and !#$%&'*+.^_`|~- , at most 64 of them")
    try:
        data = value.encode("latin-1")
    except (UnicodeEncodeError, AttributeError):
        raise CredentialError(f"{where}: the value of {name} is no text in Latin-1") from None
    if len(data) > MAX_VALUE_BYTES or any((byte < 32 and byte != 9) or byte == 127 for byte in data):
        raise CredentialError(
            f"{where}: the value of {name} has control characters, or more than {MAX_VALUE_BYTES} bytes"
        )
    return name.lower().encode("ascii"), data


def _service(route: RoutePolicy) -> Fields:
    where = f"routes.{route.name}.service"
    if route.service is None:
        raise CredentialError(f"{where}: there is none")
    return (field(route.service.header, read_secret(route.service, where), where),)


def _in_file(route: RoutePolicy) -> bool:
    return route.service is not None and route.service.file is not None


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
