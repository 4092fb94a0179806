"""When a uniform answer leaves: not before a fixed time, and then at a moment that chance chooses."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from typing import Final

from feedback_guard.clock import MICROSECONDS
from feedback_guard.middleware.tasks import Wait
from feedback_guard.policy.answers import UniformPolicy

_CHANCE: Final = random.SystemRandom().random


class Pace:
    """Puts answers off.

    Time is the event loop's, which is what waits.

    Parameters
    ----------
    wait
        How to wait.
    chance
        Returns numbers in [0, 1) that nobody can foresee.
    """

    def __init__(self, wait: Wait, chance: Callable[[], float] = _CHANCE) -> None:
        self._wait = wait
        self._chance = chance

    async def hold_back(self, since: float, policy: UniformPolicy) -> None:
        """Wait until an answer may leave.

        An answer that is late leaves at the next multiple of the floor: how late it is, is rounded away.

        Parameters
        ----------
        since
            When the request was read, in seconds of the event loop's time.
        policy
            Floor and jitter.
        """
        loop, never = asyncio.get_running_loop(), asyncio.Event()
        floor = policy.floor / MICROSECONDS
        slots = max(1, math.ceil((loop.time() - since) / floor))
        leaves = since + slots * floor + self._chance() * policy.jitter / MICROSECONDS
        while (left := leaves - loop.time()) > 0:
            await self._wait(never, left)
