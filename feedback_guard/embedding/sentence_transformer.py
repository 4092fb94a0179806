"""The embedder for use: a sentence-transformers model from a local, pinned directory."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from feedback_guard.embedding.available import available_threads
from feedback_guard.embedding.digest import model_digest, read_dimension, verify_model
from feedback_guard.embedding.engine import BFLOAT16, import_engine, use_engine, use_engine_packed
from feedback_guard.embedding.interface import Vectors
from feedback_guard.embedding.loading import computes_bfloat16, load_model
from feedback_guard.embedding.packing import PackedReader, packed_reader
from feedback_guard.embedding.vectors import require_unit
from feedback_guard.embedding.windows import Windows
from feedback_guard.errors import EmbeddingError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)

BACKENDS: Final = ("torch", "onnx", "openvino")
"""What may run the transformer."""
PRECISIONS: Final = ("full", BFLOAT16)
"""How finely it may compute."""
_READING: Final = 1
"""Version of how texts are cut into windows; part of the fingerprint, because it decides what the model reads."""
_MAX_TOKENS: Final = 8_192
"""Most tokens that one window may have, whatever the model says it takes."""
_SAME: Final = 0.999_99
"""Least cosine between a text's vector in a row with others and by itself, computed in float32."""


class SentenceTransformerEmbedder:
    """A sentence-transformers model. Nothing is fetched, no code of the model is run, no text is truncated.

    Making one checks the directory and loads nothing. The model is loaded by `load`, in the thread that calls it:
    after any fork, since torch deadlocks in a child that was forked after loading (gunicorn issue 2478).

    Parameters
    ----------
    directory
        A local sentence-transformers directory with safetensors weights.
    digest
        What `digest.model_digest` must return for it. None accepts what is there: only for finding out the digest.
    backend
        What runs the transformer: `torch`, `onnx` or `openvino`; in full precision equal to 1e-5. Which is fastest
        depends on the processor. Changing it changes the fingerprint, so the baseline has to be rebuilt.
    precision
        `full`, or `bfloat16` for `torch` and `openvino` on a processor that computes in it: a third of the time,
        components within 5e-3. Changing it changes the fingerprint, too.
    threads
        Threads of the model, from 1; by default as many as there are cores. More than the free cores slows it down.
    device
        Where torch computes. The other backends use the processor.

    Raises
    ------
    ModelDigestError
        If the directory is not the pinned one, or holds what is refused.

    Notes
    -----
    A vector depends a little on the texts that share its batch (padding, and kernels chosen by size): about 1e-6 in
    float32. Compare with a tolerance; never hash vectors.
    """

    def __init__(
        self,
        directory: Path,
        *,
        digest: str | None = None,
        backend: str = "torch",
        precision: str = "full",
        threads: int | None = None,
        device: str = "cpu",
    ) -> None:
        if backend not in BACKENDS:
            raise EmbeddingError(f"there is no backend {backend!r}; it is one of {', '.join(BACKENDS)}")
        if precision not in PRECISIONS:
            raise EmbeddingError(f"there is no precision {precision!r}; it is one of {', '.join(PRECISIONS)}")
        if precision == BFLOAT16 and (backend == "onnx" or device != "cpu"):
            raise EmbeddingError("bfloat16 is for the backends torch and openvino on the processor; use `full`")
        self._directory = directory
        self._digest = model_digest(directory) if digest is None else verify_model(directory, digest)
        self._dimension = read_dimension(directory)
        self._backend = backend
        self._precision = precision
        self._threads = threads or available_threads()
        self._device = device if backend == "torch" else "cpu"
        self._loaded: tuple[SentenceTransformer, Windows, PackedReader | None] | None = None

    @property
    def fingerprint(self) -> str:
        """Engine, digest of the whole model directory (weights, pooling, tokenizer), dimension, way of reading.

        And the precision, unless the engine computed in float32 as long as there was nothing to choose.
        """
        base = f"sentence-transformers:{self._backend}:{self._digest}:{self._dimension}:{_READING}"
        if self._precision == "full" and self._backend != "openvino":
            return base
        return f"{base}:{self._precision}"

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._dimension

    @property
    def windows(self) -> Windows:
        """How its texts are cut; loads the model if it is not."""
        return self._parts()[1]

    @property
    def packs(self) -> bool:
        """Whether texts of a batch are read without padding, so that they may differ in length; loads the model."""
        return self._parts()[2] is not None

    def load(self) -> None:
        """Load the model and bind its threads to the calling thread. Called again, it only does the latter.

        Raises
        ------
        EmbeddingError
            If the model cannot be loaded, or the packages of the backend are missing.
        """
        if self._loaded is None:
            self._loaded = self._load()
        import torch

        # OpenMP keeps the number per calling thread, so it is set in the thread that will call the model.
        torch.set_num_threads(self._threads)

    def split(self, text: str) -> list[str]:
        """Cut a text into windows that the model reads whole.

        Raises
        ------
        EmbeddingError
            If it holds lone surrogates, or needs more than `settings.MAX_WINDOWS` windows.
        """
        return self._parts()[1].split(text)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Embed texts that each fit the model's window, in one batch.

        Raises
        ------
        EmbeddingError
            If a text does not fit, or the model fails or returns anything but finite unit vectors.
        """
        model, windows, reader = self._parts()
        if not texts:
            return np.empty((0, self._dimension), dtype=np.float32)
        for text in texts:
            if not windows.fits(text):
                raise EmbeddingError(f"a text of {len(text)} characters does not fit the window; cut it with `split`")
        try:
            if reader is not None:
                vectors = reader.encode(texts)
            else:
                vectors = model.encode(
                    list(texts),
                    batch_size=len(texts),
                    show_progress_bar=False,
                    normalize_embeddings=True,
                    convert_to_numpy=True,
                )
        except Exception as error:
            raise EmbeddingError(f"the model failed on {len(texts)} texts: {type(error).__name__}") from error
        return require_unit(vectors, n=len(texts), dimension=self._dimension)

    @property
    def _as_loaded(self) -> bool:
        """Whether torch runs the transformer as it is."""
        return self._backend == "torch" and self._precision == "full"

    def _parts(self) -> tuple[SentenceTransformer, Windows, PackedReader | None]:
        if self._loaded is None:
            self.load()
        if self._loaded is None:
            raise EmbeddingError("the model is not loaded")
        return self._loaded

    def _load(self) -> tuple[SentenceTransformer, Windows, PackedReader | None]:
        # Both before the seconds that loading takes.
        if self._precision == BFLOAT16 and not computes_bfloat16():
            raise EmbeddingError(
                "this processor does not compute in bfloat16 (it needs AVX512-BF16 or AMX, and Linux to say so); use "
                "`precision: full`"
            )
        if self._backend != "torch":
            import_engine(self._backend)
        model = load_model(self._directory, device=self._device)
        found = model.get_embedding_dimension()
        if found != self._dimension:
            raise EmbeddingError(f"{self._directory}: the configuration says {self._dimension} dimensions, not {found}")
        windows = _windows(model)
        # On other devices padding costs little, and many small rows more.
        reader = packed_reader(model, agreement=_SAME) if self._device == "cpu" else None
        if reader is not None and not self._as_loaded:
            reader = use_engine_packed(model, reader, self._backend, threads=self._threads, precision=self._precision)
        elif not self._as_loaded:
            use_engine(model, self._backend, threads=self._threads, precision=self._precision)
        logger.info(
            "loaded %s (%s, %s, %d threads, %s)",
            self._directory.name, self._backend, self._precision, self._threads,
            "packed" if reader is not None else "padded",
        )  # fmt: skip
        return model, windows, reader


def _windows(model: SentenceTransformer) -> Windows:
    tokenizer: Any = model.tokenizer
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise EmbeddingError("this model has no fast tokenizer (tokenizer.json), so its texts cannot be cut exactly")
    longest = model.max_seq_length
    if longest is None or longest > _MAX_TOKENS:
        encoder: Any = model[0]
        longest = min(_MAX_TOKENS, int(getattr(encoder.model.config, "max_position_embeddings", _MAX_TOKENS)))
    prompt = model.prompts.get(model.default_prompt_name or "", "") or ""
    # Special tokens, and a prompt that the model puts before every text, take room in each window.
    overhead = len(tokenizer(prompt)["input_ids"]) + (1 if prompt else 0)
    return Windows(backend.to_str(), longest - overhead)
