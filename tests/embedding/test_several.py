"""The model in several processes: the same vectors, each text its own, and a loss of one is no loss of the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from feedback_guard.clock import ManualClock
from feedback_guard.embedding.batcher import Batcher
from feedback_guard.embedding.batches import Batch, Item
from feedback_guard.embedding.bell import readable
from feedback_guard.embedding.checks import CHECKS, TEXTS
from feedback_guard.embedding.interface import Embedder, Readiness, Vectors
from feedback_guard.embedding.isolated import RESTART_SECONDS, IsolatedEmbedder
from feedback_guard.embedding.line import Line
from feedback_guard.embedding.sentence_transformer import SentenceTransformerEmbedder
from feedback_guard.embedding.several import SeveralProcesses, make_live_embedder
from feedback_guard.errors import EmbeddingError
from feedback_guard.policy.embedding import Backend, EmbeddingPolicy
from tests.embedding.stand_in import go_on, kill, pid_of, use_stand_in
from tests.patience import PATIENCE_SECONDS

DEADLINE = 60_000_000


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(0)


@pytest.fixture
def two(tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[SeveralProcesses]:
    """Two stand-ins for the model; of their time only that between two starts is by the clock."""
    use_stand_in(tmp_path, monkeypatch)
    embedder = SeveralProcesses(EmbeddingPolicy(), processes=2, clock=clock)
    yield embedder
    embedder.close()


@pytest.fixture(scope="module")
def real() -> Iterator[SeveralProcesses]:
    embedder = SeveralProcesses(EmbeddingPolicy(threads=1), processes=2)
    embedder.load()
    yield embedder
    embedder.close()


def started(embedder: Embedder, *, max_batch: int = 8) -> Batcher:
    batcher = Batcher(embedder, max_batch=max_batch, max_wait_us=0, queue_size=512)
    batcher.start()
    return batcher


def direction(vectors: Vectors) -> int:
    """The number whose vector this is."""
    assert vectors.shape == (1, 384)
    return int(vectors[0].argmax())


@pytest.mark.model
@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())
def test_they_conform(check: Callable[[Embedder], None], real: SeveralProcesses) -> None:
    check(real)


@pytest.mark.model
def test_a_job_has_the_vectors_that_one_process_gives(real: SeveralProcesses) -> None:
    """To the last bit: which of the processes reads a batch decides nothing, and batches are what they were."""
    texts = [f"{text} {n}" for n in range(6) for text in TEXTS]
    batcher = started(real)
    try:
        among_two = batcher.embed_now(texts)
    finally:
        batcher.close()
        real.load()
    one = started(IsolatedEmbedder(EmbeddingPolicy(threads=1)))
    try:
        alone = one.embed_now(texts)
    finally:
        one.close()
    assert all(np.array_equal(a, b) for a, b in zip(among_two, alone, strict=True))


def test_a_job_goes_to_both(two: SeveralProcesses) -> None:
    batcher = started(two)
    pids = [model.pid for model in two.models]
    assert None not in pids
    assert len(set(pids)) == 2
    vectors = batcher.embed_now([str(n) for n in range(384)])
    assert [direction(each) for each in vectors] == list(range(384))
    batcher.close()
    assert not any(psutil.pid_exists(pid) for pid in pids if pid is not None)


class Asked:
    """Waits for texts, and notes what comes of them: the direction of the vector, or the error."""

    def __init__(self, *texts: str) -> None:
        self.over = False
        self.answers: list[int | str | None] = [None] * len(texts)
        self.items = [Item(text, self, number, 0.0, pieces=[text]) for number, text in enumerate(texts)]

    @property
    def batch(self) -> Batch:
        return [(item, 0) for item in self.items]

    def complete(self, item: Item) -> None:
        self.answers[item.index] = direction(item.vectors())

    def fail(self, error: EmbeddingError) -> None:
        self.answers[int(str(error).removeprefix("text ").partition(":")[0])] = str(error)


class Lined:
    """A line through two processes, without a thread of its own."""

    def __init__(self, two: SeveralProcesses, clock: ManualClock) -> None:
        two.load()
        self.line = Line(two, wanted=lambda: True, report=lambda n, s: None, handed=lambda: None, clock=clock)

    def until(self, asked: Asked) -> None:
        """Take in answers until all of these have theirs."""
        end = time.monotonic() + PATIENCE_SECONDS
        while None in asked.answers:
            assert time.monotonic() < end
            if (files := self.line.files()) is not None:
                readable(files, self.line.left_seconds())
            self.line.land()


ANEW = "it is started anew"


@pytest.mark.parametrize(
    ("way", "answers"),
    {
        "ends by a text": ("crash", [7, ANEW, "in a few seconds"]),  # which ends it again when it is tried alone
        "lies": ("lie", [7, "an array of shape", 11]),
        "is killed": ("hang", [7, 12, 11]),
        "hangs": ("hang", [7, 12, 11]),
    }.items(),
)
def test_one_that_is_lost_loses_its_own_batches_only(
    two: SeveralProcesses, clock: ManualClock, way: str, answers: tuple[str, list[int | str]]
) -> None:
    """While the first reads a batch, something happens to it; the second goes on.

    The texts of the lost batch are tried again by the first, which is started anew, and never by the second: it would
    be lost as well. Whoever brought the harm gets an error, the others their own vectors.
    """
    harm, expected = answers
    lined = Lined(two, clock)
    first, second = two.models
    before = first.pid, second.pid
    clock.advance(RESTART_SECONDS)  # it may be started anew at once
    hurt, safe = Asked("7", harm, "11"), Asked("9", "10")
    lined.line.send(hurt.batch)
    lined.line.send(safe.batch)
    lined.until(safe)
    assert safe.answers == [9, 10]
    if way in ("is killed", "hangs"):
        assert hurt.answers == [None, None, None]
        hurt.items[1].pieces = ["12"]  # what is tried again does no harm
    if way == "is killed":
        kill(first)
    if way == "hangs":
        clock.advance(30.0)
    for n in range(20, 30):  # though the first is being started, or tries again
        later = Asked(str(n))
        lined.line.send(later.batch)
        lined.until(later)
        assert later.answers == [n]
    lined.until(hurt)
    for answer, wanted in zip(hurt.answers, expected, strict=True):
        assert wanted == answer if isinstance(wanted, int) else wanted in str(answer)
    assert second.pid == before[1]
    assert (first.pid == before[0]) is (way == "lies")


def test_everybody_gets_their_own_while_processes_are_killed(two: SeveralProcesses, clock: ManualClock) -> None:
    batcher = started(two)
    before = {pid_of(model) for model in two.models}
    after: set[int | None] = set()

    async def main() -> None:
        for round_ in range(10):
            if round_ in (3, 6):
                clock.advance(RESTART_SECONDS)
                for model in two.models[: round_ // 3]:  # one, then both
                    if model.pid is not None:
                        kill(model)
            calls = [batcher.embed([str(n)], deadline_us=DEADLINE) for n in range(300)]
            answers = await asyncio.gather(*calls, return_exceptions=True)
            for n, answer in enumerate(answers):
                if isinstance(answer, EmbeddingError):
                    assert round_ in (3, 6)
                else:
                    assert not isinstance(answer, BaseException)
                    assert direction(answer[0]) == n

    try:
        asyncio.run(main())
        after = {model.pid for model in two.models}
    finally:
        batcher.close()
    assert not before & after


def test_one_that_rests_is_sent_nothing(two: SeveralProcesses) -> None:
    """It may be started anew only after a while. Until then everything goes to the other, and nothing fails."""
    batcher = started(two)
    pids = [model.pid for model in two.models]
    kill(two.models[0])
    for n in range(30):  # the first finds out, and goes to the other at once
        assert direction(batcher.embed_now([str(n)])[0]) == n
    assert [model.pid for model in two.models] == [None, pids[1]]
    batcher.close()


def test_one_is_started_anew_without_anybody_waiting(
    two: SeveralProcesses, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    two.load()
    first, second = two.models
    kill(first)
    with pytest.raises(EmbeddingError):
        first.encode(["1"])
    assert two.encode(["2"])[0, 2] == 1.0
    clock.advance(RESTART_SECONDS)
    monkeypatch.setenv("FG_CHILD", "stands")
    assert first.prepare() is Readiness.LOADING
    assert two.encode(["3"])[0, 3] == 1.0
    go_on(first)
    file = first.fileno()
    assert file is not None
    assert readable([file], PATIENCE_SECONDS)
    assert first.prepare() is Readiness.READY
    assert second.prepare() is Readiness.READY


def test_if_one_cannot_load_none_is_left(two: SeveralProcesses, monkeypatch: pytest.MonkeyPatch) -> None:
    two.models[0].load()
    monkeypatch.setenv("FG_CHILD", "dies")
    with pytest.raises(EmbeddingError, match="process ended"):
        two.load()
    assert [model.pid for model in two.models] == [None, None]


def test_the_policy_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feedback_guard.embedding.several.available_threads", lambda: 4)
    usual = make_live_embedder(EmbeddingPolicy())
    assert isinstance(usual, SeveralProcesses)
    assert [model.policy.threads for model in usual.models] == [2, 2]
    one = make_live_embedder(EmbeddingPolicy(processes=1))
    assert isinstance(one, IsolatedEmbedder)
    assert one.policy.threads == 4
    assert isinstance(make_live_embedder(EmbeddingPolicy(isolated=False)), SentenceTransformerEmbedder)
    hashing = EmbeddingPolicy(backend=Backend.UNSAFE_HASHING)
    assert not isinstance(make_live_embedder(hashing), IsolatedEmbedder | SeveralProcesses)
