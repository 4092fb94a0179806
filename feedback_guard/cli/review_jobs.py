"""How a command of `feedback-guard review` does its job: at the store of a policy, by a moderator, printed."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import typer

if TYPE_CHECKING:
    from feedback_guard.guard import Guard

T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@+-]{0,127}")


def at_store(policy: str, job: Callable[[Guard], Awaitable[T]]) -> T:
    """Do a job at the store of a policy, and turn a refusal into an error that the command line knows.

    Raises
    ------
    UsageError
        If there is no such thing, or what is asked of it is wrong.
    StoreError
        If it is refused for another reason.
    """
    from feedback_guard.cli.stores import existing
    from feedback_guard.errors import StoreError, UsageError
    from feedback_guard.review.problems import Refused

    guard = existing(policy)

    async def work() -> T:
        try:
            return await job(guard)
        finally:
            await guard.stop()

    try:
        return asyncio.run(work())
    except Refused as refused:
        kind = UsageError if refused.status in (404, 422) else StoreError
        raise kind(refused.detail) from None


def moderator_named(name: str | None) -> str:
    """The name that stands in the ledger: what was given, or else that of the system's user.

    Raises
    ------
    UsageError
        If it has other characters than names have.
    """
    from feedback_guard.errors import UsageError
    from feedback_guard.names import CLI_PREFIX

    if name is None:
        try:
            name = CLI_PREFIX + getpass.getuser()
        except (KeyError, OSError):
            name = f"{CLI_PREFIX}uid-{os.getuid()}"
    if not _NAME.fullmatch(name):
        raise UsageError(
            "--moderator takes letters, digits and _ . : @ + -, at most 128, beginning with a letter or digit"
        )
    return name


def print_json(value: object) -> None:
    """Print a document in ASCII."""
    typer.echo(json.dumps(value, ensure_ascii=True, indent=1))
