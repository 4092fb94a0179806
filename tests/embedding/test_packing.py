"""Texts in one row of a model: where they stand, and that each is read as if it stood alone."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from feedback_guard.embedding.packing import RUN_TOKENS, Arrays, PackedReader, in_runs, lay_out


@pytest.mark.parametrize("seed", range(20))
def test_texts_stand_apart_in_rows_of_nearly_equal_length(seed: int) -> None:
    rng = random.Random(seed)
    lengths = [rng.choice((1, 3, 17, 60, 256)) for _ in range(rng.randint(1, 64))]
    layout = lay_out(lengths)
    taken: list[int] = []
    for at, n in zip(layout.starts, lengths, strict=True):
        assert at // layout.tokens == (at + n - 1) // layout.tokens, "a text crosses the end of its row"
        taken += range(at, at + n)
    assert len(taken) == len(set(taken))
    assert max(taken) < layout.rows * layout.tokens
    assert layout.tokens <= 256 + max(lengths) + 16
    assert layout.rows <= len(lengths)
    if sum(lengths) <= 256:
        assert layout.rows == 1, "short texts share a row"


@pytest.mark.parametrize("lengths", [[512], [500, 260], [8_192], [512] * 4])
def test_a_text_longer_than_a_row_has_one_of_its_own(lengths: list[int]) -> None:
    layout = lay_out(lengths)
    assert (layout.rows, layout.tokens) == (len(lengths), -(-max(lengths) // 16) * 16)


@pytest.mark.parametrize("longest", [20, 60, 130, 180, 256])
@pytest.mark.parametrize("seed", range(5))
def test_little_of_what_a_model_reads_is_padding(longest: int, seed: int) -> None:
    rng = random.Random(seed)
    lengths = [rng.randint(longest // 2, longest) for _ in range(32)]
    runs = in_runs(lengths)
    assert sorted(itertools.chain(*runs)) == list(range(32))
    layouts = [lay_out([lengths[n] for n in run]) for run in runs]
    assert all(sum(lengths[n] for n in run) <= RUN_TOKENS for run in runs)
    assert sum(each.rows * each.tokens for each in layouts) <= 1.15 * sum(lengths)


def test_a_text_longer_than_a_run_is_read_by_itself() -> None:
    assert in_runs([10, 900, 20], run_tokens=800) == [[1], [2, 0]]


class Tokenizer:
    """A word is a token, and every text begins with token 1."""

    model_input_names = ("input_ids", "attention_mask")

    def __call__(self, texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
        return {"input_ids": [[1, *(len(word) + 1 for word in text.split())] for text in texts]}


def attention(arrays: Arrays) -> NDArray[np.float32]:
    """A transformer of one layer: what a token sees, averaged, beside its position."""
    mask = arrays["attention_mask"][:, 0].astype(np.float64)
    ids, positions = arrays["input_ids"].astype(np.float64), arrays["position_ids"].astype(np.float64)
    seen = np.einsum("rij,rj->ri", mask, ids * (1 + positions)) / mask.sum(axis=2)
    return np.stack([seen, ids, 1 + positions], axis=2).astype(np.float32)


@pytest.mark.parametrize("first_only", [True, False])
def test_a_text_is_read_in_a_row_as_it_is_read_alone(first_only: bool) -> None:
    rng = random.Random(1)
    texts = [" ".join("w" * rng.randint(1, 9) for _ in range(rng.randint(0, 150))) for _ in range(40)]
    reader = PackedReader(Tokenizer(), attention, Tokenizer.model_input_names, first_only=first_only)
    alone = np.concatenate([reader.encode([text]) for text in texts])
    np.testing.assert_allclose(reader.encode(texts), alone, atol=1e-6)


def test_the_check_above_sees_what_a_leak_between_texts_does() -> None:
    def leaky(arrays: Arrays) -> NDArray[np.float32]:
        return attention({**arrays, "attention_mask": np.ones_like(arrays["attention_mask"])})

    texts = ["one", "two three", "four five six seven"]
    reader = PackedReader(Tokenizer(), leaky, Tokenizer.model_input_names, first_only=False)
    alone = np.concatenate([reader.encode([text]) for text in texts])
    assert np.abs(reader.encode(texts) - alone).max() > 1e-3
