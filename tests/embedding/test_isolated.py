"""The model in a process of its own: the same vectors, and a way on when that process dies, hangs or cannot start."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from feedback_guard.clock import MICROSECONDS, ManualClock
from feedback_guard.embedding import frames, isolated
from feedback_guard.embedding.batcher import Batcher
from feedback_guard.embedding.bell import readable
from feedback_guard.embedding.checks import CHECKS, LONG, TEXTS
from feedback_guard.embedding.interface import Embedder, Readiness
from feedback_guard.embedding.isolated import LOAD_SECONDS, RESTART_SECONDS, IsolatedEmbedder
from feedback_guard.embedding.sentence_transformer import SentenceTransformerEmbedder
from feedback_guard.errors import EmbeddingError, ModelDigestError
from feedback_guard.policy.embedding import Backend, EmbeddingPolicy
from tests.embedding.stand_in import go_on, kill, pid_of, standing_still, use_stand_in
from tests.patience import PATIENCE_SECONDS

STALL = 60.0
"""Seconds that a batch may take: by the clock of a test none, and by that of a slow machine more than it does."""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(0)


@pytest.fixture
def stand_in(tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[IsolatedEmbedder]:
    """An isolated embedder whose process is the stand-in."""
    embedder = IsolatedEmbedder(EmbeddingPolicy(stall=int(STALL * MICROSECONDS)), clock=clock)
    use_stand_in(tmp_path, monkeypatch)
    yield embedder
    embedder.close()


@pytest.fixture(scope="module")
def real() -> Iterator[IsolatedEmbedder]:
    embedder = IsolatedEmbedder(EmbeddingPolicy())
    embedder.load()
    yield embedder
    embedder.close()


@pytest.mark.model
@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())
def test_it_conforms(check: Callable[[Embedder], None], real: IsolatedEmbedder) -> None:
    check(real)


@pytest.mark.model
def test_it_gives_the_same_vectors_and_fingerprint(
    real: IsolatedEmbedder, real_embedder: SentenceTransformerEmbedder
) -> None:
    assert real.fingerprint == real_embedder.fingerprint
    assert real.split(LONG) == real_embedder.split(LONG)
    texts = [*TEXTS, *real.split(LONG)]
    assert float(np.abs(real.encode(texts) - real_embedder.encode(texts)).max()) < 1e-5


@pytest.mark.model
def test_this_process_needs_no_torch() -> None:
    import subprocess

    code = (
        "import sys; from feedback_guard.embedding.isolated import IsolatedEmbedder;"
        "from feedback_guard.policy.embedding import EmbeddingPolicy; e = IsolatedEmbedder(EmbeddingPolicy());"
        "e.load(); e.encode(['a text']); e.close();"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'sentence_transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_process_that_dies_fails_its_batch_and_is_started_anew(
    stand_in: IsolatedEmbedder, clock: ManualClock
) -> None:
    stand_in.load()
    first = stand_in.pid
    with pytest.raises(EmbeddingError, match="ended; it is started anew"):
        stand_in.encode(["crash"])
    with pytest.raises(EmbeddingError, match="in a few seconds"):
        stand_in.encode(["fine"])
    clock.advance(RESTART_SECONDS)
    assert stand_in.encode(["fine"]).shape == (1, 384)
    assert stand_in.pid != first


def test_one_that_is_killed_while_idle_is_noticed(stand_in: IsolatedEmbedder, clock: ManualClock) -> None:
    stand_in.load()
    kill(stand_in)
    clock.advance(RESTART_SECONDS)
    with pytest.raises(EmbeddingError, match="started anew"):
        stand_in.encode(["fine"])
    assert stand_in.encode(["fine"]).shape == (1, 384)


def test_a_process_that_hangs_is_ended(stand_in: IsolatedEmbedder, clock: ManualClock) -> None:
    stand_in.load()
    process = pid_of(stand_in)
    stand_in.begin(["hang"])
    clock.advance(STALL)
    with pytest.raises(EmbeddingError, match="does not answer"):
        stand_in.finish()
    assert not psutil.pid_exists(process)
    clock.advance(RESTART_SECONDS)
    assert stand_in.encode(["fine"]).shape == (1, 384)


def test_a_process_that_hangs_is_ended_though_nobody_looks_at_the_clock(
    stand_in: IsolatedEmbedder, clock: ManualClock
) -> None:
    """Whoever only calls `encode` waits as long as the policy says, in real time."""
    hasty = IsolatedEmbedder(stand_in.policy.model_copy(update={"stall": 300_000}), clock=clock)
    hasty.load()
    process = pid_of(hasty)
    try:
        with pytest.raises(EmbeddingError, match="does not answer"):
            hasty.encode(["hang"])
        assert not psutil.pid_exists(process)
    finally:
        hasty.close()


def test_a_text_that_fails_leaves_the_process_alone(stand_in: IsolatedEmbedder) -> None:
    stand_in.load()
    before = stand_in.pid
    with pytest.raises(EmbeddingError, match="the model failed: RuntimeError"):
        stand_in.encode(["fail"])
    assert stand_in.encode(["fine"]).shape == (1, 384)
    assert stand_in.pid == before


def test_one_that_cannot_start_says_so(stand_in: IsolatedEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FG_CHILD", "dies")
    with pytest.raises(EmbeddingError, match="process"):
        stand_in.load()
    assert stand_in.pid is None


def test_closing_the_batcher_ends_the_process(stand_in: IsolatedEmbedder) -> None:
    batcher = Batcher(stand_in, max_batch=4, max_wait_us=0, queue_size=16)
    batcher.start()
    process = stand_in.pid
    assert batcher.embed_now(["fine"])[0].shape == (1, 384)
    batcher.close()
    assert process is not None
    assert not psutil.pid_exists(process)


def test_a_damaged_model_is_refused_as_without_a_process() -> None:
    with pytest.raises(ModelDigestError, match="is pinned"):
        IsolatedEmbedder(EmbeddingPolicy(digest="0" * 64))


def test_the_hashing_embedder_is_refused() -> None:
    with pytest.raises(EmbeddingError, match="no process of its own"):
        IsolatedEmbedder(EmbeddingPolicy(backend=Backend.UNSAFE_HASHING))


def test_what_is_under_way_when_the_process_dies_is_lost_and_nothing_is_taken_for_another(
    stand_in: IsolatedEmbedder, clock: ManualClock
) -> None:
    stand_in.load()
    with standing_still(stand_in):
        stand_in.begin(["fine"])
        stand_in.begin(["crash"])
        stand_in.begin(["fine", "fine"])
    assert stand_in.finish().shape == (1, 384)
    with pytest.raises(EmbeddingError, match="it is started anew"):
        stand_in.finish()
    clock.advance(RESTART_SECONDS)
    assert stand_in.fileno() is None
    stand_in.begin(["fine"])  # the process is another one by now
    assert stand_in.fileno() is None
    with pytest.raises(EmbeddingError, match="started anew"):
        stand_in.finish()
    assert stand_in.fileno() is not None
    with pytest.raises(EmbeddingError, match="under way"):
        stand_in.encode(["fine"])
    assert stand_in.finish().shape == (1, 384)
    with pytest.raises(EmbeddingError, match="no batch"):
        stand_in.finish()


def test_what_is_under_way_is_lost_as_well_where_sending_more_finds_the_process_ended(
    stand_in: IsolatedEmbedder, clock: ManualClock
) -> None:
    """And the batch that could not be sent is not under way: nothing is finished for it."""
    stand_in.load()
    with standing_still(stand_in):
        stand_in.begin(["1"])
        stand_in.begin(["2"])
        kill(stand_in)
    with pytest.raises(EmbeddingError, match=r"cannot be reached: \w+; it is started anew"):
        stand_in.begin(["3"])
    assert stand_in.pid is None
    assert stand_in.fileno() is None
    assert stand_in.prepare() is Readiness.RESTING
    clock.advance(RESTART_SECONDS)
    stand_in.begin(["4"])
    for _ in range(2):
        assert stand_in.fileno() is None
        with pytest.raises(EmbeddingError, match="it is started anew"):
            stand_in.finish()
    assert stand_in.left_seconds() == pytest.approx(STALL)
    assert np.argmax(stand_in.finish()[0]) == 4
    with pytest.raises(EmbeddingError, match="no batch"):
        stand_in.finish()


def test_it_says_when_it_can_be_sent_a_batch_and_waits_for_nothing(
    stand_in: IsolatedEmbedder, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.load()
    assert stand_in.prepare() is Readiness.READY
    with pytest.raises(EmbeddingError):
        stand_in.encode(["crash"])
    assert stand_in.prepare() is Readiness.RESTING
    clock.advance(RESTART_SECONDS)
    monkeypatch.setenv("FG_CHILD", "stands")
    assert stand_in.prepare() is Readiness.LOADING
    go_on(stand_in)
    file = stand_in.fileno()
    assert file is not None
    assert readable([file], PATIENCE_SECONDS)
    assert stand_in.prepare() is Readiness.READY


def test_one_that_does_not_load_in_time_is_ended_and_rests(
    stand_in: IsolatedEmbedder, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FG_CHILD", "hangs")
    stand_in.start()
    assert stand_in.prepare() is Readiness.LOADING
    process = stand_in.pid
    clock.advance(LOAD_SECONDS)
    left = stand_in.left_seconds()
    assert left is not None
    assert left <= 0.0
    assert stand_in.prepare() is Readiness.RESTING
    assert process is not None
    assert not psutil.pid_exists(process)


def test_the_second_batch_has_as_long_as_the_first(stand_in: IsolatedEmbedder, clock: ManualClock) -> None:
    """The time of a batch begins when the model can begin with it, not when it was sent."""
    stand_in.load()
    stand_in.begin(["1"])
    stand_in.begin(["2"])
    clock.advance(0.6 * STALL)
    first = stand_in.left_seconds()
    stand_in.finish()
    assert first == pytest.approx(0.4 * STALL)
    assert stand_in.left_seconds() == pytest.approx(STALL)
    stand_in.finish()


def test_a_batch_for_an_idle_model_has_its_whole_time(stand_in: IsolatedEmbedder, clock: ManualClock) -> None:
    """Time in which nothing was under way is not counted."""
    stand_in.load()
    stand_in.encode(["1"])
    clock.advance(2 * STALL)
    stand_in.begin(["2"])
    assert stand_in.left_seconds() == pytest.approx(STALL)
    clock.advance(0.6 * STALL)
    assert stand_in.left_seconds() == pytest.approx(0.4 * STALL)
    stand_in.finish()
    assert stand_in.left_seconds() is None


@pytest.mark.parametrize("text", ["1", "fail"])
def test_the_next_batch_begins_when_the_answer_has_come_not_when_it_was_waited_for(
    text: str, stand_in: IsolatedEmbedder, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that takes most of its time over each batch stands still in none."""

    def slowly(channel: socket.socket) -> tuple[Any, bytes]:
        answer = frames.receive(channel)
        clock.advance(0.8 * STALL)
        return answer

    stand_in.load()
    monkeypatch.setattr(isolated, "receive", slowly)
    for _ in range(3):
        stand_in.begin([text])
    for _ in range(2):
        with contextlib.suppress(EmbeddingError):
            stand_in.finish()
        assert stand_in.left_seconds() == pytest.approx(STALL)


def test_a_batch_for_a_new_process_is_not_charged_for_those_that_the_old_one_lost(
    stand_in: IsolatedEmbedder, clock: ManualClock
) -> None:
    stand_in.load()
    with standing_still(stand_in):
        for text in ("crash", "1", "2"):
            stand_in.begin([text])
    with pytest.raises(EmbeddingError):
        stand_in.finish()
    clock.advance(RESTART_SECONDS)
    stand_in.begin(["3"])
    for _ in range(2):
        with pytest.raises(EmbeddingError, match="started anew"):
            stand_in.finish()
    assert stand_in.left_seconds() == pytest.approx(STALL)
    assert np.argmax(stand_in.finish()[0]) == 3


def test_what_is_sent_behind_a_batch_gives_it_no_more_time(stand_in: IsolatedEmbedder, clock: ManualClock) -> None:
    """Or a model that hangs would be waited for as long as texts come."""
    stand_in.load()
    stand_in.begin(["1"])
    clock.advance(0.6 * STALL)
    stand_in.begin(["2"])
    assert stand_in.left_seconds() == pytest.approx(0.4 * STALL)
