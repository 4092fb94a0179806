"""The demo's child processes: started on free loopback ports, ended by their own ids, whatever happens."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

from feedback_guard.errors import GuardError

EXAMPLES = Path(__file__).resolve().parent.parent
STOP_SECONDS = 10.0
START_SECONDS = 120.0
LOG_LINES = 25
PROGRAM = "attack_demo.serve"


class DemoError(GuardError):
    """A part of the demo failed; the message holds the end of its log."""


def _listen() -> socket.socket:
    """Take a free port now, so that nobody else can have it before the child listens."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    return listener


class Child:
    """A process of `attack_demo.serve`.

    It ends when its standard input ends, so it does not outlive the demo even if the demo is killed.

    Parameters
    ----------
    name
        For messages, and for the name of its log.
    folder
        Its working directory; the log is written there.
    services
        What it serves, each on a port of its own: `assistant`, `review`.
    arguments
        Further arguments of `attack_demo.serve`.
    """

    def __init__(self, name: str, folder: Path, services: Sequence[str], arguments: Sequence[str] = ()) -> None:
        self.name = name
        self.log = folder / f"{name.replace(' ', '-')}.log"
        self._folder = folder
        self._services = services
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self.addresses: dict[str, str] = {}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            listeners = {service: stack.enter_context(_listen()) for service in self._services}
            log = stack.enter_context(self.log.open("wb"))
            ports = [f"--{service}-fd={listener.fileno()}" for service, listener in listeners.items()]
            self.addresses = {
                service: f"http://127.0.0.1:{listener.getsockname()[1]}" for service, listener in listeners.items()
            }
            self._process = subprocess.Popen(
                [sys.executable, "-m", PROGRAM, *ports, *self._arguments],
                cwd=self._folder,
                env=os.environ | {"PYTHONPATH": str(EXAMPLES)},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[listener.fileno() for listener in listeners.values()],
                start_new_session=True,  # Ctrl-C is for the demo, which then ends its children in order
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None:
            return
        if self._process.stdin is not None:
            self._process.stdin.close()
        for stop in (self._process.terminate, self._process.kill):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
                return
            stop()
        self._process.wait()

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process is not None else None

    def watch(self, seconds: float = 0.0) -> None:
        """Come back after so many seconds if it still runs by then.

        Raises
        ------
        DemoError
            As soon as it has ended, with the end of its log.
        """
        if self._process is None:
            raise DemoError(f"the {self.name} was not started")
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(seconds)
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
            raise DemoError("\n".join([f"the {self.name} ended with code {code}; its log ends:", *lines[-LOG_LINES:]]))

    def wait_until_ready(self) -> None:
        """Come back when it answers.

        Raises
        ------
        DemoError
            If it ends, or does not answer within `START_SECONDS`.
        """
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            self.watch(0.1)
            with contextlib.suppress(httpx2.TransportError):
                if httpx2.get(self.addresses["assistant"], timeout=5).is_success:
                    return
        raise DemoError(f"the {self.name} did not answer within {START_SECONDS:g} seconds; its log is {self.log}")
