"""Keys that sign receipts: the first one signs, all of them are believed.

To change a key without refusing anybody: put the new one at the end and let every process read it; then put it first;
then, when the receipts of the old one have expired, take that away.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final, Self

from feedback_guard.errors import CredentialError
from feedback_guard.keyring import read_keys
from feedback_guard.policy.replay import SecretSource

_PURPOSE: Final = b"feedback_guard/receipt/1"


class ReceiptKey:
    """One key. Signing and naming contributors use keys of their own, made from it.

    Parameters
    ----------
    secret
        32 bytes.
    """

    def __init__(self, secret: bytes) -> None:
        self.ident = hashlib.sha256(_PURPOSE + b"/key\0" + secret).hexdigest()[:16]
        """What it is known by: 16 hexadecimal digits, which tell nothing about it."""
        self._signs = hmac.digest(secret, _PURPOSE + b"/sign", "sha256")
        self._names = hmac.digest(secret, _PURPOSE + b"/contributor", "sha256")

    def mac(self, data: bytes) -> bytes:
        """Sign canonical bytes: 32 bytes."""
        return hmac.digest(self._signs, data, "sha256")

    def name(self, contributor: str) -> bytes:
        """A contributor's name as a receipt carries it: 32 bytes that tell nothing to whoever lacks the key."""
        return hmac.digest(self._names, contributor.encode("utf-8", "surrogatepass"), "sha256")


class ReceiptKeys:
    """The keys of a deployment.

    Parameters
    ----------
    secrets
        32 bytes each, newest first; at least one.

    Raises
    ------
    CredentialError
        If there is none, or one stands twice.

    Examples
    --------
    >>> keys = ReceiptKeys([bytes(32), bytes(range(32))])
    >>> keys.newest.ident == keys.ids[0], keys.find(keys.ids[1]) is not None, keys.find("0" * 16)
    (True, True, None)
    """

    def __init__(self, secrets: Sequence[bytes]) -> None:
        if not secrets:
            raise CredentialError("receipts need at least one key")
        made = [ReceiptKey(secret) for secret in secrets]
        self._keys = {key.ident: key for key in made}
        if len(self._keys) != len(made):
            raise CredentialError("receipts.keys: a key stands twice; remove one")
        self.newest = made[0]
        """The key that signs."""

    @classmethod
    def read(cls, source: SecretSource, where: str = "receipts.keys") -> Self:
        """Read the keys from where the policy says.

        Raises
        ------
        CredentialError
            If they are not there, or are no keys.
        """
        return cls(read_keys(source, where))

    @property
    def ids(self) -> tuple[str, ...]:
        """Identifiers of the keys, newest first."""
        return tuple(self._keys)

    def find(self, ident: str) -> ReceiptKey | None:
        """The key of that name."""
        return self._keys.get(ident)
