"""Starts the processes of a gateway, starts them again when they die, and ends them in order.

The listening sockets belong to this process and are inherited, so a worker that dies takes no waiting connection with
it. Nothing heavy happens here: what could fail is in the children.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from feedback_guard.errors import GuardError
from feedback_guard.gateway.plan import Plan
from feedback_guard.metrics_workers import VARIABLE, prepare_directory

log = logging.getLogger(__name__)

_MODULE: Final = "feedback_guard.gateway.process"
_KILL_AFTER_SECONDS: Final = 15.0
"""How long after the drain a process may take to record what it knows."""
_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 30.0
_SOUND_SECONDS: Final = 60.0
"""A process that lived so long is started again at once."""
_TICK_SECONDS: Final = 1.0


class GatewayError(GuardError):
    """The gateway could not start, or did not end as it should."""


@dataclass
class _Child:
    """One process."""

    role: str
    listener: socket.socket
    process: subprocess.Popen[bytes] | None = None
    ready: int = -1
    began: float = 0.0
    pause: float = _FIRST_PAUSE_SECONDS
    due: float = 0.0

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


class Supervisor:
    """The processes of one gateway.

    Parameters
    ----------
    plan
        What they are told.
    public
        Listening socket of the gateway.
    admin
        Listening socket of review and metrics; None serves neither.
    workers
        How many workers.
    say
        Tells the operator something.
    """

    def __init__(
        self,
        plan: Plan,
        public: socket.socket,
        admin: socket.socket | None,
        *,
        workers: int,
        say: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._say = say
        self._children = [_Child("worker", public) for _ in range(workers)]
        if admin is not None:
            self._children.append(_Child("admin", admin))
        self._asked = 0
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._environment = dict(os.environ)

    def run(self, on_ready: Callable[[], None]) -> None:
        """Run until SIGTERM or SIGINT; a second one ends at once.

        Parameters
        ----------
        on_ready
            Called when every process serves.

        Raises
        ------
        GatewayError
            If a process cannot start; what it said stands on standard error. Or if one had to be killed at the end.
        """
        with self._metrics_directory() as directory, self._signals():
            self._environment[VARIABLE] = str(directory)
            try:
                self._start_all()
                if not self._asked:
                    on_ready()
                while not self._asked:
                    self._wait(_TICK_SECONDS)
                    self._revive()
            finally:
                self._end_all()

    # Beginning.

    def _start_all(self) -> None:
        for child in self._children:
            self._start(child)
        waiting = list(self._children)
        while waiting and not self._asked:
            self._wait(_TICK_SECONDS, [child.ready for child in waiting])
            for child in list(waiting):
                if _is_ready(child):
                    waiting.remove(child)
                elif not child.alive:
                    raise GatewayError(f"the {child.role} could not start; the reason stands above")

    def _start(self, child: _Child) -> None:
        ready, write = os.pipe()
        try:
            child.process = subprocess.Popen(  # noqa: S603 - this interpreter, and numbers
                [sys.executable, "-m", _MODULE, child.role, str(child.listener.fileno()), str(write)],
                stdin=subprocess.PIPE,
                pass_fds=[child.listener.fileno(), write],
                env=self._environment,
                start_new_session=True,  # Ctrl-C is for this process, which then ends the others in order
            )
        finally:
            os.close(write)
        os.set_blocking(ready, False)
        child.ready, child.began = ready, time.monotonic()
        if child.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                child.process.stdin.write(self._plan.to_json().encode("utf-8") + b"\n")
                child.process.stdin.flush()

    # Living.

    def _revive(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if child.alive:
                continue
            if child.process is not None:
                lived = now - child.began
                child.pause = _FIRST_PAUSE_SECONDS if lived >= _SOUND_SECONDS else child.pause * 2
                child.pause = min(child.pause, _LONGEST_PAUSE_SECONDS)
                child.due = now if lived >= _SOUND_SECONDS else now + child.pause
                pid, code = child.process.pid, child.process.returncode
                self._say(f"the {child.role} {pid} ended with {code}; starting another")
                _forget(child)
            if now >= child.due:
                self._start(child)

    def _wait(self, seconds: float, descriptors: list[int] | None = None) -> None:
        """Wait for a signal, for a child that is ready or dead, or for so long."""
        readable, _, _ = select.select([self._wake_read, *(descriptors or [])], [], [], seconds)
        if self._wake_read in readable:
            os.read(self._wake_read, 4096)

    # Ending.

    def _end_all(self) -> None:
        """End the workers, then what serves their metrics."""
        late: list[str] = []
        for role in ("worker", "admin"):
            children = [child for child in self._children if child.role == role and child.process is not None]
            for child in children:
                child.listener.close()  # the last one to hold it open: from now on nobody waits for an answer in vain
                if child.alive and child.process is not None:
                    child.process.terminate()
            end = time.monotonic() + self._plan.drain_seconds + _KILL_AFTER_SECONDS
            while any(child.alive for child in children) and time.monotonic() < end and self._asked < 2:
                self._wait(min(_TICK_SECONDS, max(0.0, end - time.monotonic())))
            for child in children:
                if child.alive and child.process is not None:
                    child.process.kill()
                    late.append(f"{child.role} {child.process.pid}")
                _forget(child)
        os.close(self._wake_read)
        os.close(self._wake_write)
        if late:
            raise GatewayError(
                f"had to be killed: {', '.join(late)}; requests that it was answering will be recorded as unknown"
            )

    def _asked_to_end(self, _number: int, _frame: FrameType | None) -> None:
        self._asked += 1

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, self._asked_to_end) for number in numbers}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        wakeup = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def _metrics_directory(self) -> Iterator[Path]:
        """Where the processes count together: the operator's directory, or one of this run alone."""
        given = os.environ.get(VARIABLE)
        directory = Path(given) if given else Path(tempfile.mkdtemp(prefix="feedback-guard-metrics-"))
        try:
            prepare_directory(directory)
            yield directory
        finally:
            if not given:
                shutil.rmtree(directory, ignore_errors=True)


def _is_ready(child: _Child) -> bool:
    try:
        return os.read(child.ready, 1) == b"r"
    except BlockingIOError:
        return False


def _forget(child: _Child) -> None:
    """Wait for a process that has ended, and close what led to it."""
    if child.process is None:
        return
    child.process.wait()
    if child.process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            child.process.stdin.close()
    os.close(child.ready)
    child.process = None
