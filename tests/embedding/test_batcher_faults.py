"""The batcher when something breaks: each failure stays with whom it concerns, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from feedback_guard.embedding.batcher import Batcher
from feedback_guard.embedding.hashing import UnsafeHashingEmbedder
from feedback_guard.embedding.interface import Embedder, Vectors
from feedback_guard.embedding.vectors import round_half
from feedback_guard.errors import EmbeddingDeadlineError, EmbeddingError, EmbeddingOverloadError
from tests.embedding.faulty import HARMS, Gated, Poisoned, Recorder
from tests.embedding.test_batcher import LONG_DEADLINE, SECOND, entered, running
from tests.patience import PATIENCE_SECONDS

Harm = Callable[[Vectors], Vectors]
each_harm = pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)


@each_harm
def test_a_hostile_text_fails_alone(harm: Harm) -> None:
    poisoned = Poisoned(harm)
    texts = [f"text {n}" for n in range(20)]
    texts[7] = "poison!"

    async def main() -> list[list[Vectors] | BaseException]:
        calls = (batcher.embed([text], deadline_us=LONG_DEADLINE) for text in texts)
        return await asyncio.gather(*calls, return_exceptions=True)

    with running(poisoned, max_batch=20, max_wait_us=3_600 * SECOND) as batcher:
        answers = asyncio.run(main())
    plain = UnsafeHashingEmbedder()
    for text, answer in zip(texts, answers, strict=True):
        if "poison" in text:
            assert type(answer) is EmbeddingError
            assert "secret" not in str(answer)
        else:
            assert isinstance(answer, list)
            assert np.array_equal(answer[0], round_half(plain.encode([text])))
    assert len(poisoned.batches[0]) == 20  # they had shared a batch
    assert batcher.queue_depth == 0


@each_harm
def test_a_broken_model_fails_everybody_and_the_next_batch_is_tried(harm: Harm) -> None:
    poisoned = Poisoned(harm, word="")

    async def main() -> list[list[Vectors] | BaseException]:
        calls = (batcher.embed([f"text {n}"], deadline_us=LONG_DEADLINE) for n in range(5))
        return await asyncio.gather(*calls, return_exceptions=True)

    with running(poisoned, max_batch=5, max_wait_us=SECOND) as batcher:
        assert [type(answer) for answer in asyncio.run(main())] == [EmbeddingError] * 5
        poisoned._word = "poison"
        assert len(batcher.embed_now(["text"])) == 1


@each_harm
def test_one_bad_window_fails_its_text(harm: Harm) -> None:
    with running(Poisoned(harm), max_batch=4) as batcher:
        with pytest.raises(EmbeddingError, match="text 2: "):
            batcher.embed_now(["a", "b", "long " * 700 + "poison " + "long " * 700, "c"])
        assert len(batcher.embed_now(["a"])) == 1


def test_a_text_that_cannot_be_cut_fails_alone() -> None:
    async def main() -> list[list[Vectors] | BaseException]:
        texts = ["good", "half \ud800 a character", "good too"]
        calls = (batcher.embed([text], deadline_us=LONG_DEADLINE) for text in texts)
        return await asyncio.gather(*calls, return_exceptions=True)

    with running(UnsafeHashingEmbedder(), max_batch=3, max_wait_us=SECOND) as batcher:
        good, bad, too = asyncio.run(main())
    assert isinstance(good, list)
    assert isinstance(too, list)
    assert isinstance(bad, EmbeddingError)
    assert "lone surrogate" in str(bad)


async def hang(batcher: Batcher, gated: Gated) -> None:
    """Let a text hang in the model and its caller give up; on a busy machine it may not get there the first time."""
    while not gated.entered.is_set():
        with pytest.raises(EmbeddingDeadlineError, match="after 5 ms"):
            await batcher.embed(["in the model"], deadline_us=5_000)


def test_a_hanging_model_ends_at_the_deadline_and_what_was_not_begun_is_dropped() -> None:
    gated = Gated()

    async def main() -> None:
        await hang(batcher, gated)
        with pytest.raises(EmbeddingDeadlineError, match="after 1 ms"):
            await batcher.embed(["never begun"], deadline_us=1_000)
        assert batcher.queue_depth == 0
        gated.gate.set()
        await batcher.embed(["later"], deadline_us=LONG_DEADLINE)

    with running(gated) as batcher:
        asyncio.run(main())
    assert ["never begun"] not in gated.batches
    assert gated.batches[-1] == ["later"]


def test_a_deadline_of_nothing() -> None:
    async def main() -> None:
        with pytest.raises(EmbeddingDeadlineError):
            await batcher.embed(["text"], deadline_us=0)

    gated = Gated()
    with running(gated) as batcher:
        asyncio.run(main())
        gated.gate.set()


def test_a_full_queue_refuses_and_takes_again() -> None:
    gated = Gated()

    async def main() -> None:
        first = asyncio.create_task(batcher.embed(["a", "b"], deadline_us=LONG_DEADLINE))
        await entered(gated)
        second = asyncio.create_task(batcher.embed(["c"], deadline_us=LONG_DEADLINE))
        await asyncio.sleep(0)
        with pytest.raises(EmbeddingOverloadError, match=r"3 texts wait .* 2 more exceed the queue of 4"):
            await batcher.embed(["d", "e"], deadline_us=LONG_DEADLINE)
        assert batcher.queue_depth == 3
        gated.gate.set()
        await asyncio.gather(first, second)
        assert batcher.queue_depth == 0
        assert len(await batcher.embed(["d", "e"], deadline_us=LONG_DEADLINE)) == 2

    with running(gated, queue_size=4) as batcher:
        asyncio.run(main())


def test_more_texts_than_the_queue_ever_holds() -> None:
    with running(UnsafeHashingEmbedder(), queue_size=2) as batcher, pytest.raises(EmbeddingOverloadError):
        asyncio.run(batcher.embed(["a", "b", "c"], deadline_us=LONG_DEADLINE))


def test_a_caller_that_leaves_frees_its_slot_and_its_work_is_dropped() -> None:
    gated = Gated()

    async def main() -> None:
        first = asyncio.create_task(batcher.embed(["first"], deadline_us=LONG_DEADLINE))
        await entered(gated)
        leaver = asyncio.create_task(batcher.embed(["leaver"], deadline_us=LONG_DEADLINE))
        await asyncio.sleep(0)
        assert batcher.queue_depth == 2
        leaver.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaver
        assert batcher.queue_depth == 1
        stayer = asyncio.create_task(batcher.embed(["stayer"], deadline_us=LONG_DEADLINE))
        await asyncio.sleep(0)
        gated.gate.set()
        await asyncio.gather(first, stayer)

    with running(gated, queue_size=2) as batcher:
        asyncio.run(main())
    assert gated.batches == [["first"], ["stayer"]]


def test_a_caller_that_leaves_while_the_model_works_harms_nobody() -> None:
    gated = Gated()

    async def main() -> None:
        leaver = asyncio.create_task(batcher.embed(["leaver"], deadline_us=LONG_DEADLINE))
        await entered(gated)
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)
        gated.gate.set()
        assert len(await batcher.embed(["next"], deadline_us=LONG_DEADLINE)) == 1

    with running(gated) as batcher:
        asyncio.run(main())


def test_a_loop_that_is_gone_harms_nobody() -> None:
    gated = Gated()
    loop = asyncio.new_event_loop()
    with running(gated) as batcher:
        task = loop.create_task(batcher.embed(["gone"], deadline_us=LONG_DEADLINE))
        loop.run_until_complete(asyncio.sleep(0))
        assert gated.entered.wait(PATIENCE_SECONDS)
        # The loop is closed with the request under way, as when a server is killed.
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        loop.close()
        gated.gate.set()
        assert len(batcher.embed_now(["next"])) == 1


def test_closing_fails_what_waits() -> None:
    gated = Gated()
    batcher = Batcher(gated, max_batch=1, max_wait_us=0, queue_size=8)
    batcher.start()

    async def main() -> None:
        calls = [asyncio.create_task(batcher.embed([f"{n}"], deadline_us=LONG_DEADLINE)) for n in range(3)]
        await entered(gated)
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        answers = await asyncio.gather(*calls, return_exceptions=True)  # though the model still hangs
        assert [type(answer) for answer in answers] == [EmbeddingError] * 3
        assert all("was closed" in str(answer) for answer in answers)
        gated.gate.set()
        await closing
        with pytest.raises(EmbeddingError, match="does not run"):
            await batcher.embed(["late"], deadline_us=LONG_DEADLINE)

    asyncio.run(main())
    assert len(gated.batches) == 1


def test_a_model_that_hangs_for_ever_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    gated = Gated()
    batcher = Batcher(gated, max_batch=1, max_wait_us=0, queue_size=8)
    batcher.start()
    asyncio.run(hang(batcher, gated))
    (hung,) = [thread for thread in threading.enumerate() if thread.name == "feedback-guard-embedding"]
    batcher.close(timeout_seconds=0.01)
    assert "left behind" in caplog.text
    with pytest.raises(EmbeddingError, match="still hangs"):
        batcher.start()
    gated.gate.set()
    hung.join(PATIENCE_SECONDS)
    batcher.start()
    assert len(batcher.embed_now(["again"])) == 1
    batcher.close()


class _Dies(Recorder):
    """Ends the thread, as running out of memory may."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        raise SystemExit(1)


