"""The issuer's keys: fetched when they are needed, used for a time, and never fetched as often as a client likes.

- Fresh keys are used without asking anybody. Before they grow old they are fetched again in the background.
- Old keys are fetched again before a token is judged; while that fails they go on being used, up to `max_stale`.
- A token that names an unknown key has them fetched again, once in `cooldown`; between, it is refused at once.
- While nothing usable is there, nothing can be said of any token: `IdentityError`, which is answered with 503.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from joserfc import jwk
from joserfc.errors import JoseError

from feedback_guard import settings
from feedback_guard.clock import MICROSECONDS, Clock
from feedback_guard.errors import IdentityError
from feedback_guard.middleware.fetch import fetch
from feedback_guard.middleware.replies import BadInputError
from feedback_guard.middleware.strict_json import parse_strictly
from feedback_guard.policy.identity import JwtPolicy

log = logging.getLogger(__name__)

Load = Callable[[], Awaitable[bytes]]
"""Reads the issuer's key set."""

_PUBLIC: Final = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x"), "oct": ("k",)}
"""What is needed to verify, by type of key; anything else, private parts too, is left behind."""
_CURVES: Final = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519", "Ed25519": "Ed25519"}
_TYPES: Final = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP", "HS": "oct"}
_MEMBER: Final = re.compile(r"[A-Za-z0-9_-]+")
_MIN_RSA_BYTES: Final = 256
_MAX_RSA_BYTES: Final = 1_024
_MIN_SECRET_BYTES: Final = 32
_AHEAD: Final = 0.8
"""At this share of their time keys are fetched again in the background."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key that verifies signatures.

    Parameters
    ----------
    ident
        Its `kid`; None if the set does not name it.
    algorithm
        The only algorithm that it is for; None if the set does not say.
    kind, curve
        `RSA`, `EC`, `OKP` or `oct`, and the curve of the second and third.
    key
        For joserfc.
    """

    ident: str | None
    algorithm: str | None
    kind: str
    curve: str | None
    key: Any

    def fits(self, algorithm: str) -> bool:
        """Whether it may verify signatures of an algorithm."""
        return (
            self.kind == _TYPES[algorithm[:2]]
            and self.algorithm in {None, algorithm}
            and self.curve == _CURVES.get(algorithm)
        )


class Keys:
    """The keys of one issuer.

    Parameters
    ----------
    policy
        Where they are, and how long they are used.
    clock
        For their age.
    load
        Reads them; by default from where the policy says.
    """

    def __init__(self, policy: JwtPolicy, clock: Clock, load: Load | None = None) -> None:
        self._policy = policy
        self._clock = clock
        self._load = load or loader(policy)
        self._keys: tuple[Key, ...] = ()
        self._loaded: float | None = None
        self._tried: float | None = None
        self._missed: float | None = None
        self._failed = False
        self._task: asyncio.Task[None] | None = None

    async def find(self, ident: str | None, algorithm: str) -> Key | None:
        """Find the key of a token; None if the issuer has no such key.

        Parameters
        ----------
        ident
            The token's `kid`. Without one the set must hold one suitable key only.
        algorithm
            The token's `alg`, one of those that the policy allows.

        Raises
        ------
        IdentityError
            If the keys cannot be had, so that nothing can be said.
        """
        age = self._age()
        if age is None or age >= self._policy.refresh / MICROSECONDS:
            if self._may(self._tried) or self._running():
                await self._refresh()
        elif age >= _AHEAD * self._policy.refresh / MICROSECONDS and self._may(self._tried):
            self._start()
        self._check_age()
        found = self._pick(ident, algorithm)
        if found is not None or ident is None or any(key.ident == ident for key in self._keys):
            return found
        if self._running():
            await self._refresh()
        elif self._may(self._missed):
            self._missed = self._clock.monotonic()
            await self._refresh()
        found = self._pick(ident, algorithm)
        if found is None and self._failed:
            raise IdentityError("the issuer's keys cannot be fetched, and a token names one that is not known")
        return found

    def _pick(self, ident: str | None, algorithm: str) -> Key | None:
        fitting = [key for key in self._keys if key.fits(algorithm) and ident in {None, key.ident}]
        return fitting[0] if len(fitting) == 1 else None

    def _age(self) -> float | None:
        return None if self._loaded is None else max(0.0, self._clock.monotonic() - self._loaded)

    def _check_age(self) -> None:
        age = self._age()
        if age is None:
            raise IdentityError("the issuer's keys could not be fetched yet")
        if age >= self._policy.max_stale / MICROSECONDS:
            raise IdentityError(f"the issuer's keys are {age:.0f} s old, and could not be fetched again")

    def _may(self, last: float | None) -> bool:
        return last is None or self._clock.monotonic() - last >= self._policy.cooldown / MICROSECONDS

    def _running(self) -> bool:
        task = self._task
        return task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop()

    def _start(self) -> asyncio.Task[None]:
        if self._task is None or not self._running():
            self._tried = self._clock.monotonic()
            # It serves every request that waits, so it has the context of none, and ends with none.
            self._task = asyncio.get_running_loop().create_task(
                self._fetch(), name="feedback_guard.keys", context=contextvars.Context()
            )
        return self._task

    async def _refresh(self) -> None:
        await asyncio.shield(self._start())

    async def _fetch(self) -> None:
        try:
            self._keys = read_keys(await self._load())
        except IdentityError as error:
            self._failed = True
            log.error("identity.jwt: the issuer's keys cannot be fetched: %s", error)
        except Exception as error:  # noqa: BLE001 - whatever it was, those who wait must be told the same
            self._failed = True
            log.error("identity.jwt: the issuer's keys cannot be fetched: %s", type(error).__name__)
        else:
            self._failed = False
            self._loaded = self._clock.monotonic()


