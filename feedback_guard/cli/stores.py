"""How a command gets at the store of a policy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from feedback_guard.guard import Guard

PolicyOption = Annotated[
    str | None, typer.Option("--policy", help="Policy file, or the name of a preset; its store is looked at.")
]
UrlOption = Annotated[
    str | None, typer.Option("--url", help="The store itself: sqlite:///FILE or postgresql://…, instead of --policy.")
]


def store_url(policy: str | None, url: str | None) -> str:
    """The store that a command is to look at.

    Raises
    ------
    UsageError
        If neither or both are named.
    PolicyError
        If the policy is wrong.
    """
    from feedback_guard.errors import UsageError
    from feedback_guard.policy.loader import load_policy

    if (policy is None) == (url is None):
        raise UsageError("say which store: either --policy POLICY or --url URL")
    return url if policy is None and url is not None else load_policy(str(policy)).policy.store.url


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
