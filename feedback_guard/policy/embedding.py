"""Policy of the model that turns texts into vectors."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from feedback_guard.clock import MICROSECONDS
from feedback_guard.policy.base import Duration, Sha256, Strict


class Backend(StrEnum):
    """What runs the embedding model."""

    TORCH = "torch"
    ONNX = "onnx"
    OPENVINO = "openvino"
    UNSAFE_HASHING = "unsafe-hashing-for-tests"


class Precision(StrEnum):
    """How finely the embedding model computes."""

    FULL = "full"
    BFLOAT16 = "bfloat16"


_COMPUTE_BFLOAT16: Final = frozenset({Backend.TORCH, Backend.OPENVINO})

_USUAL_PROCESSES: Final = 2


class EmbeddingPolicy(Strict):
    """Which model turns texts into vectors, and how requests share it."""

    backend: Backend = Backend.TORCH
    """`torch`, `onnx` or `openvino`. `unsafe-hashing-for-tests` is no model: it protects nothing."""
    precision: Precision = Precision.FULL
    """`full` (float32), or `bfloat16`, which takes a third of the time on processors that compute in it (AVX512-BF16 or
    AMX; others refuse to start) with `torch` and `openvino`. Changing it needs a new baseline."""
    model: str = "builtin"
    """`builtin` for all-MiniLM-L6-v2 from its package, or a local sentence-transformers directory."""
    digest: Sha256 | None = None
    """SHA-256 of the model directory, as `feedback-guard doctor` prints it. Required unless `builtin`."""
    threads: int | None = Field(None, ge=1, le=256)
    """Threads of the model in each process; by default the cores, or as many as a container is allowed the time of,
    divided by `processes`."""
    max_batch: int = Field(32, ge=1, le=1_024)
    """Most texts in one pass through the model."""
    max_wait: Duration = 2_000
    """How long the first text of a batch waits for others."""
    queue_size: int = Field(512, ge=1, le=65_536)
    """Most texts waiting for the model. At the bound a contribution counts as not scored."""
    deadline: Duration = 2 * MICROSECONDS
    """How long a contribution waits for its vectors before it counts as not scored."""
    isolated: bool = True
    """Runs the model in a process of its own: faster beside a busy application, and a model that hangs or crashes is
    started anew. False runs it in a thread of the application's process, which saves some memory."""
    processes: int | None = Field(None, ge=1, le=64)
    """How many processes run the model, each some 360 MiB with `torch`; by default two, or as many as have `threads`
    cores each if that is fewer. Two with half the threads answer a fifth more than one beside a busy application."""
    stall: Duration = 30 * MICROSECONDS
    """How long an isolated model may take over one batch before its process is ended and started anew."""

    def divide(self, cores: int) -> tuple[int, int]:
        """Return how many processes run the model, and the threads of each, where so many threads can run at a time.

        Examples
        --------
        >>> EmbeddingPolicy().divide(1), EmbeddingPolicy().divide(2), EmbeddingPolicy().divide(8)
        ((1, 1), (2, 1), (2, 4))
        >>> EmbeddingPolicy(processes=4).divide(8), EmbeddingPolicy(threads=2).divide(2)
        ((4, 2), (1, 2))
        """
        if not self.isolated:
            return 1, self.threads or cores
        processes = self.processes or max(1, min(_USUAL_PROCESSES, cores // (self.threads or 1)))
        return processes, self.threads or max(1, cores // processes)

    @property
    def may_be_bfloat16(self) -> bool:
        """Whether the backend computes in bfloat16, if the processor does."""
        return self.backend in _COMPUTE_BFLOAT16

    @model_validator(mode="after")
    def _backend_computes_so(self) -> Self:
        if self.precision is Precision.BFLOAT16 and not self.may_be_bfloat16:
            raise ValueError(
                f"backend {self.backend.value!r} does not compute in bfloat16; use `torch` or `openvino`, or "
                "`precision: full`"
            )
        return self

    @field_validator("processes")
    @classmethod
    def _processes_are_apart(cls, processes: int | None, info: ValidationInfo) -> int | None:
        if processes is not None and processes > 1 and info.data.get("isolated") is False:
            raise ValueError(f"{processes} processes need `isolated: true`")
        return processes

    @model_validator(mode="after")
    def _own_model_is_pinned(self) -> Self:
        if self.model != "builtin" and self.digest is None and self.backend is not Backend.UNSAFE_HASHING:
            raise ValueError("a model of your own needs its digest; `feedback-guard doctor --model DIR` prints it")
        return self
