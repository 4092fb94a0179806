"""Contributors dealt to partitions by a keyed hash: the same contributor always to the same one."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import Final, Self

from feedback_guard.errors import CredentialError
from feedback_guard.policy.snapshot import CertificatePolicy
from feedback_guard.secrets_read import read_secret

MIN_KEY_CHARS: Final = 16
"""Shortest key, in characters."""
_PURPOSE: Final = b"feedback_guard/partition/1"


@dataclass(frozen=True, slots=True)
class Partitions:
    """Deals contributors to partitions.

    Parameters
    ----------
    count
        How many partitions, from 2.
    key
        Secret: whoever knows it can choose names that meet in one partition, or in all of them.

    Examples
    --------
    >>> deal = Partitions(8, b"sixteen letters!")  # two contributors may share a partition
    >>> deal.of("alice") == deal.of("alice"), deal.of("alice"), deal.of("bob")
    (True, 3, 3)
    """

    count: int
    key: bytes = field(repr=False)

    @classmethod
    def read(cls, policy: CertificatePolicy, where: str = "snapshot.certificate.key") -> Self:
        """Read the key from where the policy says.

        Raises
        ------
        CredentialError
            If it is not there, or is too short.
        """
        key = read_secret(policy.key, where)
        if len(key) < MIN_KEY_CHARS:
            raise CredentialError(f"{where}: the key has {len(key)} characters; at least {MIN_KEY_CHARS} are needed")
        return cls(policy.partitions, key.encode("utf-8", "surrogateescape"))

    @property
    def key_id(self) -> str:
        """What the key is known by: 16 hexadecimal digits, which tell nothing about it."""
        return hmac.digest(self.key, _PURPOSE + b"/id", "sha256").hex()[:16]

    def of(self, contributor: str, *, anonymous: bool = False) -> int:
        """The partition of a contributor, from 0. All the unnamed are one contributor."""
        name = b"\1" if anonymous else b"\0" + contributor.encode("utf-8", "surrogatepass")
        drawn = hmac.digest(self.key, _PURPOSE + name, "sha256")
        return int.from_bytes(drawn[:16], "big") % self.count
