"""Faster ways to run the transformer of a model: ONNX Runtime and OpenVINO, and torch or OpenVINO in bfloat16.

For an engine the weights that were checked against the digest are exported in memory at every start, which takes a
second or two for a small model. So there is no second copy on disk that would have to be pinned as well. Only the
transformer is replaced: tokenizing, pooling and normalizing stay with sentence-transformers, or with `packing`, in
float32. `optimum`, which sentence-transformers would use for this, holds back the versions of transformers and is not
needed.
"""

from __future__ import annotations

import gc
import importlib
import io
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from feedback_guard.embedding.loading import quiet_and_offline
from feedback_guard.embedding.packing import PROBE, Arrays, PackedReader, Run, agrees, torch_reader, torch_run, usual
from feedback_guard.errors import EmbeddingError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_OPSET: Final = 17
_OUTPUT: Final = "last_hidden_state"
_EXTRAS: Final = {"onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino")}
_AGREEMENT: Final = 0.999
"""Least cosine between the vector and torch's in float32. In bfloat16 it is 0.9999."""
BFLOAT16: Final = "bfloat16"


def use_engine(model: SentenceTransformer, backend: str, *, threads: int, precision: str = "full") -> None:
    """Run the transformer of a loaded model with another engine or in another precision, in place.

    Parameters
    ----------
    model
        Loaded with torch. Its torch transformer is dropped.
    backend
        `torch`, `onnx` or `openvino`.
    threads
        Threads of the engine.
    precision
        `full`, or `bfloat16` (`torch` and `openvino`), which moves a component of a vector by about 1e-3 and takes a
        third of the time.

    Raises
    ------
    EmbeddingError
        If a package is missing, the transformer cannot be exported, or the vectors differ from torch's in float32.
    """
    first: Any = model[0]
    encoder = first.model
    wanted = usual(model)
    inputs = list(first.tokenizer.model_input_names)
    example = dict(first.tokenizer(list(PROBE), padding=True, return_tensors="np"))
    try:
        given = {name: example[name] for name in inputs}
        run = compile_transformer(encoder, backend, given, threads=threads, precision=precision)
        first.model = _replacement(encoder.config, inputs, run)
        found = usual(model)
    except Exception as error:
        raise _unfit(backend, precision, error) from error
    del encoder
    gc.collect()  # the traced copy of the weights hangs in cycles: it would stay for long
    agreement = float((wanted * found).sum(axis=1).min())
    if not agreement >= _AGREEMENT:
        raise EmbeddingError(
            f"vectors of {_way(backend, precision)} differ from torch's (cosine {agreement:.4f}); "
            f"{_remedy(backend, precision)}"
        )


def use_engine_packed(
    model: SentenceTransformer, reader: PackedReader, backend: str, *, threads: int, precision: str = "full"
) -> PackedReader:
    """A reader whose rows another engine computes, or another precision. The model's torch transformer is dropped.

    Parameters
    ----------
    reader
        The model's reader with torch.

    Raises
    ------
    EmbeddingError
        As `use_engine`.
    """
    first: Any = model[0]
    wanted = usual(model)
    try:
        if backend == "torch":
            found = torch_reader(reader, _in_precision(first.model, precision), wanted, _AGREEMENT)
        else:
            run = compile_transformer(
                first.model, backend, reader.example(), threads=threads, packed=True, precision=precision
            )
            compiled = reader.with_run(run)
            found = compiled if agrees(compiled, wanted, _AGREEMENT) else None
    except Exception as error:
        raise _unfit(backend, precision, error) from error
    if found is None:
        raise EmbeddingError(
            f"vectors of {_way(backend, precision)} differ from torch's; {_remedy(backend, precision)}"
        )
    first.model = None
    gc.collect()
    return found


def compile_transformer(
    encoder: Any,
    backend: str,
    example: Mapping[str, NDArray[Any]],
    *,
    threads: int,
    packed: bool = False,
    precision: str = "full",
) -> Run:
    """Export a transformer and load it into an engine; with torch, round its weights to the precision.

    Parameters
    ----------
    encoder
        The torch module.
    example
        Inputs by name, as the tokenizer or a `PackedReader` makes them.
    packed
        Whether they are rows of several texts, with a mask of shape (rows, 1, tokens, tokens).
    precision
        `full`, or `bfloat16`.
    """
    if backend == "torch":
        return torch_run(_in_precision(encoder, precision), plain=True)
    engine = import_engine(backend)
    exported = _export(encoder, example, packed=packed)
    if backend == "onnx":
        return _onnx(engine, exported, threads)
    return _openvino(engine, exported, threads, "bf16" if precision == BFLOAT16 else "f32")


