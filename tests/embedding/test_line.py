"""The next batch is sent ahead of the last one's answer: when, and that nobody gets another's vectors."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from feedback_guard.embedding.batcher import Batcher
from feedback_guard.embedding.bell import Bell, Heard
from feedback_guard.embedding.interface import Readiness, Vectors
from feedback_guard.embedding.line import HALF, WORTH
from feedback_guard.embedding.vectors import round_half
from feedback_guard.errors import EmbeddingError
from tests.embedding.faulty import Recorder
from tests.patience import PATIENCE_SECONDS

DEADLINE = 60_000_000


class Ahead(Recorder):
    """Takes batches ahead and answers the oldest when it is let; texts that hold "bad" fail their batch."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Semaphore(0)
        self._reads, self._lets = os.pipe()
        self._under_way: deque[list[str]] = deque()

    def let(self, n: int = 1) -> None:
        """Answer n batches."""
        os.write(self._lets, b"." * n)

    def begin(self, texts: Sequence[str]) -> None:
        self.threads.add(threading.get_ident())
        self.batches.append(list(texts))
        self._under_way.append(list(texts))
        self.begun.release()

    def finish(self) -> Vectors:
        os.read(self._reads, 1)
        texts = self._under_way.popleft()
        if any("bad" in text for text in texts):
            raise EmbeddingError("the model failed")
        vectors = super().encode(texts)
        self.batches.pop()  # `encode` noted them once more
        return vectors

    def prepare(self) -> Readiness:
        return Readiness.READY

    def fileno(self) -> int | None:
        return self._reads if self._under_way else None

    def left_seconds(self) -> None:
        return None

    def close(self) -> None:
        os.close(self._reads)
        os.close(self._lets)

    async def sent(self) -> None:
        """Wait until one more batch was begun."""
        assert await asyncio.to_thread(self.begun.acquire, timeout=PATIENCE_SECONDS)


@contextmanager
def running(embedder: Ahead, *, max_batch: int = 32) -> Iterator[Batcher]:
    batcher = Batcher(embedder, max_batch=max_batch, max_wait_us=0, queue_size=512)
    batcher.start()
    try:
        yield batcher
    finally:
        batcher.close(timeout_seconds=PATIENCE_SECONDS)


def call(batcher: Batcher, *texts: str) -> asyncio.Task[list[Vectors]]:
    one: Coroutine[Any, Any, list[Vectors]] = batcher.embed(list(texts), deadline_us=DEADLINE)
    return asyncio.create_task(one)


def test_a_batch_goes_ahead_once_enough_texts_wait() -> None:
    ahead = Ahead()

    async def main() -> None:
        first = call(batcher, "first")
        await ahead.sent()
        rest = [call(batcher, f"text {n}") for n in range(WORTH)]
        await ahead.sent()  # though the first is not answered
        assert not first.done()
        ahead.let(2)
        await asyncio.gather(first, *rest)

    with running(ahead) as batcher:
        asyncio.run(main())
    assert [len(batch) for batch in ahead.batches] == [1, WORTH]
    assert len(ahead.threads) == 1


def test_few_texts_wait_for_the_answer() -> None:
    ahead = Ahead()

    async def main() -> None:
        first = call(batcher, "first")
        await ahead.sent()
        rest = [call(batcher, f"text {n}") for n in range(WORTH - 1)]
        await asyncio.sleep(0)
        assert not ahead.begun.acquire(blocking=False)
        ahead.let()
        await first
        await ahead.sent()
        ahead.let()
        await asyncio.gather(*rest)

    with running(ahead) as batcher:
        asyncio.run(main())
    assert [len(batch) for batch in ahead.batches] == [1, WORTH - 1]


def test_no_more_than_two_are_under_way() -> None:
    ahead = Ahead()

    async def main() -> None:
        calls = [call(batcher, "first")]
        await ahead.sent()
        for _ in range(2):
            calls += [call(batcher, f"text {len(calls)}-{n}") for n in range(WORTH)]
            await asyncio.sleep(0)
        await ahead.sent()
        calls += [call(batcher, f"later {n}") for n in range(3 * WORTH)]
        await asyncio.sleep(0)
        assert len(ahead.batches) == 2
        ahead.let(10)
        await asyncio.gather(*calls)

    with running(ahead) as batcher:
        asyncio.run(main())


