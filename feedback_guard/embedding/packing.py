"""Several texts in one row of a model, without padding.

A batch as usual pads each text to the longest, and short feedback is as different in length as text can be: of a
batch of 32 questions to a bank, more than half was padding. Here texts stand one after the other in a row; the
attention mask lets each see itself only, and its positions start at 0, so the model computes what it would for the
text alone. (Sequence packing as in Krell et al. 2021, "Efficient Sequence Packing without Cross-contamination".)

Whether a model can be read this way is tried out when it is loaded, not looked up by its name: its vectors must be
those of the usual way. A model that cannot is run the usual way.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from feedback_guard.embedding.bert import Bert, is_bert
from feedback_guard.embedding.interface import Vectors

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

ROW_TOKENS: Final = 256
"""About how many tokens a row holds at most; longer rows save no padding that would be worth more."""
ATTENTION_TOKENS: Final = 1_280
"""Tokens of a row for which attention, which grows with its square, costs as much as everything else; as measured
with 250 tokens, where it was a fifth."""
RUN_TOKENS: Final = 768
"""Most tokens of texts that the model is given at once. What it computes in between has to stay in the processor's
caches: texts of 180 tokens, 32 at once, took a quarter longer than four at once."""
_FULL: Final = 1.06
"""Tokens of all rows, for each token of a text, with which a layout is good enough."""
_ROUND: Final = 16
"""Rows are as long as a multiple of this, so that an engine sees few shapes."""
_OUTPUT: Final = "last_hidden_state"

Arrays = dict[str, NDArray[Any]]
"""Input names of the model, with arrays of shape (rows, tokens); the mask is of shape (rows, 1, tokens, tokens)."""
Run = Callable[[Arrays], NDArray[np.float32]]
"""From a model's inputs to token vectors, shape (rows, tokens, width)."""
PROBE: Final = (
    "a probe",
    "and a longer one, so that the texts of a row differ in length, and each has to be found where it stands",
    "a third: is it, too, read by itself?",
    "",
)
"""Texts that show whether a model reads a row as it reads texts alone."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each text stands.

    Attributes
    ----------
    starts
        First token of each text, counted through all rows, shape (n,).
    rows
        Number of rows.
    tokens
        Tokens of each row.
    """

    starts: tuple[int, ...]
    rows: int
    tokens: int


