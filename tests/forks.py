"""Real processes that start at once: each is a fork of one that has imported everything already.

To import everything takes two seconds of CPU. `start("tests.store.racer", ...)` does what `subprocess.Popen` does with
`[sys.executable, "-m", "tests.store.racer", ...]` and pipes for text. A module that can be started has
`main(arguments)`, and may have `warm()`, which is called once, in the process that is forked: it imports what would
otherwise be imported late, and leaves no threads behind.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import json
import os
import random
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.patience import PATIENCE_SECONDS

_ROOT = Path(__file__).parents[1]
_LONGEST = 1 << 17


class Forked:
    """A process, with as much of `subprocess.Popen` as tests need."""

    def __init__(self, module: str, arguments: Sequence[str], sockets: Sequence[socket.socket]) -> None:
        self._events, theirs = socket.socketpair()
        (stdin, writes), (reads, stdout) = os.pipe(), os.pipe()
        self.stdin, self.stdout = os.fdopen(writes, "w"), os.fdopen(reads)
        self.returncode: int | None = None
        command = {"module": module, "arguments": arguments, "environment": dict(os.environ)}
        descriptors = [theirs.fileno(), stdin, stdout, *(each.fileno() for each in sockets)]
        socket.send_fds(_parent(), [json.dumps(command).encode()], descriptors)
        theirs.close()
        os.close(stdin)
        os.close(stdout)
        self._said = self._events.makefile()
        self.pid = int(self._next("pid", 2 * PATIENCE_SECONDS))  # the first one waits until everything is imported

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _next(self, wanted: str, seconds: float) -> str:
        """Wait for an event of a kind; what comes before it is of no interest."""
        self._events.settimeout(seconds)
        try:
            for line in self._said:
                word, value = line.split()
                if word == "ended":
                    self.returncode = int(value)
                if word == wanted:
                    return value
        except TimeoutError:
            raise subprocess.TimeoutExpired("a forked process", seconds) from None
        raise AssertionError(f"the process ended with {self.returncode} before it was {wanted}")

    def wait_until_stopped(self, timeout: float = PATIENCE_SECONDS) -> None:
        """Wait until it has stopped itself."""
        self._next("stopped", timeout)

    def wait(self, timeout: float = PATIENCE_SECONDS) -> int:
        """Wait for its end; minus the signal that ended it, or its exit code."""
        if self.returncode is None:
            self._next("ended", timeout)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it is known to have ended."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """End it, wait, and close all that leads to it."""
        self.kill()
        self.wait()
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()
        self.stdout.close()
        self._said.close()
        self._events.close()


def start(module: str, *arguments: object, sockets: Sequence[socket.socket] = ()) -> Forked:
    """Start `main` of a module in a process of its own, with the environment of this one.

    Parameters
    ----------
    module
        Its full name.
    arguments
        Given to `main` as strings.
    sockets
        Inherited; `main` gets their descriptors after the arguments.
    """
    return Forked(module, [str(each) for each in arguments], sockets)


@functools.cache
def _parent() -> socket.socket:
    """The way to the process that forks; it ends when this one does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LONGEST)
    command = [sys.executable, "-m", "tests.forks", str(theirs.fileno())]
    parent = subprocess.Popen(command, pass_fds=[theirs.fileno()], cwd=_ROOT)
    theirs.close()

    def end() -> None:
        ours.close()
        parent.wait(PATIENCE_SECONDS)

    atexit.register(end)
    return ours


class _Forking:
    """The process that forks: one thread, which says to each child's starter what becomes of it."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._starters: dict[int, socket.socket] = {}
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._requests, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fd == self._woken:
                        os.read(self._woken, 4_096)
                        self._look()
                    elif not self._fork():
                        return

    def end(self) -> None:
        for child in self._starters:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    def _look(self) -> None:
        """Tell of those that stopped or ended."""
        for child in list(self._starters):
            found, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
            if found and os.WIFSTOPPED(status):
                self._tell(child, f"stopped {os.WSTOPSIG(status)}")
            elif found:
                self._tell(child, f"ended {os.waitstatus_to_exitcode(status)}")
                self._starters.pop(child).close()

    def _tell(self, child: int, event: str) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more
            self._starters[child].sendall(event.encode() + b"\n")

    def _fork(self) -> bool:
        message, descriptors, _, _ = socket.recv_fds(self._requests, _LONGEST, 64)
        if not message:
            return False
        command = json.loads(message)
        fresh = command["module"] not in sys.modules
        module = importlib.import_module(command["module"])
        if fresh and hasattr(module, "warm"):
            module.warm()
        assert threading.active_count() == 1, "a fork takes no threads along"
        events, stdin, stdout, *more = descriptors
        child = os.fork()
        if child == 0:
            self._become(module.main, command, stdin, stdout, [str(each) for each in more], events)
        for each in descriptors[1:]:
            os.close(each)
        self._starters[child] = socket.socket(fileno=events)
        self._tell(child, f"pid {child}")
        return True

    def _become(
        self, main: object, command: dict[str, object], stdin: int, stdout: int, more: list[str], events: int
    ) -> None:
        """Be the child, and never come back."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for each in (self._requests, *self._starters.values()):
                each.close()
            os.dup2(stdin, 0)
            os.dup2(stdout, 1)
            for descriptor in (stdin, stdout, events, self._woken, self._wake):
                os.close(descriptor)
            random.seed()
            os.environ.clear()
            os.environ.update(command["environment"])  # type: ignore[call-overload]
            main([*command["arguments"], *more])  # type: ignore[operator, misc]
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:  # noqa: BLE001
            sys.excepthook(*sys.exc_info())
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
            os._exit(code)


def main() -> None:
    """Fork until the starter has ended."""
    forking = _Forking(socket.socket(fileno=int(sys.argv[1])))
    try:
        forking.run()
    finally:
        forking.end()


if __name__ == "__main__":
    main()
