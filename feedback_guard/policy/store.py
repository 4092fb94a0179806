"""Policy of where the record is kept."""

from __future__ import annotations

from pydantic import Field

from feedback_guard.clock import MICROSECONDS
from feedback_guard.policy.base import Duration, Strict


class StorePolicy(Strict):
    """Where the record is kept."""

    url: str = "sqlite:///feedback-guard.db"
    """Database URL: `sqlite:///FILE` (one host, any number of processes; relative to the working directory) or
    `postgresql://…`."""
    hold_capacity: int = Field(10_000, ge=1, le=10_000_000)
    """Most requests and contributions that may be held at a time. At the bound the guard answers 503."""
    queue_size: int = Field(1_024, ge=1, le=65_536)
    """Most transactions waiting for the writer. At the bound the guard answers 503."""
    max_group: int = Field(64, ge=1, le=1_024)
    """Most transactions that share one commit."""
    busy_timeout: Duration = 5 * MICROSECONDS
    """How long a write waits for another process's lock before the guard answers 503."""
