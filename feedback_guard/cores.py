"""What `doctor` says of the cores: how many processes and threads run the model, and whether they have room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from feedback_guard.diagnosis import Diagnosis, Health
from feedback_guard.embedding.loading import available_threads
from feedback_guard.policy.embedding import Backend, EmbeddingPolicy

_CPU_MAX: Final = Path("/sys/fs/cgroup/cpu.max")
"""Linux's allowance of a container (cgroup v2): microseconds on all cores together, or `max`, and of how many."""


def diagnose_cores(
    policy: EmbeddingPolicy, *, visible: int | None = None, cpu_max: Path = _CPU_MAX
) -> Iterator[Diagnosis]:
    """Say how the model is divided, and warn if that is more threads than can run at the same time.

    Parameters
    ----------
    visible
        Cores that a process may run on, by which the guard divides the model; by default those of this machine.
    cpu_max
        File of the container's allowance. The guard does not divide by it: all cores are there, for a part of the time.
    """
    if policy.backend is Backend.UNSAFE_HASHING:
        yield Diagnosis("cores", Health.OK, "no model runs: the hashing embedder for tests is none")
        return
    visible = visible or available_threads()
    processes, threads = policy.divide(visible)
    place = _count(processes, "process", "processes") if policy.isolated else "its own process"
    each = " each" if processes > 1 else ""
    yield Diagnosis(
        "cores",
        Health.OK,
        f"each worker runs the model in {place}, with {_count(threads, 'thread', 'threads')}{each}; "
        f"there {'is' if visible == 1 else 'are'} {_count(visible, 'core', 'cores')}",
    )
    allowed = _allowance(cpu_max)
    room = visible if allowed is None else min(visible, max(1, int(allowed)))
    if processes * threads <= room:
        return
    fewer, less = EmbeddingPolicy().divide(room) if policy.isolated else (1, room)
    remedy = f"set `embedding.threads: {less}`"
    if policy.isolated:
        remedy = f"set `embedding.processes: {fewer}` and `embedding.threads: {less}`"
    why = f"only {room} can run at the same time, and the others wait"
    if allowed is not None and room < visible:
        time = _count(allowed, "core", "cores")
        why = f"the container is allowed the time of {time}; when it is used up, all of them stand still"
    yield Diagnosis("cores", Health.WARNING, f"the model has {processes * threads} threads: {why}; {remedy}")


def _count(number: float, one: str, more: str) -> str:
    return f"{number:g} {one if number == 1 else more}"


def _allowance(cpu_max: Path) -> float | None:
    """How many cores' time the container gets; None if nothing limits it, or the system does not say."""
    try:
        quota, period = cpu_max.read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
