"""Who waits for vectors: a coroutine with its event loop, or a thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Sequence

from feedback_guard.embedding.batches import Item
from feedback_guard.embedding.interface import Vectors
from feedback_guard.embedding.vectors import round_half
from feedback_guard.errors import EmbeddingError

Answer = Callable[[list[Vectors] | None, EmbeddingError | None], None]
"""Hands over the vectors, or the reason why there are none. Called once, from the thread that owns the model."""


class Request:
    """The texts of one call. Only the thread that owns the model completes it; anybody may fail or abandon it.

    Parameters
    ----------
    texts
        What is to be embedded.
    answer
        Where the result goes.
    release
        Told once, or more often, that the request no longer takes room.
    arrived
        When it came, by the monotonic clock, in seconds.
    first
        Number of its first text, for messages.
    """

    def __init__(
        self,
        texts: Sequence[str],
        answer: Answer,
        release: Callable[[Request], None],
        *,
        arrived: float = 0.0,
        first: int = 0,
    ) -> None:
        self.items = [Item(text, self, first + n, arrived) for n, text in enumerate(texts)]
        self._answer = answer
        self._release = release
        self._results: dict[int, Vectors] = {}
        self._over = False

    @property
    def over(self) -> bool:
        """Whether it was answered, or is no longer wanted."""
        return self._over

    def complete(self, item: Item) -> None:
        """Take the vectors of a text that is done; with the last one the request is answered."""
        self._results[item.index] = round_half(item.vectors())
        if len(self._results) == len(self.items):
            self._end([self._results[item.index] for item in self.items], None)

    def fail(self, error: EmbeddingError) -> None:
        """Answer with an error, unless it was answered."""
        self._end(None, error)

    def abandon(self) -> None:
        """Nobody waits any more: what was not begun is dropped."""
        self._over = True
        self._release(self)

    def _end(self, vectors: list[Vectors] | None, error: EmbeddingError | None) -> None:
        if not self._over:
            self._over = True
            self._release(self)
            self._answer(vectors, error)


_Settled = tuple[asyncio.Future[list[Vectors]], list[Vectors] | None, EmbeddingError | None]


class Outbox:
    """Answers on their way to event loops, which are woken once for all that come together.

    A loop that is woken takes the interpreter lock for as long as it has something to do, so whoever wakes it for each
    answer of a batch waits for the lock each time. Safe to use from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[asyncio.AbstractEventLoop, list[_Settled]] = {}

    def to_coroutine(self, loop: asyncio.AbstractEventLoop, future: asyncio.Future[list[Vectors]]) -> Answer:
        """Return an answer for a coroutine in its own event loop; it arrives with the next `flush`."""

        def answer(vectors: list[Vectors] | None, error: EmbeddingError | None) -> None:
            with self._lock:
                self._waiting.setdefault(loop, []).append((future, vectors, error))

        return answer

    def flush(self) -> None:
        """Wake each loop that has answers waiting."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for loop, answers in waiting.items():
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody is left to be told
                loop.call_soon_threadsafe(_settle, answers)


def _settle(answers: Sequence[_Settled]) -> None:
    for future, vectors, error in answers:
        if future.done():
            continue
        if vectors is None:
            future.set_exception(error or EmbeddingError("there are no vectors"))
        else:
            future.set_result(vectors)


def to_thread(future: concurrent.futures.Future[list[Vectors]]) -> Answer:
    """Return an answer that wakes the thread that waits for the future."""

    def answer(vectors: list[Vectors] | None, error: EmbeddingError | None) -> None:
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            if vectors is None:
                future.set_exception(error or EmbeddingError("there are no vectors"))
            else:
                future.set_result(vectors)

    return answer
