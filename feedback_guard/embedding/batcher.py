"""One thread owns model and tokenizer; many requests share its batches.

A text by itself costs three to four times as much processor time as one of a batch, and a tokenizer that two threads
use returns wrong lengths without a word. So everything that touches either runs in one thread, fed by a bounded
queue, and callers wait for no longer than their deadline.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import threading
from collections.abc import Callable, Sequence
from typing import Final, cast

from feedback_guard.clock import MICROSECONDS, Clock, SystemClock
from feedback_guard.embedding.batches import PATIENCE_SECONDS, Pool
from feedback_guard.embedding.interface import Embedder, Vectors
from feedback_guard.embedding.line import Line
from feedback_guard.embedding.queue import Queue
from feedback_guard.embedding.requests import Outbox, Request, to_thread
from feedback_guard.errors import EmbeddingDeadlineError, EmbeddingError, UsageError

logger = logging.getLogger(__name__)

NOW_CHUNK: Final = 1_024
"""Most texts that `embed_now` sorts by length and puts into batches together."""


class Batcher:
    """Embeds texts for many callers at once, in micro-batches.

    Parameters
    ----------
    embedder
        The model, or a callable that makes it. Either way it is loaded, called and split with by one thread only;
        if it has a method `load`, that thread calls it first; if it has a method `close`, that thread calls it last.
        One that has `packs`, and it is true, is given texts of any length together; others texts of similar length.
        One that is `Pipelined` gets the next batch before it has answered the last.
    max_batch
        Most windows in one pass through the model, from 1. A larger batch is hardly faster beyond 16 and makes
        every text in it wait for the whole.
    max_wait_us
        How long the first text of a batch waits for others, in microseconds. 0 waits for nobody: better for a
        single client, worse for many.
    queue_size
        Most texts that wait or are in the model, from 1. Beyond it callers are refused.
    on_batch
        Called after each batch, in the owner's thread, with the number of windows and the seconds it took.
    clock
        Where durations come from.

    Examples
    --------
    >>> from feedback_guard.embedding.hashing import UnsafeHashingEmbedder
    >>> batcher = Batcher(UnsafeHashingEmbedder(), max_batch=8, max_wait_us=0, queue_size=64)
    >>> batcher.start()
    >>> [vectors.shape for vectors in batcher.embed_now(["one", "two"])]
    [(1, 128), (1, 128)]
    >>> batcher.close()
    """

    def __init__(
        self,
        embedder: Embedder | Callable[[], Embedder],
        *,
        max_batch: int,
        max_wait_us: int,
        queue_size: int,
        on_batch: Callable[[int, float], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        if max_batch < 1 or queue_size < 1 or max_wait_us < 0:
            raise UsageError(
                f"max_batch ({max_batch}) and queue_size ({queue_size}) are at least 1, max_wait_us ({max_wait_us}) 0"
            )
        self._source = embedder
        self._max_batch = max_batch
        self._on_batch = on_batch
        self._clock = clock or SystemClock()
        self._queue = Queue(size=queue_size, enough=max_batch, max_wait=max_wait_us / MICROSECONDS, clock=self._clock)
        self._outbox = Outbox()
        self._embedder: Embedder | None = None
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._left_behind: threading.Thread | None = None
        self._pid: int | None = None
        self._job_is_next = False  # the owner's

    @property
    def embedder(self) -> Embedder:
        """The embedder, for its fingerprint and dimension. Never call its methods from another thread.

        Raises
        ------
        EmbeddingError
            Before `start`.
        """
        if self._embedder is None:
            raise EmbeddingError("the embedder is not loaded; call `start` first")
        return self._embedder

    @property
    def queue_depth(self) -> int:
        """Texts that wait or are in the model, 0 to `queue_size`; those of `embed_now` are not counted."""
        return self._queue.depth

    def start(self) -> None:
        """Load the model in its thread and return when it is ready. Does nothing if it runs already.

        Call it in the process that embeds: a loaded model does not survive a fork.

        Raises
        ------
        EmbeddingError
            If the model cannot be loaded, was loaded before a fork, or still hangs.
        """
        self._require_same_process()
        with self._starting:
            if self._thread is not None and self._thread.is_alive():
                return
            if self._left_behind is not None and self._left_behind.is_alive():
                raise EmbeddingError("the model still hangs in the thread of the last start; restart the process")
            self._pid = os.getpid()
            ready: concurrent.futures.Future[None] = concurrent.futures.Future()
            thread = threading.Thread(target=self._own, args=(ready,), name="feedback-guard-embedding", daemon=True)
            thread.start()
            ready.result()
            self._thread = thread

    def close(self, *, timeout_seconds: float = 10.0) -> None:
        """Fail what waits and end the thread. Does nothing if it does not run. It can be started again.

        Parameters
        ----------
        timeout_seconds
            How long to wait for a batch that is in the model. A model that hangs is left behind.
        """
        if self._thread is None or self._pid != os.getpid():
            return
        self._queue.stop("the embedder was closed")
        self._outbox.flush()
        self._thread.join(timeout_seconds)
        if self._thread.is_alive():
            self._left_behind = self._thread
            logger.warning("the model did not return within %.1f s; its thread is left behind", timeout_seconds)
        self._thread = None

    async def embed(self, texts: Sequence[str], *, deadline_us: int) -> list[Vectors]:
        """Embed texts, sharing batches with other callers. Works in any event loop, and in several at once.

        Parameters
        ----------
        texts
            Bounded texts; longer ones than the model's window are embedded whole, in windows.
        deadline_us
            How long to wait from now, in microseconds. What has not begun by then is dropped.

        Returns
        -------
        list of ndarray of shape (n_windows, d), float32
            One array a text, rounded to half precision.

        Raises
        ------
        EmbeddingOverloadError
            If the texts do not fit the queue.
        EmbeddingDeadlineError
            If the vectors did not come in time.
        EmbeddingError
            If the model fails on one of the texts, returns what it must not, or was closed.
        """
        self._require_same_process()
        texts = _require_texts(texts)
        if not texts:
            return []
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Vectors]] = loop.create_future()
        answer = self._outbox.to_coroutine(loop, future)
        request = Request(texts, answer, self._queue.release, arrived=self._clock.monotonic())
        self._queue.submit(request)
        late = loop.call_later(deadline_us / MICROSECONDS, self._late, future, len(texts), deadline_us)
        try:
            return await future
        finally:
            late.cancel()
            request.abandon()

    def _late(self, future: asyncio.Future[list[Vectors]], n: int, deadline_us: int) -> None:
        if not future.done():
            future.set_exception(
                EmbeddingDeadlineError(
                    f"{n} texts had no vectors after {deadline_us / 1_000:g} ms; {self._queue.depth} texts wait"
                )
            )

    def embed_now(self, texts: Sequence[str]) -> list[Vectors]:
        """Embed texts and wait: for building a baseline and for replay. Never call it from an event loop.

        The texts share batches with nobody else, so the same texts give the same batches. There is no bound and no
        deadline; requests that come meanwhile take turns with it.

        Returns
        -------
        list of ndarray of shape (n_windows, d), float32
            One array a text, rounded to half precision.

        Raises
        ------
        EmbeddingError
            If the model fails on one of the texts, naming its number, or was closed.
        """
        self._require_same_process()
        texts = _require_texts(texts)
        vectors: list[Vectors] = []
        for start in range(0, len(texts), NOW_CHUNK):
            future: concurrent.futures.Future[list[Vectors]] = concurrent.futures.Future()
            request = Request(texts[start : start + NOW_CHUNK], to_thread(future), self._queue.release, first=start)
            self._queue.submit_job(request)
            try:
                vectors += future.result()
            finally:
                request.abandon()
        return vectors

    def _require_same_process(self) -> None:
        if self._pid is not None and self._pid != os.getpid():
            raise EmbeddingError(
                f"the model was loaded in process {self._pid}, before a fork; start the guard in each worker instead"
            )

    # What follows runs in the owner's thread.

    def _own(self, ready: concurrent.futures.Future[None]) -> None:
        try:
            embedder = self._load()
        except BaseException as error:  # noqa: BLE001 - start() raises it in its own thread
            ready.set_exception(error)
            return
        padded = not getattr(embedder, "packs", False)
        live = Pool(embedder.split, max_batch=self._max_batch, patience=PATIENCE_SECONDS, padded=padded)
        job = Pool(embedder.split, max_batch=self._max_batch, patience=None, padded=padded)
        line = Line(
            embedder,
            wanted=lambda: self._queue.running,
            report=self._report,
            handed=self._outbox.flush,
            clock=self._clock,
        )
        self._embedder = embedder
        self._queue.open()
        ready.set_result(None)
        try:
            while self._queue.gather(live, job, line):
                self._advance(live, job, line)
                self._outbox.flush()  # of texts that could not be cut
        except BaseException:
            logger.exception("the embedding thread failed and ends")
        finally:
            self._queue.end("the embedding thread ended")
            self._outbox.flush()
            if callable(close := getattr(embedder, "close", None)):
                close()

    def _advance(self, live: Pool, job: Pool, line: Line) -> None:
        """Send what is worth it, live texts and jobs in turns, and take in what is answered."""
        for pool in (job, live) if self._job_is_next else (live, job):
            if not pool or line.is_full:
                continue
            if pool is job:
                line.send(job.take(0.0))
                self._job_is_next = False
            elif len(live) >= line.worth((now := self._clock.monotonic()) - live.first_arrived):
                line.send(live.take(now, at_most=line.portion(len(live))))
                self._job_is_next = True
        line.land()

    def _load(self) -> Embedder:
        source = self._source
        try:
            embedder = self._embedder or _made(source)
            if callable(load := getattr(embedder, "load", None)):
                load()
        except EmbeddingError:
            raise
        except Exception as error:
            raise EmbeddingError(f"the embedder could not be loaded: {type(error).__name__}: {error}") from error
        return embedder

    def _report(self, size: int, seconds: float) -> None:
        if self._on_batch is None:
            return
        try:
            self._on_batch(size, seconds)
        except Exception:
            logger.exception("on_batch failed")


def _made(source: Embedder | Callable[[], Embedder]) -> Embedder:
    return cast("Embedder", source) if hasattr(source, "encode") else source()


def _require_texts(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise UsageError("texts must be a sequence of texts")
    return list(texts)