def _unfit(backend: str, precision: str, error: Exception) -> EmbeddingError:
    return EmbeddingError(
        f"this model cannot run with {_way(backend, precision)}: {type(error).__name__}: {error}; "
        f"{_remedy(backend, precision)}"
    )


def _way(backend: str, precision: str) -> str:
    return f"backend {backend!r}" + (f" in {precision}" if precision != "full" else "")


def _remedy(backend: str, precision: str) -> str:
    return "use backend 'torch'" if backend != "torch" else f"use `precision: full` instead of `{precision}`"


def import_engine(backend: str) -> Any:
    """Import the packages of a backend and return the engine's.

    Raises
    ------
    EmbeddingError
        If one is missing, naming it and the command that installs it.
    """
    packages = _EXTRAS[backend]
    for name in packages:
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            raise EmbeddingError(
                f"backend {backend!r} needs the package {name}: pip install 'feedback-guard[{backend}]' ({error})"
            ) from error
    return module


def _in_precision(encoder: Any, precision: str) -> Any:
    return encoder.bfloat16() if precision == BFLOAT16 else encoder


def _export(encoder: Any, example: Mapping[str, NDArray[Any]], *, packed: bool) -> bytes:
    """Return the encoder as an ONNX model with free numbers of rows and tokens."""
    import torch

    inputs = list(example)
    axes = {name: {0: "rows", 1: "tokens"} for name in (*inputs, _OUTPUT)}
    if packed:
        axes["attention_mask"] = {0: "rows", 2: "tokens", 3: "tokens"}

    class Positional(torch.nn.Module):
        """Takes tensors in order and returns one, which is what an exporter can trace."""

        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
            named = dict(zip(inputs, tensors, strict=True))
            out: torch.Tensor = self.encoder(**named, return_dict=True)[_OUTPUT]
            return out

    buffer = io.BytesIO()
    with quiet_and_offline(), warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter(
            "ignore"
        )  # the exporter warns about traced constants; the probe tells whether they matter
        torch.onnx.export(
            Positional().eval(),
            tuple(torch.from_numpy(array) for array in example.values()),
            buffer,  # type: ignore[arg-type]  # a stream is what the exporter that needs no further package takes
            input_names=inputs,
            output_names=[_OUTPUT],
            dynamic_axes=axes,
            opset_version=_OPSET,
            dynamo=False,
        )
    return buffer.getvalue()


def _onnx(onnxruntime: Any, exported: bytes, threads: int) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(exported, options, providers=["CPUExecutionProvider"])

    def run(arrays: Arrays) -> NDArray[np.float32]:
        out: NDArray[np.float32] = session.run([_OUTPUT], arrays)[0]
        return out

    return run


def _openvino(openvino: Any, exported: bytes, threads: int, precision: str) -> Run:
    core = openvino.Core()
    # LATENCY gives one batch all the threads; there is never a second batch under way. Without a precision it would
    # take bfloat16 wherever the processor has it, so that vectors would depend on the machine.
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
    }
    request = core.compile_model(core.read_model(exported, b""), "CPU", settings).create_infer_request()

    def run(arrays: Arrays) -> NDArray[np.float32]:
        out: NDArray[np.float32] = request.infer(arrays, share_inputs=True)[0].copy()
        return out

    return run


def _replacement(config: Any, inputs: list[str], run: Run) -> Any:
    """Return what sentence-transformers calls in place of the transformer."""
    import torch

    class Engine(torch.nn.Module):
        """Runs the exported transformer on the processor."""

        def __init__(self) -> None:
            super().__init__()
            self.config = config

        def forward(self, **features: Any) -> dict[str, torch.Tensor]:
            return {_OUTPUT: torch.from_numpy(run({name: features[name].numpy() for name in inputs}))}

    return Engine()