def test_a_thread_that_dies_fails_what_waits_and_can_be_started_again(caplog: pytest.LogCaptureFixture) -> None:
    dies = _Dies()
    with running(dies) as batcher:
        with pytest.raises(EmbeddingError, match="thread ended"):
            asyncio.run(batcher.embed(["text"], deadline_us=LONG_DEADLINE))
        with pytest.raises(EmbeddingError, match="does not run"):
            batcher.embed_now(["text"])
        assert "the embedding thread failed" in caplog.text
        for thread in threading.enumerate():
            if thread.name == "feedback-guard-embedding":
                thread.join(PATIENCE_SECONDS)
        batcher.start()
        with pytest.raises(EmbeddingError, match="thread ended"):
            batcher.embed_now(["text"])


def _fails_to_make() -> Embedder:
    raise OSError("no such file")


class _FailsToLoad(Recorder):
    def load(self) -> None:
        raise EmbeddingError("the model is damaged")


@pytest.mark.parametrize(
    ("source", "message"),
    [(_fails_to_make, "could not be loaded: OSError: no such file"), (_FailsToLoad(), "the model is damaged")],
)
def test_a_model_that_cannot_be_loaded_fails_the_start(source: Embedder | Callable[[], Embedder], message: str) -> None:
    batcher = Batcher(source, max_batch=1, max_wait_us=0, queue_size=1)
    for _ in range(2):
        with pytest.raises(EmbeddingError, match=message):
            batcher.start()
    with pytest.raises(EmbeddingError, match="does not run"):
        batcher.embed_now(["text"])
    batcher.close()


