"""Many callers, one owner: who gets what, in which batches."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from feedback_guard.embedding.batcher import NOW_CHUNK, Batcher
from feedback_guard.embedding.checks import TOLERANCE
from feedback_guard.embedding.hashing import UnsafeHashingEmbedder
from feedback_guard.embedding.interface import Embedder
from feedback_guard.embedding.sentence_transformer import SentenceTransformerEmbedder
from feedback_guard.embedding.vectors import round_half
from feedback_guard.errors import EmbeddingError, UsageError
from tests.embedding.faulty import Gated, Recorder
from tests.patience import PATIENCE_SECONDS

SECOND = 1_000_000
LONG_DEADLINE = 60 * SECOND


@contextmanager
def running(
    embedder: Embedder, *, max_batch: int = 32, max_wait_us: int = 0, queue_size: int = 512
) -> Iterator[Batcher]:
    batcher = Batcher(embedder, max_batch=max_batch, max_wait_us=max_wait_us, queue_size=queue_size)
    batcher.start()
    try:
        yield batcher
    finally:
        batcher.close(timeout_seconds=PATIENCE_SECONDS)


async def entered(gated: Gated) -> None:
    assert await asyncio.to_thread(gated.entered.wait, PATIENCE_SECONDS)


def texts_of_all_lengths(n: int) -> list[str]:
    rng = np.random.default_rng(7)
    words = ["card", "transfer", "refund", "why", "Überweisung", "漢字", "😀", "rate"]
    return [f"caller {k}: " + " ".join(rng.choice(words, size=int(rng.integers(1, 50)))) for k in range(n)]


def check_everybody_gets_their_own(embedder: Embedder, n: int, *, max_wait_us: int) -> list[tuple[int, float]]:
    texts = texts_of_all_lengths(n)
    texts[3] = " ".join(texts[:12])  # one of them is long
    reference = [embedder.encode(embedder.split(text)) for text in texts]
    measured: list[tuple[int, float]] = []
    batcher = Batcher(
        embedder,
        max_batch=32,
        max_wait_us=max_wait_us,
        queue_size=n,
        on_batch=lambda size, seconds: measured.append((size, seconds)),
    )
    batcher.start()

    async def main() -> None:
        answers = await asyncio.gather(*(batcher.embed([text], deadline_us=LONG_DEADLINE) for text in texts))
        for (vectors,), wanted in zip(answers, reference, strict=True):
            assert vectors.dtype == np.float32
            assert vectors.shape == wanted.shape
            assert float(np.abs(vectors - wanted).max()) < TOLERANCE
            assert np.array_equal(vectors, round_half(vectors))
        assert batcher.queue_depth == 0

    asyncio.run(main())
    batcher.close()
    return measured


def test_200_concurrent_callers_get_their_own_vectors() -> None:
    measured = check_everybody_gets_their_own(UnsafeHashingEmbedder(), 200, max_wait_us=5 * SECOND)
    assert len(measured) < 60  # and they shared batches
    assert max(size for size, _ in measured) >= 8
    assert all(seconds > 0.0 for _, seconds in measured)


@pytest.mark.model
def test_concurrent_callers_of_the_real_model_get_their_own_vectors(real_embedder: SentenceTransformerEmbedder) -> None:
    assert len(check_everybody_gets_their_own(real_embedder, 24, max_wait_us=0)) < 24


@pytest.mark.model
def test_embed_now_of_the_real_model_gives_the_same_again(real_embedder: SentenceTransformerEmbedder) -> None:
    texts = texts_of_all_lengths(24)
    with running(real_embedder, max_batch=8) as batcher:
        first, second = batcher.embed_now(texts), batcher.embed_now(texts)
    assert all(np.array_equal(one, two) for one, two in zip(first, second, strict=True))


def test_one_thread_touches_the_embedder() -> None:
    recorder = Recorder()

    def call(batcher: Batcher) -> None:
        asyncio.run(_embed_twice(batcher))
        batcher.embed_now(["now"])

    with running(recorder) as batcher, ThreadPoolExecutor(4) as threads:
        list(threads.map(call, [batcher] * 8))
    assert len(recorder.threads) == 1
    assert threading.get_ident() not in recorder.threads


async def _embed_twice(batcher: Batcher) -> None:
    first, second = await asyncio.gather(*(batcher.embed(["one", "two"], deadline_us=LONG_DEADLINE) for _ in range(2)))
    assert all(np.array_equal(left, right) for left, right in zip(first, second, strict=True))


def test_several_event_loops_at_once() -> None:
    texts = texts_of_all_lengths(64)
    wanted = [round_half(UnsafeHashingEmbedder().encode([text]))[0] for text in texts]

    def in_own_loop(part: int) -> None:
        async def main() -> None:
            mine = range(part, 64, 4)
            answers = await asyncio.gather(*(batcher.embed([texts[n]], deadline_us=LONG_DEADLINE) for n in mine))
            for n, (vectors,) in zip(mine, answers, strict=True):
                assert np.array_equal(vectors[0], wanted[n])

        asyncio.run(main())

    with running(UnsafeHashingEmbedder(), max_wait_us=1_000) as batcher, ThreadPoolExecutor(4) as threads:
        list(threads.map(in_own_loop, range(4)))


def test_a_request_with_many_texts_keeps_their_order() -> None:
    texts = ["b" * 700, "a", "", "c" * 2_500, "a"]
    plain = UnsafeHashingEmbedder()

    async def main() -> None:
        answer = await batcher.embed(texts, deadline_us=LONG_DEADLINE)
        assert [len(vectors) for vectors in answer] == [1, 1, 1, 3, 1]
        for text, vectors in zip(texts, answer, strict=True):
            assert np.array_equal(vectors, round_half(plain.encode(plain.split(text))))

    with running(UnsafeHashingEmbedder(), max_batch=2) as batcher:
        asyncio.run(main())


def test_no_texts_need_no_model() -> None:
    recorder = Recorder()
    with running(recorder) as batcher:
        assert asyncio.run(batcher.embed([], deadline_us=0)) == []
        assert batcher.embed_now([]) == []
    assert recorder.batches == []


def test_a_full_batch_does_not_wait() -> None:
    """The wait is an hour: only a full batch can end it."""
    recorder = Recorder()

    async def main() -> None:
        first = asyncio.create_task(batcher.embed(["text"], deadline_us=LONG_DEADLINE))
        while batcher._queue._wake_at != 2:  # noqa: ASYNC110 - until the owner has the first and waits for two more
            await asyncio.sleep(0)
        more = (batcher.embed([f"text {n}"], deadline_us=LONG_DEADLINE) for n in range(2))
        await asyncio.gather(first, *more)

    with running(recorder, max_batch=3, max_wait_us=3_600 * SECOND) as batcher:
        asyncio.run(main())
    assert [len(batch) for batch in recorder.batches] == [3]


def test_what_came_while_the_model_was_busy_goes_together() -> None:
    gated = Gated()

    async def main() -> None:
        first = asyncio.create_task(batcher.embed(["first"], deadline_us=LONG_DEADLINE))
        await entered(gated)
        rest = [asyncio.create_task(batcher.embed([f"text {n}"], deadline_us=LONG_DEADLINE)) for n in range(5)]
        await asyncio.sleep(0)
        assert batcher.queue_depth == 6
        gated.gate.set()
        await asyncio.gather(first, *rest)

    with running(gated) as batcher:
        asyncio.run(main())
    assert [len(batch) for batch in gated.batches] == [1, 5]


def test_a_batch_wakes_a_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[object] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        wake = loop.call_soon_threadsafe

        def counted(*args: Any, **kwargs: Any) -> asyncio.Handle:
            woken.append(args)
            return wake(*args, **kwargs)

        first = asyncio.create_task(batcher.embed(["first"], deadline_us=LONG_DEADLINE))
        await entered(gated)
        rest = [asyncio.create_task(batcher.embed([f"text {n}"], deadline_us=LONG_DEADLINE)) for n in range(20)]
        await asyncio.sleep(0)
        with monkeypatch.context() as patch:
            patch.setattr(loop, "call_soon_threadsafe", counted)
            gated.gate.set()
            vectors = await asyncio.gather(first, *rest)
        for n, found in enumerate(vectors[1:]):
            assert (found[0] == round_half(gated.encode([f"text {n}"]))).all()

    with running(gated := Gated()) as batcher:
        asyncio.run(main())
    assert [len(batch) for batch in gated.batches[:2]] == [1, 20]
    assert len(woken) == 2


def test_short_texts_do_not_wait_for_a_long_one() -> None:
    gated = Gated()
    order: list[str] = []

    async def embed(name: str, text: str) -> None:
        await batcher.embed([text], deadline_us=LONG_DEADLINE)
        order.append(name)

    async def main() -> None:
        first = asyncio.create_task(embed("first", "first"))
        await entered(gated)
        long = asyncio.create_task(embed("long", "long " * 4_000))
        await asyncio.sleep(0)
        short = [asyncio.create_task(embed(f"short {n}", f"text {n}")) for n in range(5)]
        await asyncio.sleep(0)
        gated.gate.set()
        await asyncio.gather(first, long, *short)

    with running(gated) as batcher:
        asyncio.run(main())
    assert order[-1] == "long"
    assert len(gated.batches[1]) == 5
    assert all(len(set(batch)) <= 4 for batch in gated.batches[2:])


def test_embed_now_is_in_batches_of_its_own_and_takes_turns() -> None:
    recorder, gated = Recorder(), Gated()
    texts = [f"replayed {n}" for n in range(40)]
    with running(recorder, max_batch=8) as batcher:
        batcher.embed_now(texts)

    async def main() -> None:
        live = [asyncio.create_task(batcher.embed([f"live {n}"], deadline_us=LONG_DEADLINE)) for n in range(3)]
        await asyncio.sleep(0)
        gated.gate.set()
        await asyncio.gather(*live)

    with running(gated, max_batch=8) as batcher, ThreadPoolExecutor(1) as thread:
        job = thread.submit(batcher.embed_now, texts)
        assert gated.entered.wait(PATIENCE_SECONDS)
        asyncio.run(main())
        job.result()
    assert [batch for batch in gated.batches if not batch[0].startswith("live")] == recorder.batches
    assert gated.batches[1] == ["live 0", "live 1", "live 2"]


def test_embed_now_takes_any_number_of_texts() -> None:
    recorder = Recorder()
    n = NOW_CHUNK + 5
    with running(recorder, max_batch=256, queue_size=1) as batcher:
        vectors = batcher.embed_now([f"text {k}" for k in range(n)])
    plain = UnsafeHashingEmbedder()
    assert len(vectors) == n
    assert np.array_equal(vectors[NOW_CHUNK], round_half(plain.encode([f"text {NOW_CHUNK}"])))


def test_the_embedder_may_be_made_in_the_thread() -> None:
    made_by: list[int] = []

    def make() -> Embedder:
        made_by.append(threading.get_ident())
        return UnsafeHashingEmbedder(64)

    batcher = Batcher(make, max_batch=4, max_wait_us=0, queue_size=4)
    with pytest.raises(EmbeddingError, match="not loaded"):
        _ = batcher.embedder
    batcher.start()
    batcher.start()
    assert batcher.embedder.dimension == 64
    assert batcher.embed_now(["x"])[0].shape == (1, 64)
    batcher.close()
    assert len(made_by) == 1
    assert made_by != [threading.get_ident()]


def test_it_can_be_closed_and_started_again() -> None:
    batcher = Batcher(UnsafeHashingEmbedder(), max_batch=4, max_wait_us=0, queue_size=4)
    batcher.close()
    for _ in range(3):
        batcher.start()
        assert len(batcher.embed_now(["x"])) == 1
        batcher.close()
        batcher.close()
    with pytest.raises(EmbeddingError, match="does not run"):
        batcher.embed_now(["x"])


def test_closing_ends_the_thread() -> None:
    before = set(threading.enumerate())
    with running(UnsafeHashingEmbedder()):
        assert len(set(threading.enumerate()) - before) == 1
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize(("max_batch", "max_wait_us", "queue_size"), [(0, 0, 1), (1, -1, 1), (1, 0, 0)])
def test_settings_that_make_no_sense(max_batch: int, max_wait_us: int, queue_size: int) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        Batcher(UnsafeHashingEmbedder(), max_batch=max_batch, max_wait_us=max_wait_us, queue_size=queue_size)


def test_a_text_instead_of_texts() -> None:
    with running(UnsafeHashingEmbedder()) as batcher:
        with pytest.raises(UsageError, match="sequence of texts"):
            batcher.embed_now("abc")
        with pytest.raises(UsageError, match="sequence of texts"):
            asyncio.run(batcher.embed([b"abc"], deadline_us=0))  # type: ignore[list-item]
