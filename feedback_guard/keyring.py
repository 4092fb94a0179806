"""Keys that encrypt kept credentials: several can be read, the first one writes.

AES-256-GCM with a random nonce. The identifier of the submission is bound to the ciphertext, so that nobody who can
write the database can give one client's credentials to another one's request. A key is known by a digest of it, which
is stored beside each ciphertext.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import Sequence
from typing import Final, Self

from feedback_guard.errors import CredentialError
from feedback_guard.policy.replay import CredentialMode, SecretSource
from feedback_guard.policy.schema import Policy
from feedback_guard.secrets_read import read_secret
from feedback_guard.store.records import Sealed

KEY_BYTES: Final = 32
"""AES-256."""
NONCE_BYTES: Final = 12
"""As GCM wants it; random, which is safe for 2**32 ciphertexts of one key."""
MAX_KEYS: Final = 64
"""Most keys of a keyring."""
_SEPARATORS: Final = re.compile(r"[\s,]+")
_PURPOSE: Final = b"feedback_guard/credentials/1"


def new_key() -> str:
    """Make a key, as a line for the file or the variable.

    Examples
    --------
    >>> len(new_key())
    44
    """
    return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode("ascii")


def key_id(key: bytes) -> str:
    """What a key is known by: 16 hexadecimal digits, which tell nothing about it."""
    return hashlib.sha256(_PURPOSE + b"/key\0" + key).hexdigest()[:16]


class Keyring:
    """Encrypts with the first key, decrypts with any.

    Parameters
    ----------
    keys
        At least one, newest first, 32 bytes each.

    Examples
    --------
    >>> old, new = bytes(32), bytes(range(32))
    >>> sealed = Keyring([old]).seal(b"Bearer x", bound_to="s-1")
    >>> Keyring([new, old]).open(sealed, bound_to="s-1")
    b'Bearer x'
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError:
            raise CredentialError(
                "kept credentials are encrypted with the package cryptography, which is not installed; "
                "install feedback-guard[credentials]"
            ) from None
        if not keys:
            raise CredentialError("a keyring has at least one key")
        self._ciphers = {key_id(key): AESGCM(key) for key in keys}
        self.newest = key_id(keys[0])
        """Identifier of the key that writes."""

    @classmethod
    def read(cls, source: SecretSource, where: str = "credentials.keys") -> Self:
        """Read the keys: base64 of 32 bytes each, newest first, a line each or with commas.

        Raises
        ------
        CredentialError
            If they are not there, or are no keys. The message says which one, by its place.
        """
        return cls(read_keys(source, where))

    @property
    def ids(self) -> tuple[str, ...]:
        """Identifiers of the keys, newest first."""
        return tuple(self._ciphers)

    def seal(self, data: bytes, *, bound_to: str) -> Sealed:
        """Encrypt.

        Parameters
        ----------
        data
            What is to be kept secret.
        bound_to
            Identifier of the submission; it opens for no other.
        """
        nonce = secrets.token_bytes(NONCE_BYTES)
        return Sealed(self.newest, nonce + self._ciphers[self.newest].encrypt(nonce, data, _bound(bound_to)))

    def open(self, sealed: Sealed, *, bound_to: str) -> bytes:
        """Decrypt.

        Raises
        ------
        CredentialError
            If the key is not there, or the ciphertext was altered or belongs to another submission.
        """
        from cryptography.exceptions import InvalidTag

        cipher = self._ciphers.get(sealed.key_id)
        if cipher is None:
            raise CredentialError(f"the kept credentials need the key {sealed.key_id}, which is not there")
        try:
            return cipher.decrypt(sealed.data[:NONCE_BYTES], sealed.data[NONCE_BYTES:], _bound(bound_to))
        except (InvalidTag, ValueError):
            raise CredentialError("the kept credentials are not what was encrypted for this request") from None


def read_keys(source: SecretSource, where: str) -> list[bytes]:
    """Read keys: base64 of 32 bytes each, newest first, a line each or with commas.

    Raises
    ------
    CredentialError
        If they are not there, or are no keys. The message says which one, by its place.
    """
    parts = [part for part in _SEPARATORS.split(read_secret(source, where)) if part]
    if len(parts) > MAX_KEYS:
        raise CredentialError(f"{where}: {len(parts)} keys; at most {MAX_KEYS} can be read")
    return [_key(part, f"{where}: key {number}") for number, part in enumerate(parts, 1)]


def _bound(ident: str) -> bytes:
    return _PURPOSE + b"\0" + ident.encode("utf-8")


def _key(text: str, where: str) -> bytes:
    try:
        key = base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise CredentialError(
            f"{where} is not {KEY_BYTES} bytes in base64; `feedback-guard credentials new-key` makes one"
        )
    return key


def keyring_of(policy: Policy) -> Keyring | None:
    """The keys for kept credentials; None if no route keeps any.

    Raises
    ------
    CredentialError
        If they are needed and not there.
    """
    keeps = any(route.credentials is CredentialMode.KEEP for route in policy.routes)
    return Keyring.read(policy.credentials.keys) if keeps and policy.credentials.keys is not None else None