@pytest.mark.parametrize(("n", "sizes"), [(2 * HALF - 1, [2 * HALF - 1]), (2 * HALF, [HALF, HALF]), (31, [15, 16])])
def test_what_is_enough_for_two_batches_is_divided(n: int, sizes: list[int]) -> None:
    """The second half lies before the model while it reads the first, so the guard has something to do meanwhile."""
    ahead = Ahead()

    async def main() -> None:
        waits = call(batcher, *(f"text {number}" for number in range(n)))
        for _ in sizes:
            await ahead.sent()
        assert not waits.done()
        ahead.let(len(sizes))
        vectors = await waits
        assert [each[0].tolist() for each in vectors] == [
            round_half(Recorder().encode([f"text {number}"]))[0].tolist() for number in range(n)
        ]

    with running(ahead) as batcher:
        asyncio.run(main())
    assert [len(batch) for batch in ahead.batches] == sizes


@pytest.mark.parametrize("max_batch", [4, 32])
def test_everybody_gets_their_own(max_batch: int) -> None:
    """What fails in between fails by itself, and moves nobody's vectors."""
    ahead, reference = Ahead(), Recorder()
    ahead.let(2_000)

    async def main() -> None:
        texts = [("bad " if n % 17 == 3 else "text ") + str(n) for n in range(200)]
        answers = await asyncio.gather(*(call(batcher, text) for text in texts), return_exceptions=True)
        for text, answer in zip(texts, answers, strict=True):
            if text.startswith("bad"):
                assert isinstance(answer, EmbeddingError)
            else:
                assert not isinstance(answer, BaseException), answer
                assert np.array_equal(answer[0], round_half(reference.encode([text])))

    with running(ahead, max_batch=max_batch) as batcher:
        asyncio.run(main())


def test_a_job_takes_turns_with_a_stream_of_live_texts() -> None:
    """Live texts that are always worth sending ahead do not keep a baseline from being built."""
    ahead = Ahead()

    async def main() -> None:
        first = call(batcher, "first")
        await ahead.sent()
        live = [call(batcher, f"live {n}") for n in range(12 * WORTH)]
        await ahead.sent()
        job = asyncio.create_task(asyncio.to_thread(batcher.embed_now, ["job"]))
        while len(batcher._queue._open) < 12 * WORTH + 2:  # noqa: ASYNC110 - until the thread has handed it in
            await asyncio.sleep(0)
        ahead.let(100)
        await asyncio.gather(first, job, *live)

    with running(ahead, max_batch=WORTH) as batcher:
        asyncio.run(main())
    assert ["job"] in ahead.batches[:5]


def test_closing_fails_what_is_under_way() -> None:
    ahead = Ahead()

    async def main() -> None:
        calls = [call(batcher, "first")]
        await ahead.sent()
        calls += [call(batcher, f"text {n}") for n in range(WORTH)]
        await ahead.sent()
        closing = asyncio.create_task(asyncio.to_thread(batcher.close, timeout_seconds=PATIENCE_SECONDS))
        answers = await asyncio.gather(*calls, return_exceptions=True)  # before the model answered anything
        assert {str(answer) for answer in answers} == {"the embedder was closed"}
        await closing  # nor is it waited for

    with running(ahead) as batcher:
        asyncio.run(main())


def test_a_bell_is_heard_once_and_a_file_as_often_as_it_can_be_read() -> None:
    bell, (reads, writes) = Bell(), os.pipe()
    assert bell.wait(0.0) is Heard.NOTHING
    for _ in range(100_000):  # more than the pipe holds
        bell.ring()
    assert bell.wait(None) is Heard.BELL
    assert bell.wait(0.0, also=[reads]) is Heard.NOTHING
    os.write(writes, b".")
    assert bell.wait(None, also=[reads]) is Heard.FILE
    assert bell.wait(None, also=[reads]) is Heard.FILE
    assert bell.wait(0.0) is Heard.NOTHING
    os.close(reads)
    assert bell.wait(0.0, also=[reads]) is Heard.NOTHING  # a file that was closed is not waited for
    os.close(writes)
    bell.close()
