"""BERT's layers called one after the other give what the model gives, and are used only where they do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from feedback_guard.embedding import packing
from feedback_guard.embedding.bert import Bert, is_bert
from feedback_guard.embedding.digest import builtin_model
from feedback_guard.embedding.engine import use_engine_packed
from feedback_guard.embedding.loading import load_model
from feedback_guard.embedding.packing import packed_reader, torch_run

TEXTS = ("why?", "where is the card that you sent to me in March", "word " * 200, "", "two of a kind", "what " * 40)


@pytest.fixture(scope="module")
def model() -> SentenceTransformer:
    return load_model(builtin_model(), device="cpu")


def encoder_of(model: SentenceTransformer) -> Any:
    first: Any = model[0]
    return first.model


def test_it_gives_the_vectors_of_the_model(model: SentenceTransformer) -> None:
    encoder = encoder_of(model)
    reader = packed_reader(model, agreement=0.999)
    assert reader is not None
    assert is_bert(encoder)
    short, plain = (reader.with_run(torch_run(encoder, plain=plain)).encode(TEXTS) for plain in (False, True))
    np.testing.assert_allclose(short, plain, atol=2e-6)


def test_its_weights_are_those_of_the_model(model: SentenceTransformer) -> None:
    """But for those that have to stand side by side, so that memory does not hold a model twice."""
    encoder = encoder_of(model)
    owned = {parameter.data_ptr() for parameter in encoder.parameters()}
    bert = Bert(encoder)
    assert bert._words.data_ptr() in owned
    for layer in bert._layers:
        assert {layer.attended.weight.data_ptr(), layer.wide.weight.data_ptr(), layer.narrow.weight.data_ptr()} <= owned


@pytest.mark.parametrize(
    "change",
    [{"hidden_act": "relu"}, {"position_embedding_type": "relative_key"}, {"is_decoder": True}],
    ids=lambda change: next(iter(change)),
)
def test_a_model_that_is_built_otherwise_is_called_as_it_is(
    model: SentenceTransformer, monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    encoder = encoder_of(model)
    for name, value in change.items():
        monkeypatch.setattr(encoder.config, name, value, raising=False)
    assert not is_bert(encoder)


def test_nor_is_one_of_another_name_taken_for_it_whatever_its_settings_say(model: SentenceTransformer) -> None:
    assert not is_bert(SimpleNamespace(config=encoder_of(model).config))
    assert not is_bert(torch.nn.Linear(2, 2))


class Forgets(Bert):
    """The planted fault: the last layer is left out."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self._layers.pop()


class CannotBeMade(Bert):
    """The planted fault: a model of this name is built otherwise."""

    def __init__(self, _: Any) -> None:
        raise AttributeError("no embeddings")


class Breaks(Bert):
    """The planted fault: it cannot be called."""

    def __call__(self, *_: object, **__: object) -> Any:
        raise RuntimeError("no such kernel")


@pytest.mark.parametrize("faulty", [Forgets, CannotBeMade, Breaks])
def test_layers_that_give_something_else_are_not_used(
    model: SentenceTransformer, monkeypatch: pytest.MonkeyPatch, faulty: type[Bert]
) -> None:
    sound = packed_reader(model, agreement=0.999_99)
    monkeypatch.setattr(packing, "Bert", faulty)
    reader = packed_reader(model, agreement=0.999_99)
    assert sound is not None
    assert reader is not None
    np.testing.assert_allclose(reader.encode(TEXTS), sound.encode(TEXTS), atol=2e-6)


@pytest.mark.parametrize("faulty", [CannotBeMade, Breaks])
def test_nor_are_they_in_another_precision(monkeypatch: pytest.MonkeyPatch, faulty: type[Bert]) -> None:
    model = load_model(builtin_model(), device="cpu")
    monkeypatch.setattr(packing, "Bert", faulty)
    sound = packed_reader(model, agreement=0.999_99)
    assert sound is not None
    wanted = sound.encode(TEXTS)
    reader = use_engine_packed(model, sound, "torch", threads=1, precision="bfloat16")
    assert 1e-5 < float(np.abs(reader.encode(TEXTS) - wanted).max()) < 5e-3
