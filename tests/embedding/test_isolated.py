"""The model in a process of its own: the same vectors, and a way on when that process dies, hangs or cannot start."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from feedback_guard.clock import ManualClock
from feedback_guard.embedding import isolated
from feedback_guard.embedding.batcher import Batcher
from feedback_guard.embedding.checks import CHECKS, LONG, TEXTS
from feedback_guard.embedding.interface import Embedder
from feedback_guard.embedding.isolated import RESTART_SECONDS, IsolatedEmbedder, make_live_embedder
from feedback_guard.embedding.sentence_transformer import SentenceTransformerEmbedder
from feedback_guard.errors import EmbeddingError, ModelDigestError
from feedback_guard.policy.embedding import Backend, EmbeddingPolicy

CHILD = """
import os, socket, sys, time
from feedback_guard.embedding.frames import receive, send
from feedback_guard.embedding.frames import FrameError
import numpy as np
channel = socket.socket(fileno=int(sys.argv[1]))
head, _ = receive(channel)
if os.environ.get("FG_CHILD") == "dies":
    sys.exit(3)
send(channel, {"fingerprint": FINGERPRINT, "windows": {"tokenizer": TOKENIZER, "tokens": 64}})
while True:
    try:
        head, _ = receive(channel)
    except FrameError:
        sys.exit(0)
    if "crash" in head["texts"]:
        os._exit(9)
    if "hang" in head["texts"]:
        time.sleep(600)
    if "fail" in head["texts"]:
        send(channel, {"error": "the model failed: RuntimeError", "kind": "EmbeddingError"})
        continue
    rows = np.zeros((len(head["texts"]), 384), dtype=np.float32)
    rows[:, 0] = 1.0
    send(channel, {"shape": rows.shape}, rows.tobytes())
"""
"""A process that speaks as the real one does, and misbehaves when it is told to."""
TOKENIZER = (
    '{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,'
    '"pre_tokenizer":{"type":"Whitespace"},"post_processor":null,"decoder":null,'
    '"model":{"type":"WordLevel","vocab":{"[UNK]":0},"unk_token":"[UNK]"}}'
)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(0)


@pytest.fixture
def stand_in(tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[IsolatedEmbedder]:
    """An isolated embedder whose process is the stand-in."""
    embedder = IsolatedEmbedder(EmbeddingPolicy(stall=300_000), clock=clock)
    code = CHILD.replace("FINGERPRINT", repr(embedder.fingerprint)).replace("TOKENIZER", repr(TOKENIZER))
    (tmp_path / "fg_stand_in.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(isolated, "_CHILD", "fg_stand_in")
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
    process = stand_in.pid
    assert process is not None
    os.kill(process, signal.SIGKILL)
    clock.advance(RESTART_SECONDS)
    with pytest.raises(EmbeddingError, match="started anew"):
        stand_in.encode(["fine"])
    assert stand_in.encode(["fine"]).shape == (1, 384)


def test_a_process_that_hangs_is_ended(stand_in: IsolatedEmbedder, clock: ManualClock) -> None:
    stand_in.load()
    process = stand_in.pid
    with pytest.raises(EmbeddingError, match="does not answer"):
        stand_in.encode(["hang"])
    assert process is not None
    assert not psutil.pid_exists(process)
    clock.advance(RESTART_SECONDS)
    assert stand_in.encode(["fine"]).shape == (1, 384)


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


def test_the_policy_decides() -> None:
    assert isinstance(make_live_embedder(EmbeddingPolicy()), IsolatedEmbedder)
    assert isinstance(make_live_embedder(EmbeddingPolicy(isolated=False)), SentenceTransformerEmbedder)
    hashing = EmbeddingPolicy(backend=Backend.UNSAFE_HASHING)
    assert not isinstance(make_live_embedder(hashing), IsolatedEmbedder)
    with pytest.raises(EmbeddingError, match="no process of its own"):
        IsolatedEmbedder(hashing)


def test_what_is_under_way_when_the_process_dies_is_lost_and_nothing_is_taken_for_another(
    stand_in: IsolatedEmbedder, clock: ManualClock
) -> None:
    stand_in.load()
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
