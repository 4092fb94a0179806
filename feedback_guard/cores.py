"""What `doctor` says of the cores: how many processes and threads run the model, and whether they have room."""

from __future__ import annotations

from collections.abc import Iterator

from feedback_guard.diagnosis import Diagnosis, Health
from feedback_guard.embedding.available import allowed_cores, visible_cores
from feedback_guard.policy.embedding import Backend, EmbeddingPolicy


def diagnose_cores(
    policy: EmbeddingPolicy, *, visible: int | None = None, allowed: float | None = None
) -> Iterator[Diagnosis]:
    """Say how the model is divided, and warn if that is more threads than can run at the same time.

    Parameters
    ----------
    visible
        Cores that a process may run on; by default those of this machine, with what is allowed of them here.
    allowed
        How many cores' time the container is allowed; None: that of all.
    """
    if policy.backend is Backend.UNSAFE_HASHING:
        yield Diagnosis("cores", Health.OK, "no model runs: the hashing embedder for tests is none")
        return
    if visible is None:
        visible, allowed = visible_cores(), allowed_cores()
    room = visible if allowed is None else max(1, min(visible, int(allowed)))
    processes, threads = policy.divide(room)
    place = _count(processes, "process", "processes") if policy.isolated else "its own process"
    each = " each" if processes > 1 else ""
    less = f", and the container is allowed the time of {allowed:g}" if allowed is not None and room < visible else ""
    yield Diagnosis(
        "cores",
        Health.OK,
        f"each worker runs the model in {place}, with {_count(threads, 'thread', 'threads')}{each}; "
        f"there {'is' if visible == 1 else 'are'} {_count(visible, 'core', 'cores')}{less}",
    )
    if processes * threads <= room:
        return
    fewer, fit = EmbeddingPolicy().divide(room) if policy.isolated else (1, room)
    remedy = f"set `embedding.threads: {fit}`"
    if policy.isolated:
        remedy = f"set `embedding.processes: {fewer}` and `embedding.threads: {fit}`"
    why = f"only {room} can run at the same time, and the others wait"
    if less:
        why = f"the container is allowed the time of {_count(allowed or 0.0, 'core', 'cores')}; "
        why += "when it is used up, all of them stand still"
    yield Diagnosis("cores", Health.WARNING, f"the model has {processes * threads} threads: {why}; {remedy}")


def _count(number: float, one: str, more: str) -> str:
    return f"{number:g} {one if number == 1 else more}"
