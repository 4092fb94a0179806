"""What a piece of work costs the processor, whatever else the machine does meanwhile."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Iterator


@contextlib.contextmanager
def cheaper_than(seconds: float) -> Iterator[None]:
    """The block takes this thread less time of the processor.

    Without the garbage collector: what it has to look through is what all tests before have left.
    """
    gc.disable()
    began = time.thread_time()
    try:
        yield
        taken = time.thread_time() - began
    finally:
        gc.enable()
    assert taken < seconds, f"it took {taken:.3f} s of the processor"
