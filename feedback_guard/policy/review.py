"""Policy of the moderators' application: who may decide, and how long a login lasts."""

from __future__ import annotations

from pydantic import Field, field_validator

from feedback_guard.clock import MICROSECONDS
from feedback_guard.policy.base import Duration, Name, Sha256, Strict, unique


class ModeratorPolicy(Strict):
    """Somebody who may decide on held contributions."""

    name: Name
    """Stands in the ledger beside every decision."""
    token_sha256: Sha256
    """SHA-256 of the moderator's token; `feedback-guard review token` makes a pair."""


class ReviewPolicy(Strict):
    """The moderators' application."""

    moderators: tuple[ModeratorPolicy, ...] = Field((), max_length=1_000)
    """Who may log in."""
    session: Duration = 8 * 3_600 * MICROSECONDS
    """How long a login lasts at most."""
    idle: Duration = 3_600 * MICROSECONDS
    """How long a login lasts without a request."""
    secure_cookies: bool = True
    """True sends cookies over HTTPS only, except to localhost. Browsers treat http://localhost as secure."""
    attempts_per_minute: int = Field(10, ge=1, le=1_000)
    """Failed logins per minute and network before further ones are refused."""

    @field_validator("moderators")
    @classmethod
    def _names_are_unique(cls, moderators: tuple[ModeratorPolicy, ...]) -> tuple[ModeratorPolicy, ...]:
        return unique(moderators)
