"""How a command gets at the store of a policy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from feedback_guard.guard import Guard


def existing(policy: str) -> Guard:
    """A guard that is not started, at a store that exists: a new one would hold nothing.

    Raises
    ------
    UsageError
        If there is none yet.
    PolicyError
        If the policy is wrong.
    """
    from sqlalchemy import make_url

    from feedback_guard.errors import UsageError
    from feedback_guard.guard import Guard

    guard = Guard.from_policy(policy)
    url = make_url(guard.policy.store.url)
    if url.get_backend_name() == "sqlite" and not (url.database and Path(url.database).is_file()):
        raise UsageError(f"there is no store at {url.database!r} yet; is this the policy that the application uses?")
    return guard