def test_a_hook_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def hook(size: int, seconds: float) -> None:
        raise ValueError(f"{size} in {seconds}")

    batcher = Batcher(UnsafeHashingEmbedder(), max_batch=1, max_wait_us=0, queue_size=1, on_batch=hook)
    batcher.start()
    assert len(batcher.embed_now(["a", "b"])) == 2
    batcher.close()
    assert "on_batch failed" in caplog.text


def test_a_failing_batch_is_logged_without_its_texts(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with running(Poisoned(HARMS[0])) as batcher, pytest.raises(EmbeddingError):
        batcher.embed_now(["poison and a private address", "b"])
    assert "a batch of 2 failed (RuntimeError)" in caplog.text
    assert "private" not in caplog.text


def test_after_a_fork_it_says_so_instead_of_hanging() -> None:
    with running(UnsafeHashingEmbedder()) as batcher:
        child = os.fork()
        if child == 0:
            outcome = 1
            try:
                for use in (batcher.start, lambda: batcher.embed_now(["x"]), lambda: asyncio.run(_use(batcher))):
                    try:
                        use()
                    except EmbeddingError as error:
                        outcome = 0 if "before a fork" in str(error) else 1
                    else:
                        outcome = 1
                    if outcome:
                        break
                batcher.close()
            finally:
                os._exit(outcome)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert len(batcher.embed_now(["x"])) == 1


async def _use(batcher: Batcher) -> None:
    await batcher.embed(["x"], deadline_us=LONG_DEADLINE)
