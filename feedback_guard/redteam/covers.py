"""Who sends the attempts: accounts in turn, or accounts that do honest work and rest when they are refused."""

from __future__ import annotations

import random
from collections import Counter
from typing import ClassVar, Final

from feedback_guard.redteam.interface import Cover

_FIRST: Final = 2.0
_LEAST: Final = 1.0
_MOST: Final = 8.0


class Turns(Cover):
    """Accounts in turn, which send nothing else."""

    name: ClassVar[str] = "in turn"

    def __init__(self, accounts: int) -> None:
        self._accounts, self._next = accounts, 0

    def account(self, rng: random.Random) -> int:  # noqa: ARG002
        """The next one."""
        self._next += 1
        return (self._next - 1) % self._accounts

    def owed(self, account: int) -> int:  # noqa: ARG002
        """None."""
        return 0


class HonestWork(Cover):
    """Each account sends honest contributions between its attempts, more after each refusal; the refused ones rest."""

    name: ClassVar[str] = "honest work"

    def __init__(self, accounts: int) -> None:
        self._accounts = accounts
        self._refused: Counter[int] = Counter()
        self._share = _FIRST

    def account(self, rng: random.Random) -> int:
        """One of those that were refused least."""
        least = min(self._refused[account] for account in range(self._accounts))
        return rng.choice([account for account in range(self._accounts) if self._refused[account] == least])

    def owed(self, account: int) -> int:  # noqa: ARG002
        """As many as went well so far."""
        return round(self._share)

    def told(self, account: int, accepted: bool) -> None:
        """Work more, or less."""
        self._refused[account] += not accepted
        self._share = min(_MOST, max(_LEAST, self._share * (0.97 if accepted else 1.3)))
