"""Wakes the one thread that waits for either more texts or an answer of the model's process."""

from __future__ import annotations

import contextlib
import enum
import os
import selectors


class Heard(enum.Enum):
    """Why a wait ended."""

    NOTHING = enum.auto()
    """The time was over."""
    BELL = enum.auto()
    FILE = enum.auto()
    """The file can be read, whether or not the bell was rung too."""


class Bell:
    """Any thread rings it, one thread waits for it, or for a file descriptor that can be read.

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
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._reads, selectors.EVENT_READ)
        self._watched: int | None = None

    def ring(self) -> None:
        """Wake the thread that waits, or the next one that does."""
        with contextlib.suppress(BlockingIOError):  # it has been rung often enough
            os.write(self._rings, b"!")

    def wait(self, seconds: float | None, *, also: int | None = None) -> Heard:
        """Wait until it is rung, the time is over, or `also` can be read.

        Parameters
        ----------
        seconds
            None: for ever.
        also
            A file descriptor; one that was closed is not waited for.
        """
        self._watch(also)
        ready = {key.fd for key, _ in self._selector.select(seconds)}
        with contextlib.suppress(BlockingIOError):
            while os.read(self._reads, 4_096):
                pass
        if also in ready:
            return Heard.FILE
        return Heard.BELL if ready else Heard.NOTHING

    def close(self) -> None:
        """Give the pipe back. It must not be used again."""
        self._selector.close()
        os.close(self._reads)
        os.close(self._rings)

    def _watch(self, also: int | None) -> None:
        # A number may by now stand for another file than the last time, so it is registered anew for each wait.
        if self._watched is not None:
            with contextlib.suppress(KeyError, ValueError, OSError):
                self._selector.unregister(self._watched)
            self._watched = None
        if also is not None:
            with contextlib.suppress(ValueError, OSError):
                self._selector.register(also, selectors.EVENT_READ)
                self._watched = also