def loader(policy: JwtPolicy) -> Load:
    """Make what reads the key set that a policy names."""
    url, file = policy.jwks_url, policy.jwks_file

    async def from_url() -> bytes:
        return await fetch(url or "", max_bytes=settings.MAX_JWKS_BYTES, timeout_seconds=policy.timeout / MICROSECONDS)

    async def from_file() -> bytes:
        return await asyncio.to_thread(read_file, Path(file or ""))

    return from_file if url is None else from_url


def read_file(file: Path) -> bytes:
    """Read a key set from a file.

    Raises
    ------
    IdentityError
        If it cannot be read, or is too large.
    """
    try:
        with file.open("rb") as stream:
            data = stream.read(settings.MAX_JWKS_BYTES + 1)
    except OSError as error:
        raise IdentityError(f"{file} cannot be read: {error.strerror}") from None
    if len(data) > settings.MAX_JWKS_BYTES:
        raise IdentityError(f"{file} is larger than {settings.MAX_JWKS_BYTES} bytes")
    return data


def read_keys(data: bytes) -> tuple[Key, ...]:
    """Read a JWK set (RFC 7517); keys that do not verify signatures, or are too weak, are left out.

    Raises
    ------
    IdentityError
        If it is no JWK set, or has no usable key.
    """
    try:
        value = parse_strictly(data)
    except BadInputError as error:
        raise IdentityError(f"the key set cannot be read: {error}") from None
    listed = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(listed, list):
        raise IdentityError("the key set has no list `keys`")
    if len(listed) > settings.MAX_JWKS_KEYS:
        raise IdentityError(f"the key set has more than {settings.MAX_JWKS_KEYS} keys")
    found = tuple(key for item in listed if isinstance(item, dict) and (key := _read_key(item)) is not None)
    if not found:
        raise IdentityError("the key set has no key that verifies signatures")
    return found


def _read_key(item: dict[str, Any]) -> Key | None:
    kind, ident, algorithm = item.get("kty"), item.get("kid"), item.get("alg")
    members = _PUBLIC.get(kind) if isinstance(kind, str) else None
    if members is None or item.get("use", "sig") != "sig":
        return None
    operations = item.get("key_ops", ["verify"])
    if not isinstance(operations, list) or not {"verify", "sign"} & {name for name in operations if type(name) is str}:
        return None
    if not isinstance(ident, str | None) or not isinstance(algorithm, str | None):
        return None
    parts = {name: part for name in members if isinstance(part := item.get(name), str)}
    if len(parts) < len(members) or not all(_MEMBER.fullmatch(part) for part in parts.values()):
        return None
    size = len(str(parts.get("n", parts.get("k", "")))) * 3 // 4
    if kind == "RSA" and (not _MIN_RSA_BYTES <= size <= _MAX_RSA_BYTES or len(str(parts["e"])) > 8):
        log.warning("identity.jwt: a key of the issuer's is left out: RSA with %d bits", size * 8)
        return None
    if kind == "oct" and size < _MIN_SECRET_BYTES:
        log.warning("identity.jwt: a secret is left out: it is shorter than %d bytes", _MIN_SECRET_BYTES)
        return None
    try:
        key = jwk.import_key({"kty": str(kind), **parts})
    except (JoseError, ValueError, TypeError, KeyError) as error:
        log.warning("identity.jwt: a key of the issuer's cannot be read: %s", type(error).__name__)
        return None
    return Key(ident, algorithm, str(kind), parts.get("crv"), key)
