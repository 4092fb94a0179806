"""A process that speaks as the model's does, answers at once, and misbehaves when it is told to."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from feedback_guard.embedding import isolated
from feedback_guard.embedding.factory import make_embedder
from feedback_guard.embedding.isolated import IsolatedEmbedder
from feedback_guard.policy.embedding import EmbeddingPolicy

CHILD = """
import os, signal, socket, sys, time
from feedback_guard.embedding.frames import receive, send
from feedback_guard.embedding.frames import FrameError
import numpy as np
channel = socket.socket(fileno=int(sys.argv[1]))
head, _ = receive(channel)
if os.environ.get("FG_CHILD") == "dies":
    sys.exit(3)
if os.environ.get("FG_CHILD") == "hangs":
    time.sleep(600)
if os.environ.get("FG_CHILD") == "stands":
    os.kill(os.getpid(), signal.SIGSTOP)
send(channel, {"fingerprint": FINGERPRINT, "windows": {"tokenizer": TOKENIZER, "tokens": 64}})
while True:
    try:
        head, _ = receive(channel)
    except FrameError:
        sys.exit(0)
    texts = head["texts"]
    if "crash" in texts:
        os._exit(9)
    if "hang" in texts:
        time.sleep(600)
    if "fail" in texts:
        send(channel, {"error": "the model failed: RuntimeError", "kind": "EmbeddingError"})
        continue
    if "lie" in texts:
        texts = texts[1:]
    rows = np.zeros((len(texts), 384), dtype=np.float32)
    for row, text in zip(rows, texts):
        row[int(text) if text.isdecimal() else 0] = 1.0
    send(channel, {"shape": rows.shape}, rows.tobytes())
"""
"""The vector of a number below 384 points in its direction."""
TOKENIZER = (
    '{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,'
    '"pre_tokenizer":{"type":"Whitespace"},"post_processor":null,"decoder":null,'
    '"model":{"type":"WordLevel","vocab":{"[UNK]":0},"unk_token":"[UNK]"}}'
)


def use_stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let isolated embedders of the built-in model start the stand-in."""
    fingerprint = make_embedder(EmbeddingPolicy()).fingerprint
    code = CHILD.replace("FINGERPRINT", repr(fingerprint)).replace("TOKENIZER", repr(TOKENIZER))
    (folder / "fg_stand_in.py").write_text(code)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(isolated, "_CHILD", "fg_stand_in")


@contextlib.contextmanager
def standing_still(embedder: IsolatedEmbedder) -> Iterator[None]:
    """Its process does nothing meanwhile: what it is sent lies there, however slow or fast the machine is."""
    pid = pid_of(embedder)
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def go_on(embedder: IsolatedEmbedder) -> None:
    """Let a process load that was started while FG_CHILD was `stands`, which has it stop before it has loaded."""
    pid = pid_of(embedder)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
    os.kill(pid, signal.SIGCONT)


def kill(embedder: IsolatedEmbedder) -> None:
    """End its process, and wait until its files are closed. The embedder is left to find out."""
    pid = pid_of(embedder)
    os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):  # it has found out already
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def pid_of(embedder: IsolatedEmbedder) -> int:
    assert embedder.pid is not None
    return embedder.pid
