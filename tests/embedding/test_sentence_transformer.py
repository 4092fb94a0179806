"""The real model: reads everything, in any engine, and fails in our words."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from feedback_guard.embedding import engine, packing, sentence_transformer
from feedback_guard.embedding.checks import LONG, POISON, TEXTS
from feedback_guard.embedding.digest import builtin_model
from feedback_guard.embedding.sentence_transformer import SentenceTransformerEmbedder
from feedback_guard.errors import EmbeddingError
from feedback_guard.policy.embedding import Backend, Precision
from tests import model

pytestmark = pytest.mark.model


def test_it_reads_as_sentence_transformers_does(real_embedder: SentenceTransformerEmbedder) -> None:
    plain = real_embedder._parts()[0].encode(
        list(TEXTS), batch_size=1, show_progress_bar=False, normalize_embeddings=True, convert_to_numpy=True
    )
    assert float(np.abs(real_embedder.encode(TEXTS) - np.asarray(plain)).max()) < 1e-5


def test_a_poisoned_tail_is_read(real_embedder: SentenceTransformerEmbedder) -> None:
    pieces = real_embedder.split(LONG + " " + POISON)
    poison = real_embedder.encode([POISON])[0]
    clean = real_embedder.encode(real_embedder.split(LONG)) @ poison
    assert float((real_embedder.encode(pieces) @ poison).max()) > float(clean.max()) + 0.05


def test_every_window_is_within_what_the_model_reads(real_embedder: SentenceTransformerEmbedder) -> None:
    loaded = real_embedder._parts()[0]
    assert loaded.max_seq_length == 256
    for text in (LONG * 3, "漢字" * 700, "x" * 4_000, "a😀" * 900):
        for piece in real_embedder.split(text):
            tokens = loaded.tokenizer(piece, truncation=False)["input_ids"]
            assert len(tokens) <= 256


def test_the_padding_token_in_a_text_is_text(real_embedder: SentenceTransformerEmbedder) -> None:
    ids = real_embedder._parts()[0].tokenizer("[PAD] [MASK]")["input_ids"]
    special = {0, 103}
    assert not special & set(ids)


def test_a_text_that_does_not_fit_is_refused(real_embedder: SentenceTransformerEmbedder) -> None:
    with pytest.raises(EmbeddingError, match="does not fit"):
        real_embedder.encode(["fits", LONG])


def test_a_failing_model_fails_in_our_words(
    real_embedder: SentenceTransformerEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("out of memory on: private text")

    monkeypatch.setattr(real_embedder._parts()[2], "_run", fail)
    with pytest.raises(EmbeddingError, match="the model failed on 1 texts: RuntimeError") as failure:
        real_embedder.encode(["private text"])
    assert "private" not in str(failure.value)


def test_short_and_long_texts_share_rows_and_are_read_alone(real_embedder: SentenceTransformerEmbedder) -> None:
    assert real_embedder.packs
    texts = ["why?", *TEXTS, *real_embedder.split(LONG), "and what does a transfer cost", ""]
    alone = np.concatenate([real_embedder.encode([text]) for text in texts])
    assert float(np.abs(real_embedder.encode(texts) - alone).max()) < 1e-5


def test_a_model_that_texts_in_a_row_confuse_is_run_the_usual_way(
    real_embedder: SentenceTransformerEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = packing.PackedReader.arrays

    def leaky(self: packing.PackedReader, ids: Sequence[Sequence[int]], layout: packing.Layout) -> packing.Arrays:
        given = whole(self, ids, layout)
        return {**given, "attention_mask": np.ones_like(given["attention_mask"])}

    with monkeypatch.context() as patch:
        patch.setattr(packing.PackedReader, "arrays", leaky)
        padded = SentenceTransformerEmbedder(builtin_model())
        assert not padded.packs
    texts = [*TEXTS, *real_embedder.split(LONG)]
    assert float(np.abs(padded.encode(texts) - real_embedder.encode(texts)).max()) < 1e-5


each_way = pytest.mark.parametrize(
    ("backend", "precision", "least", "most"),
    [
        (Backend.ONNX, Precision.FULL, 0.0, 1e-5),
        (Backend.OPENVINO, Precision.FULL, 0.0, 1e-5),
        (Backend.OPENVINO, Precision.BFLOAT16, 1e-4, 5e-3),
        (Backend.TORCH, Precision.BFLOAT16, 1e-4, 5e-3),
    ],
)
"""Other ways than torch in float32, and how far a component moves: in bfloat16 it does move."""


@each_way
def test_every_way_agrees_where_texts_are_padded(
    backend: Backend,
    precision: Precision,
    least: float,
    most: float,
    real_embedder: SentenceTransformerEmbedder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model.load(backend, precision)  # skips where it cannot be
    monkeypatch.setattr(sentence_transformer, "computes_bfloat16", lambda: True)  # or torch imitates it
    monkeypatch.setattr(sentence_transformer, "packed_reader", lambda *_, **__: None)
    other = SentenceTransformerEmbedder(builtin_model(), backend=backend.value, precision=precision.value)
    assert not other.packs
    assert least <= float(np.abs(other.encode(TEXTS) - real_embedder.encode(TEXTS)).max()) < most


@each_way
def test_every_way_agrees_with_torch_in_full(
    backend: Backend, precision: Precision, least: float, most: float, real_embedder: SentenceTransformerEmbedder
) -> None:
    other = model.load(backend, precision)
    texts = [*TEXTS, *real_embedder.split(LONG)]
    assert other.packs
    assert other.fingerprint != real_embedder.fingerprint
    assert other.split(LONG) == real_embedder.split(LONG)
    assert least <= float(np.abs(other.encode(texts) - real_embedder.encode(texts)).max()) < most


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_bfloat16_is_refused_where_the_processor_would_imitate_it(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sentence_transformer, "computes_bfloat16", lambda: False)
    embedder = SentenceTransformerEmbedder(builtin_model(), backend=backend, precision="bfloat16")
    with pytest.raises(EmbeddingError, match=r"this processor does not compute in bfloat16 .* use `precision: full`"):
        embedder.load()


@pytest.mark.parametrize("packs", [True, False])
def test_a_model_that_bfloat16_spoils_is_refused(packs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(encoder: Any, _: str) -> Any:
        for parameter in encoder.parameters():
            torch.nn.init.uniform_(parameter, -1.0, 1.0, generator=torch.Generator().manual_seed(0))
        return encoder.bfloat16()

    monkeypatch.setattr(sentence_transformer, "computes_bfloat16", lambda: True)
    if not packs:
        monkeypatch.setattr(sentence_transformer, "packed_reader", lambda *_, **__: None)
    monkeypatch.setattr(engine, "_in_precision", spoil)
    with pytest.raises(EmbeddingError, match=r"in bfloat16 differ from torch's.*; use `precision: full`"):
        SentenceTransformerEmbedder(builtin_model(), precision="bfloat16").load()


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_a_missing_package_is_named(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    embedder = SentenceTransformerEmbedder(builtin_model(), backend=backend)
    with pytest.raises(EmbeddingError, match=rf"needs the package onnx: pip install 'feedback-guard\[{backend}\]'"):
        embedder.load()


@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.parametrize("wrong", ["noise", "fails"])
def test_an_engine_that_computes_something_else_is_refused(
    wrong: str, packs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(module: object, exported: bytes, threads: int) -> packing.Run:
        if wrong == "fails":
            raise ValueError("unsupported operator")

        def run(arrays: packing.Arrays) -> NDArray[np.float32]:
            shape = (*arrays["input_ids"].shape, 384)
            return np.random.default_rng(0).normal(size=shape).astype(np.float32)

        return run

    for name in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    if not packs:
        monkeypatch.setattr(sentence_transformer, "packed_reader", lambda *_, **__: None)
    monkeypatch.setattr(engine, "_export", lambda *_, **__: b"")
    monkeypatch.setattr(engine, "_onnx", make)
    with pytest.raises(EmbeddingError, match="use backend 'torch'"):
        SentenceTransformerEmbedder(builtin_model(), backend="onnx").load()


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    source, copy = builtin_model(), tmp_path / "model"
    (copy / "1_Pooling").mkdir(parents=True)
    for path in source.rglob("*.json"):
        (copy / path.relative_to(source)).write_bytes(path.read_bytes())
    (copy / "model.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00damaged!")
    with pytest.raises(EmbeddingError, match="cannot be loaded"):
        SentenceTransformerEmbedder(copy).load()
