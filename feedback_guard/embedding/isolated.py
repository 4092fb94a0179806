"""The model in a process of its own: it shares no interpreter lock with the guard, and it can be ended if it hangs.

A model calls hundreds of small operations for each batch, and between any two of them its thread waits for whatever
Python code the rest of the process runs; an event loop beside it halves its speed. A process of its own also keeps a
crash of the model, or the memory that it takes, away from the application that the guard stands in.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from typing import Final

import numpy as np

from feedback_guard.clock import MICROSECONDS, Clock, SystemClock
from feedback_guard.embedding.bell import readable
from feedback_guard.embedding.factory import make_embedder
from feedback_guard.embedding.frames import FrameError, receive, send
from feedback_guard.embedding.interface import Readiness, Vectors
from feedback_guard.embedding.vectors import require_unit
from feedback_guard.embedding.windows import Windows
from feedback_guard.errors import EmbeddingError, ModelDigestError
from feedback_guard.policy.embedding import Backend, EmbeddingPolicy

logger = logging.getLogger(__name__)

LOAD_SECONDS: Final = 300.0
"""How long a model may take to load."""
RESTART_SECONDS: Final = 10.0
"""Shortest time between two starts of a model that failed; in between, texts fail at once."""
GRACE_SECONDS: Final = 0.25
"""How long the rest of an answer is waited for whose time is over."""
_CHILD: Final = "feedback_guard.embedding.child"


class IsolatedEmbedder:
    """An `Embedder` whose model runs in a process of its own. Owned and called by one thread, like any other.

    Making one checks the model's files and starts nothing; `load` starts the process. If the process ends or takes
    longer than `policy.stall` over a batch, that batch fails and the next one starts it anew.

    Parameters
    ----------
    policy
        Names the model. `unsafe-hashing-for-tests` is no model and is refused.
    clock
        For the time between two starts.

    Raises
    ------
    ModelDigestError
        If the model directory is not the pinned one, or holds what is refused.
    EmbeddingError
        If there is no such model.
    """

    def __init__(self, policy: EmbeddingPolicy, *, clock: Clock | None = None) -> None:
        if policy.backend is Backend.UNSAFE_HASHING:
            raise EmbeddingError("the hashing embedder for tests needs no process of its own")
        described = make_embedder(policy)
        self._policy = policy
        self._clock = clock or SystemClock()
        self._fingerprint = described.fingerprint
        self._dimension = described.dimension
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._begun: deque[tuple[socket.socket, int]] = deque()
        self._read_since = 0.0  # when the model could begin with the oldest batch
        self._loads = False
        self._windows: Windows | None = None
        self._packs = False
        self._started = -RESTART_SECONDS
        self._why = "the model's process was not started"

    @property
    def fingerprint(self) -> str:
        """Of the model, the same as without a process of its own."""
        return self._fingerprint

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._dimension

    @property
    def packs(self) -> bool:
        """Whether the model reads texts without padding; False before `load`."""
        return self._packs

    @property
    def policy(self) -> EmbeddingPolicy:
        """What it was made of."""
        return self._policy

    @property
    def is_ready(self) -> bool:
        """Whether a process with a loaded model was there when last heard of."""
        return self._channel is not None and not self._loads

    @property
    def pid(self) -> int | None:
        """The model's process; None while there is none."""
        return self._process.pid if self._process is not None else None

    def load(self) -> None:
        """Start the process and wait until its model is loaded.

        Raises
        ------
        EmbeddingError
            If it cannot be started or the model cannot be loaded; the message says why.
        """
        self.start()
        self._await_model()

    def start(self) -> None:
        """Start the process, which loads its model meanwhile. Does nothing if there is one.

        Raises
        ------
        EmbeddingError
            If it cannot be started.
        """
        if self._channel is not None:
            return
        self._started = self._clock.monotonic()
        ours, theirs = socket.socketpair()
        self._channel, self._loads = ours, True
        try:
            with theirs:
                # Where Python looks for modules may have been changed here; the other process must look there too.
                environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
                self._process = subprocess.Popen(  # noqa: S603 - this Python, with nothing from outside
                    [sys.executable, "-m", _CHILD, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    env=environment,
                )
            ours.settimeout(LOAD_SECONDS)
            send(ours, {"policy": self._policy.model_dump(mode="json")})
        except (OSError, FrameError) as error:
            self._end(f"the model's process could not start: {error}", kill=True)
            raise EmbeddingError(self._why) from error

    def prepare(self) -> Readiness:
        """Say whether it can be sent a batch. A process that ended is started anew, if it may be, without waiting."""
        try:
            if self._channel is None:
                if self._rests:
                    return Readiness.RESTING
                logger.warning("%s; starting it anew", self._why)
                self.start()
            if self._loads:
                late = self._clock.monotonic() - self._started >= LOAD_SECONDS
                if not late and self._channel is not None and not readable([self._channel.fileno()], 0.0):
                    return Readiness.LOADING
                self._await_model()
        except EmbeddingError as error:
            logger.warning("%s", error)
            return Readiness.RESTING
        return Readiness.READY

    def close(self) -> None:
        """End the process. `load` may follow."""
        self._end("the model's process was closed", kill=False)
        self._started = -RESTART_SECONDS

    def split(self, text: str) -> list[str]:
        """Cut a text into windows that the model reads whole.

        Raises
        ------
        EmbeddingError
            If it holds lone surrogates, or needs more than `settings.MAX_WINDOWS` windows.
        """
        if self._windows is None:
            self.load()
        if self._windows is None:
            raise EmbeddingError(self._why)
        return self._windows.split(text)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Embed texts that each fit the model's window, in one batch.

        Raises
        ------
        EmbeddingError
            If a text does not fit, the model fails, or its process ended or hung; it is started anew by a later call.
        """
        if not texts:
            return np.empty((0, self._dimension), dtype=np.float32)
        if self._begun:
            raise EmbeddingError("a batch is under way; `finish` it first")
        self.begin(texts)
        return self.finish()

    def begin(self, texts: Sequence[str]) -> None:
        """Send a batch, which may lie before the model until it has answered an earlier one.

        Raises
        ------
        EmbeddingError
            If the process ended; batches under way are lost with it.
        """
        channel = self._ready()
        try:
            send(channel, {"texts": list(texts)})
        except FrameError as error:
            self._end(str(error), kill=True)
            raise EmbeddingError(f"{error}; it is started anew") from None
        if not self._begun:
            self._read_since = self._clock.monotonic()
        self._begun.append((channel, len(texts)))

    def finish(self) -> Vectors:
        """Wait for the vectors of the oldest batch that was begun, for no longer than `policy.stall` altogether.

        Raises
        ------
        EmbeddingError
            As `encode`.
        """
        if not self._begun:
            raise EmbeddingError("no batch is under way; `begin` one first")
        channel, n = self._begun.popleft()
        left, self._read_since = self._left_of_stall(), self._clock.monotonic()
        if channel is not self._channel:
            raise EmbeddingError(f"{self._why}; it is started anew")
        try:
            channel.settimeout(max(left, min(GRACE_SECONDS, self._stall)))
            head, body = receive(channel)
        except FrameError as error:
            self._end(str(error), kill=True)
            raise EmbeddingError(f"{error}; it is started anew") from None
        self._read_since = self._clock.monotonic()
        channel.settimeout(self._stall)
        if "error" in head:
            raise EmbeddingError(head["error"])
        vectors = np.frombuffer(body, dtype=np.float32)
        return require_unit(vectors.reshape(head["shape"]), n=n, dimension=self._dimension)

    def fileno(self) -> int | None:
        """The channel, which can be read once the oldest batch is answered or the model is loaded.

        None if neither will come.
        """
        if self._channel is None or (self._begun and self._begun[0][0] is not self._channel):
            return None
        return self._channel.fileno() if self._begun or self._loads else None

    def left_seconds(self) -> float | None:
        """For how much longer the model may read the oldest batch, or load; None if it does neither."""
        if self._loads:
            return self._started + LOAD_SECONDS - self._clock.monotonic()
        return self._left_of_stall() if self._begun else None

    @property
    def _stall(self) -> float:
        return self._policy.stall / MICROSECONDS

    @property
    def _rests(self) -> bool:
        return self._clock.monotonic() - self._started < RESTART_SECONDS

    def _left_of_stall(self) -> float:
        return self._read_since + self._stall - self._clock.monotonic()

    def _ready(self) -> socket.socket:
        if self._channel is None:
            if self._rests:
                raise EmbeddingError(f"{self._why}; it is started anew in a few seconds")
            logger.warning("%s; starting it anew", self._why)
        self.load()
        if self._channel is None:
            raise EmbeddingError(self._why)
        return self._channel

    def _await_model(self) -> None:
        """Wait for a process that was started to say what it loaded."""
        channel = self._channel
        if channel is None or not self._loads:
            return
        try:
            channel.settimeout(max(self._started + LOAD_SECONDS - self._clock.monotonic(), GRACE_SECONDS))
            head, _ = receive(channel)
            if "error" in head:
                raise (ModelDigestError if head["kind"] == "ModelDigestError" else EmbeddingError)(head["error"])
            if head["fingerprint"] != self._fingerprint:
                raise EmbeddingError("the model's process loaded another model; were its files changed meanwhile?")
            self._windows = Windows.from_json(head["windows"])
            self._packs = head.get("packs") is True
        except BaseException as error:
            self._end(f"the model's process could not start: {error}", kill=True)
            if isinstance(error, EmbeddingError) or not isinstance(error, Exception):
                raise
            raise EmbeddingError(self._why) from error
        self._loads = False
        channel.settimeout(self._stall)

    def _end(self, why: str, *, kill: bool) -> None:
        self._why = why
        self._loads = False
        channel, self._channel = self._channel, None
        process, self._process = self._process, None
        if channel is not None:
            channel.close()
        if process is None:
            return
        if not kill:  # it reads the closed channel and ends by itself, unless it hangs
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1.0)
        if process.poll() is None:
            process.kill()
            process.wait()
