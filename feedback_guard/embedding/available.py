"""How many threads of a model can run at the same time: by the cores, and by what a container is allowed of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_CGROUP: Final = Path("/sys/fs/cgroup")


def available_threads(cgroup: Path = _CGROUP) -> int:
    """Threads that can run at the same time, at least 1.

    In a container that is allowed the time of two of 64 cores, 64 threads would use it up at once and then stand still
    together until there is more, so whole allowed cores count where they are fewer.

    Parameters
    ----------
    cgroup
        Where Linux tells what this process is allowed.
    """
    allowed = allowed_cores(cgroup)
    return visible_cores() if allowed is None else max(1, min(visible_cores(), int(allowed)))


def visible_cores() -> int:
    """Cores that this process may run on, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)


def allowed_cores(cgroup: Path = _CGROUP) -> float | None:
    """How many cores' time this process gets; None if nothing limits it, or the system does not say.

    Version 2 of Linux's control groups tells microseconds, or `max`, and of how many; version 1 has a file for each,
    and says -1 for no limit.
    """
    try:
        quota, period = _told(cgroup)
        return None if quota == "max" or int(quota) < 0 else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _told(cgroup: Path) -> tuple[str, str]:
    try:
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
        return quota, period
    except FileNotFoundError:
        first = cgroup / "cpu"
        return first.joinpath("cpu.cfs_quota_us").read_text(), first.joinpath("cpu.cfs_period_us").read_text()
