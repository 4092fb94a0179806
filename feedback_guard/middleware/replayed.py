"""What the application can know of a replayed request, beyond the request."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

REPLAY_KEY: Final = "feedback_guard.replay"
"""Where a `Replay` stands in the scope of a replayed request. A client can send text, never this object."""


@dataclass(frozen=True, slots=True)
class Replay:
    """A held request that a moderator let through, as the application finds it in `scope["feedback_guard.replay"]`.

    The guard vouches for it: nothing that comes over a network can put it there.

    Parameters
    ----------
    submission
        The same each time it is tried.
    route
        Name of the policy's route.
    contributor
        Who sent it, as the guard resolved it when the request came; None if nobody was named.
    groups
        The contributor's groups.
    fence
        Number of the claim it is given under. It only grows: an application that remembers the highest one can refuse
        an earlier claim that comes late.
    attempt
        Which attempt this is since a moderator let it through, from 1.
    stripped
        Header fields, in lower case, that were not kept.
    """

    submission: str
    route: str
    contributor: str | None
    groups: Mapping[str, str] = field(default_factory=dict)
    fence: int = 0
    attempt: int = 1
    stripped: tuple[str, ...] = ()

    @property
    def idempotency_key(self) -> str:
        """The value of `Idempotency-Key` that is sent to an application that is declared idempotent.

        It is made from the submission's identifier: the same for each attempt, and of no use to find that out.

        Examples
        --------
        >>> Replay("s-1", "rate", "ada").idempotency_key
        '"28832e0c5f6b28acd8ef48931a4872b7"'
        """
        digest = hashlib.sha256(f"feedback_guard/idempotency/1\0{self.submission}".encode()).hexdigest()
        return f'"{digest[:32]}"'
