"""The queue before the model: whoever waits is told once why there will be no vectors."""

from __future__ import annotations

from feedback_guard.clock import SystemClock
from feedback_guard.embedding.interface import Vectors
from feedback_guard.embedding.queue import Queue
from feedback_guard.embedding.requests import Request
from feedback_guard.errors import EmbeddingError


def test_who_waits_is_told_why_it_was_stopped_though_its_owner_ends_meanwhile() -> None:
    queue = Queue(size=8, enough=1, max_wait=0.0, clock=SystemClock())
    queue.open()
    told = list[str]()

    def answer(_: list[Vectors] | None, error: EmbeddingError | None) -> None:
        told.append(str(error))
        queue.end("the owner ended")  # its thread was woken before all were told

    for text in ("one", "two", "three"):
        queue.submit(Request([text], answer, queue.release))
    queue.stop("it was closed")
    assert told == ["it was closed"] * 3
    assert queue.depth == 0