def lay_out(lengths: Sequence[int], *, row_tokens: int = ROW_TOKENS) -> Layout:
    """Place texts in rows of nearly equal length: the longest text first, each into the emptiest row.

    There are as few rows as their length allows, and more where that saves work: four texts of 180 tokens fill three
    rows of 256 badly, since one row has two of them and the others are padded to its length.

    Parameters
    ----------
    lengths
        Tokens of each text, from 1; of one text or more.
    row_tokens
        About how many tokens a row holds; a longer text gets longer rows.

    Examples
    --------
    >>> lay_out([5, 100, 90, 12], row_tokens=112)
    Layout(starts=(100, 0, 112, 202), rows=2, tokens=112)
    >>> lay_out([180, 180, 180, 180]).rows
    4
    """
    total, longest = sum(lengths), max(lengths)
    least = min(len(lengths), -(-total // row_tokens))
    best = _placed(lengths, least)
    for rows in range(least + 1, len(lengths) + 1):
        if best.rows * best.tokens <= _FULL * total:
            break
        if _work(rows, _rounded(max(longest, -(-total // rows)))) < _work(best.rows, best.tokens):  # at the very least
            best = min(best, _placed(lengths, rows), key=lambda layout: _work(layout.rows, layout.tokens))
    return best


def in_runs(lengths: Iterable[int], *, run_tokens: int = RUN_TOKENS) -> list[list[int]]:
    """Divide texts into what the model is given at once: numbers of texts, similar in length, the longest first.

    Parameters
    ----------
    lengths
        Tokens of each text, from 1.
    run_tokens
        Most tokens of a run; a text that has more is a run by itself.

    Examples
    --------
    >>> in_runs([5, 100, 90, 12], run_tokens=200)
    [[1, 2], [3, 0]]
    """
    runs, used = list[list[int]](), run_tokens
    for index, n in sorted(enumerate(lengths), key=lambda each: -each[1]):
        if used + n > run_tokens:
            runs.append([])
            used = 0
        runs[-1].append(index)
        used += n
    return runs


def _placed(lengths: Sequence[int], rows: int) -> Layout:
    used = [0] * rows
    placed: dict[int, tuple[int, int]] = {}
    for index in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        row = used.index(min(used))
        placed[index] = (row, used[row])
        used[row] += lengths[index]
    tokens = _rounded(max(used))
    return Layout(tuple(placed[n][0] * tokens + placed[n][1] for n in range(len(lengths))), rows, tokens)


def _rounded(tokens: int) -> int:
    return -(-tokens // _ROUND) * _ROUND


def _work(rows: int, tokens: int) -> float:
    return rows * tokens * (1 + tokens / ATTENTION_TOKENS)


class PackedReader:
    """Embeds texts that each fit the model's window, several a row.

    Parameters
    ----------
    tokenizer
        Of the model.
    run
        The model's transformer.
    inputs
        What the tokenizer would give to it.
    first_only
        Whether a text's vector is that of its first token, instead of the mean of all.
    """

    def __init__(self, tokenizer: Any, run: Run, inputs: Sequence[str], *, first_only: bool) -> None:
        self._tokenizer = tokenizer
        self._run = run
        self._inputs = tuple(inputs)
        self._first_only = first_only

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of one text or more, shape (n, d)."""
        ids = self._tokenizer(list(texts), add_special_tokens=True, truncation=False)["input_ids"]
        runs = in_runs(map(len, ids))
        read = np.concatenate([self._read([ids[n] for n in run]) for run in runs])
        vectors = np.empty_like(read)
        vectors[list(itertools.chain(*runs))] = read
        # As sentence-transformers does: a vector of zeros stays one, and is refused afterwards.
        lengths_of = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: Vectors = (vectors / np.maximum(lengths_of, 1e-12)).astype(np.float32)
        return unit

    def _read(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """One vector a text, of any length."""
        lengths = [len(each) for each in ids]
        layout = lay_out(lengths)
        flat = self._run(self.arrays(ids, layout)).reshape(layout.rows * layout.tokens, -1)
        if self._first_only:
            return flat[list(layout.starts)]
        return np.stack([flat[at : at + n].mean(axis=0) for at, n in zip(layout.starts, lengths, strict=True)])

    def with_run(self, run: Run) -> PackedReader:
        """The same reader, with another engine for the transformer."""
        return PackedReader(self._tokenizer, run, self._inputs, first_only=self._first_only)

    def example(self) -> Arrays:
        """What the transformer is given for a few texts in two rows, for tracing it."""
        ids = self._tokenizer(list(PROBE), add_special_tokens=True, truncation=False)["input_ids"]
        return self.arrays(ids, lay_out([len(each) for each in ids], row_tokens=32))

    def arrays(self, ids: Sequence[Sequence[int]], layout: Layout) -> Arrays:
        """What the transformer is given for texts that stand so."""
        size = layout.rows * layout.tokens
        tokens, positions = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
        owner = np.full(size, -1, dtype=np.int64)
        for number, (at, each) in enumerate(zip(layout.starts, ids, strict=True)):
            tokens[at : at + len(each)] = each
            positions[at : at + len(each)] = np.arange(len(each))
            owner[at : at + len(each)] = number
        shape = (layout.rows, layout.tokens)
        owner = owner.reshape(shape)
        given: Arrays = {
            "input_ids": tokens.reshape(shape),
            # What is left over sees itself, too: a token that sees nothing would become NaN in some engines.
            "attention_mask": owner[:, None, :, None] == owner[:, None, None, :],
            "position_ids": positions.reshape(shape),
        }
        if "token_type_ids" in self._inputs:
            given["token_type_ids"] = np.zeros(shape, dtype=np.int64)
        return given


def packed_reader(model: SentenceTransformer, *, agreement: float) -> PackedReader | None:
    """Make a reader for a model that torch runs; None if its vectors are not those of the usual way.

    Parameters
    ----------
    agreement
        Least cosine between the two.
    """
    parts = [type(part).__name__ for part in model]
    first: Any = model[0]
    if parts[:2] != ["Transformer", "Pooling"] or set(parts[2:]) > {"Normalize"} or model.default_prompt_name:
        return None
    pooling: Any = model[1]
    mode = pooling.get_config_dict().get("pooling_mode")
    inputs = list(first.tokenizer.model_input_names)
    if mode not in ("mean", "cls") or not set(inputs) <= {"input_ids", "attention_mask", "token_type_ids"}:
        return None
    if "position_ids" not in inspect.signature(first.model.forward).parameters:
        return None
    plain = PackedReader(first.tokenizer, torch_run(first.model, plain=True), inputs, first_only=mode == "cls")
    return torch_reader(plain, first.model, usual(model), agreement)


def torch_reader(reader: PackedReader, encoder: Any, wanted: Vectors, agreement: float) -> PackedReader | None:
    """A reader for which torch runs a transformer, if it then gives the wanted vectors: the short way, or as it is.

    Parameters
    ----------
    reader
        With any engine.
    encoder
        The transformer.
    wanted
        The vectors of the probe.
    agreement
        Least cosine between the two.
    """
    for plain in (False, True):
        try:
            found = reader.with_run(torch_run(encoder, plain=plain))
            if agrees(found, wanted, agreement):
                return found
        except (ValueError, TypeError, RuntimeError, IndexError, AttributeError):
            continue
    return None


def usual(model: SentenceTransformer) -> Vectors:
    """The vectors of the probe, as sentence-transformers makes them."""
    vectors = model.encode(list(PROBE), show_progress_bar=False, normalize_embeddings=True, convert_to_numpy=True)
    return np.asarray(vectors, dtype=np.float32)


def agrees(reader: PackedReader, wanted: Vectors, agreement: float) -> bool:
    """Whether a reader's vectors of the probe are the wanted ones, by cosine."""
    return bool((wanted * reader.encode(PROBE)).sum(axis=1).min() >= agreement)


def torch_run(encoder: Any, *, plain: bool = False) -> Run:
    """Let torch run a transformer, in whatever precision its weights have; token vectors are float32.

    Parameters
    ----------
    plain
        Whether to call it as it is, even if there is a shorter way through its layers.
    """
    import torch

    layers = Bert(encoder) if is_bert(encoder) and not plain else None

    def run(arrays: Arrays) -> NDArray[np.float32]:
        given = {name: torch.from_numpy(array) for name, array in arrays.items()}
        with torch.inference_mode():
            if layers is None:
                out = encoder(**given, return_dict=True)[_OUTPUT]
            else:
                out = layers(given["input_ids"], given["position_ids"], given["attention_mask"])
        found: NDArray[np.float32] = out.float().numpy()
        return found

    return run
