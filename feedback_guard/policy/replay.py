"""How held requests are given to the application: what they prove themselves with, and how often that is tried."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from feedback_guard.clock import MICROSECONDS
from feedback_guard.policy.base import Duration, Strict

HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")]


class CredentialMode(StrEnum):
    """What a replayed request proves itself with."""

    NONE = "none"
    KEEP = "keep"
    SERVICE = "service"


class SecretSource(Strict):
    """Where a secret is. The policy names the place and never holds the secret."""

    env: str | None = Field(None, pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")
    """Name of an environment variable."""
    file: str | None = Field(None, min_length=1, max_length=4_096)
    """Path of a file, relative to the working directory."""

    @model_validator(mode="after")
    def _is_one_place(self) -> Self:
        if (self.env is None) is (self.file is None):
            raise ValueError("a secret is in one place: name either `env`, a variable, or `file`, a path")
        return self


class ServiceCredential(SecretSource):
    """A credential of your own for replayed requests. A file is read anew for each."""

    header: HeaderName = "Authorization"
    """Header that the secret stands in, whole, such as `Bearer …`; it takes the place of the client's."""


class CredentialsPolicy(Strict):
    """Clients' credentials in held requests. Unless a route says `credentials: keep`, they are not kept."""

    headers: tuple[HeaderName, ...] = Field(("X-Api-Key", "Api-Key", "X-Auth-Token", "X-Access-Token"), max_length=64)
    """Headers that carry credentials here, besides `Authorization`, `Cookie` and `Proxy-Authorization`, which always
    do."""
    keys: SecretSource | None = None
    """Keys for routes with `credentials: keep`: a line each, newest first. The first one encrypts, all of them
    decrypt. `feedback-guard credentials new-key` makes one."""


class ReplayPolicy(Strict):
    """How often an approved request is given to an application that is declared `idempotent`."""

    attempts: int = Field(6, ge=1, le=100)
    """Most attempts, the first one included, before the request stays failed or unknown."""
    first_wait: Duration = 2 * MICROSECONDS
    """Wait after the first attempt; it doubles with each further one, and up to half of it is left to chance."""
    longest_wait: Duration = 300 * MICROSECONDS
    """Longest wait between two attempts."""
    within: Duration = 3_600 * MICROSECONDS
    """No attempt begins later than this after the first one."""
