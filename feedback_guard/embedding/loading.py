"""Loading a model quietly and offline: nothing is fetched, nothing is drawn on the terminal, no code is run."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from feedback_guard.errors import EmbeddingError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_CHATTY = ("transformers", "sentence_transformers", "torch.onnx", "huggingface_hub")
_PATIENT = {"OMP_WAIT_POLICY": "PASSIVE"}
"""OpenMP's threads wait for each other by spinning, unless told otherwise before torch is first imported. Beside an
event loop and a database writer on the same cores, that costs more than the model: on two busy cores a batch of 12
short texts took 80 ms a text with spinning, and 6 ms with sleeping."""
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}

_CPUINFO: Final = Path("/proc/cpuinfo")
_BFLOAT16_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""As Linux names them, on x86 and on ARM."""


def computes_bfloat16(cpuinfo: Path = _CPUINFO) -> bool:
    """Whether the processor itself multiplies in bfloat16; where it does not, that is imitated and slow.

    Parameters
    ----------
    cpuinfo
        What Linux says of the processor. Where there is no such file the answer is no.
    """
    try:
        lines = cpuinfo.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return False
    described = [line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))]
    return bool(described) and all(_BFLOAT16_FLAGS & set(flags) for flags in described)


def load_model(directory: Path, *, device: str) -> SentenceTransformer:
    """Load a sentence-transformers directory that `digest.model_digest` accepted.

    Raises
    ------
    EmbeddingError
        If the libraries are missing or the model cannot be loaded.
    """
    patient = {name: os.environ.get(name, value) for name, value in _PATIENT.items()}
    with _environment(patient), quiet_and_offline():
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise EmbeddingError(f"sentence-transformers cannot be imported: {error}") from error
        try:
            model = SentenceTransformer(
                str(directory),
                device=device,
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            )
        except Exception as error:
            raise EmbeddingError(f"the model in {directory} cannot be loaded: {error}") from error
    model.eval()
    # "[PAD]" in a text is five characters, not the padding token: it must not be read as one.
    model.tokenizer.split_special_tokens = True
    return model


@contextlib.contextmanager
def quiet_and_offline() -> Iterator[None]:
    """While inside, Hugging Face libraries reach no network, log no chatter and draw no progress bars.

    Everything is put back afterwards, so that an application that uses these libraries itself is not changed.
    """
    first = "huggingface_hub.constants" not in sys.modules
    wanted = _is_true(os.environ.get("HF_HUB_OFFLINE")) or _is_true(os.environ.get("TRANSFORMERS_OFFLINE"))
    with contextlib.ExitStack() as stack:
        stack.enter_context(_environment(_OFFLINE))
        try:
            from huggingface_hub import constants
            from transformers.utils import logging as transformers_logging
        except ImportError as error:
            raise EmbeddingError(f"transformers cannot be imported: {error}") from error
        # The environment is read once, when huggingface_hub is imported: that was long ago, or just now by us.
        stack.callback(setattr, constants, "HF_HUB_OFFLINE", wanted if first else constants.HF_HUB_OFFLINE)
        constants.HF_HUB_OFFLINE = True
        if transformers_logging.is_progress_bar_enabled():
            transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
            stack.callback(transformers_logging.enable_progress_bar)
        stack.enter_context(_levels(logging.ERROR))
        yield


def _is_true(value: str | None) -> bool:
    return value is not None and value.upper() in {"1", "ON", "YES", "TRUE"}


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _levels(level: int) -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in _CHATTY]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(level)
    try:
        yield
    finally:
        for logger, old in zip(loggers, before, strict=True):
            logger.setLevel(old)
