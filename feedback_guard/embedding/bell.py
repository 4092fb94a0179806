"""Wakes the one thread that waits for either more texts or an answer of a model's process."""

from __future__ import annotations

import contextlib
import enum
import os
import select
from collections.abc import Iterable
from typing import Final

_CAN_BE_READ: Final = select.POLLIN | select.POLLHUP | select.POLLERR


class Heard(enum.Enum):
    """Why a wait ended."""

    NOTHING = enum.auto()
    """The time was over."""
    BELL = enum.auto()
    FILE = enum.auto()
    """A file can be read, whether or not the bell was rung too."""


class Bell:
    """Any thread rings it, one thread waits for it, or for file descriptors that can be read.

    A condition variable cannot wait for a socket, and a socket not for a condition variable: so whoever rings writes
    one byte to a pipe.

    Examples
    --------
    >>> bell = Bell()
    >>> bell.ring()
    >>> bell.wait(0.0).name, bell.wait(0.0).name
    ('BELL', 'NOTHING')
    >>> bell.close()
    """

    def __init__(self) -> None:
        self._reads, self._rings = os.pipe()
        os.set_blocking(self._reads, False)
        os.set_blocking(self._rings, False)

    def ring(self) -> None:
        """Wake the thread that waits, or the next one that does."""
        with contextlib.suppress(BlockingIOError):  # it has been rung often enough
            os.write(self._rings, b"!")

    def wait(self, seconds: float | None, *, also: Iterable[int] = ()) -> Heard:
        """Wait until it is rung, the time is over, or one of `also` can be read.

        Parameters
        ----------
        seconds
            None: for ever.
        also
            File descriptors; one that was closed is not waited for.
        """
        ready = readable([self._reads, *also], seconds)
        with contextlib.suppress(BlockingIOError):
            while os.read(self._reads, 4_096):
                pass
        if ready - {self._reads}:
            return Heard.FILE
        return Heard.BELL if ready else Heard.NOTHING

    def close(self) -> None:
        """Give the pipe back. It must not be used again."""
        os.close(self._reads)
        os.close(self._rings)


def readable(files: Iterable[int], seconds: float | None) -> set[int]:
    """Those of some file descriptors that can be read, or whose other end is closed, as soon as there are any.

    Parameters
    ----------
    files
        One that was closed is left out, so that its number is never waited for.
    seconds
        Longest wait; None: for ever.
    """
    poll = select.poll()
    for file in files:
        poll.register(file, select.POLLIN)
    while True:
        found = poll.poll(None if seconds is None else max(0.0, seconds) * 1_000)
        closed = [file for file, events in found if events & select.POLLNVAL]
        ready = {file for file, events in found if events & _CAN_BE_READ}
        if ready or not closed:
            return ready
        for file in closed:
            poll.unregister(file)
