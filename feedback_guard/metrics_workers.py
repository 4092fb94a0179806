"""Metrics of several worker processes in one answer: reading the files that prometheus-client keeps per process.

prometheus-client writes a few memory-mapped files per process into the directory named by
`PROMETHEUS_MULTIPROC_DIR`, and merges them at each scrape. Three things that happen to real workers break its own
merge, and are dealt with here:

- a worker killed between creating a file and sizing it leaves 0 bytes, and every later scrape would fail: such files
  are left out, and deleted once their process is gone;
- a worker killed outright never reports its end, so its queue depths would be added up for ever: gauges of the live
  kind are deleted when their process is gone;
- one damaged file would cost the whole page: it alone is left out, and logged.
"""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import values
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from feedback_guard.errors import UsageError

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable that names the directory. It must be set before prometheus_client is imported."""

_log = logging.getLogger(__name__)


def shared_directory() -> Path | None:
    """The directory that the workers share, or None when this process keeps its metrics to itself.

    Raises
    ------
    UsageError
        If metrics are shared but the directory is missing or not writable.
    """
    if not getattr(values.ValueClass, "_multiprocess", False):
        return None
    path = Path(os.environ.get(VARIABLE, ""))
    if not path.is_dir() or not os.access(path, os.W_OK):
        raise UsageError(
            f"{VARIABLE} names {str(path)!r}, which is no directory that can be written; "
            "create it, empty, before the server starts"
        )
    return path


def set_too_late() -> bool:
    """Whether the variable was set after prometheus_client was imported: each worker then counts for itself."""
    return bool(os.environ.get(VARIABLE)) and not getattr(values.ValueClass, "_multiprocess", False)


def prepare_directory(path: Path) -> None:
    """Create the directory, or empty it of what an earlier run left. For start scripts, before any worker starts.

    Files of earlier runs would be added to the counters of this one, and they make each scrape slower.
    """
    path.mkdir(parents=True, exist_ok=True)
    for file in path.glob("*.db"):
        file.unlink(missing_ok=True)


def mark_worker_dead(pid: int) -> None:
    """Drop the live gauges of a worker that ended. Call it where the server says so.

    With gunicorn, in its configuration file::

        def child_exit(server, worker):
            from feedback_guard.metrics_workers import mark_worker_dead
            mark_worker_dead(worker.pid)

    Without such a hook the next scrape notices by itself.
    """
    path = shared_directory()
    if path is not None:
        for file in path.glob(f"gauge_live*_{int(pid)}.db"):
            file.unlink(missing_ok=True)


class WorkerFiles(Collector):
    """Collects what all workers of a directory counted. Make a new one for every scrape.

    Parameters
    ----------
    path
        The directory that the workers share.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def collect(self) -> Iterable[Metric]:
        """Merge the files of all workers, leaving out those that cannot be read."""
        files = self._sweep()
        try:
            return _merge(files)
        except _UNREADABLE:
            return _merge([file for file in files if _is_readable(file)])

    def _sweep(self) -> list[str]:
        """Files worth reading, after deleting what dead processes left behind."""
        files = []
        alive: dict[int, bool] = {}
        for file in sorted(self._path.glob("*.db")):
            pid = _pid_of(file)
            if pid is None:
                continue
            if pid not in alive:
                alive[pid] = _is_alive(pid)
            try:
                empty = file.stat().st_size == 0
                if not alive[pid] and (empty or file.name.startswith("gauge_live")):
                    file.unlink()
                elif not empty:
                    files.append(str(file))
            except FileNotFoundError:  # another worker's scrape was faster
                continue
            except OSError as error:
                _log.warning("metrics file %s cannot be used: %s", file.name, error)
        return files


_UNREADABLE = (OSError, RuntimeError, ValueError, struct.error)


def _merge(files: list[str]) -> list[Metric]:
    return list(MultiProcessCollector.merge(files, accumulate=True))  # type: ignore[no-untyped-call]


def _is_readable(file: str) -> bool:
    try:
        _merge([file])
    except _UNREADABLE as error:
        _log.warning("metrics file %s is damaged and left out: %s", Path(file).name, error)
        return False
    return True


def _pid_of(file: Path) -> int | None:
    """`gauge_livesum_4711.db` belongs to process 4711."""
    digits = file.stem.rpartition("_")[2]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 10 else None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
