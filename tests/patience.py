"""How long tests wait for what must come."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

PATIENCE_SECONDS: Final = 120.0
"""After which a test has failed that waits for something: far longer than anything takes where much else runs, since
only a test that fails waits so long."""


def wait_until(reached: Callable[[], bool], what: str = "it did not come to that") -> None:
    """Ask again and again for what another thread or process does in its own time."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not reached():
        assert time.monotonic() < end, what
        time.sleep(0.01)
