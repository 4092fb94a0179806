"""The shape of a text in a dozen numbers between 0 and 1: length, make-up, repetition, and where its vector lies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedback_guard import settings
from feedback_guard.embedding.interface import Vectors
from feedback_guard.signals.heads import mean_row
from feedback_guard.signals.interface import Observation
from feedback_guard.signals.linear import Floats
from feedback_guard.signals.rows import unit_rows

ALONE: Final = {
    "length": "length (logarithmic)",
    "word_length": "mean length of a word (in 30 letters)",
    "upper": "share of capital letters (root)",
    "digit": "share of digits (root)",
    "punctuation": "share of punctuation and signs (root)",
    "non_ascii": "share of characters beyond ASCII (root)",
    "distinct": "share of distinct words",
    "spread": "evenness of the pairs of characters",
    "near": "distance to the nearest of some trusted texts",
}
"""Features of every text, with words for a moderator."""
BESIDE: Final = {"likeness": "likeness to the input", "ratio": "length against the input's"}
"""Features of a text that stands beside an input."""

_ASCII: Final = bytes(range(128))
_UPPER: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DIGIT: Final = b"0123456789"
_NOT_UPPER: Final = _ASCII.translate(None, _UPPER)
_NOT_DIGIT: Final = _ASCII.translate(None, _DIGIT)
_NO_SIGN: Final = _UPPER + _UPPER.lower() + _DIGIT + b"\t\n\v\f\r "
_LONGEST_WORD = 30
_LONGEST = math.log1p(settings.MAX_TEXT_CHARS)
_PAIRS = 1_024
# Arrays without a dimension: an array takes them as they are.
_LAST_PAIR = np.array(_PAIRS - 1, dtype=np.uint32)
_TURN = np.array(31, dtype=np.uint32)


def names(field: str) -> tuple[str, ...]:
    """The features of a field, in order."""
    return tuple(ALONE) if field == "input" else (*ALONE, *BESIDE)


def shape(text: str) -> list[float]:
    """The features of a text that need no vector, in the order of `ALONE`.

    Parameters
    ----------
    text
        Canonical text.

    Returns
    -------
    list of float
        Each in 0..1. Of small shares the root is taken: splits are even over 0..1, and between no digit at all and
        a digit in a hundred there is more to tell than between eighty and eighty-one.

    Examples
    --------
    >>> [round(x, 2) for x in shape("PIN 1234")]
    [0.21, 0.13, 0.61, 0.71, 0.0, 0.0, 1.0, 1.0]
    """
    codes = np.frombuffer(text.encode("utf-32-le", "replace"), dtype=np.uint32)
    n = max(len(text), 1)
    plain = text.encode("ascii", "ignore")
    words = text.split()
    return [
        min(1.0, math.log1p(len(text)) / _LONGEST),
        min(1.0, len(text) / max(len(words), 1) / _LONGEST_WORD),
        math.sqrt(len(plain.translate(None, _NOT_UPPER)) / n),
        math.sqrt(len(plain.translate(None, _NOT_DIGIT)) / n),
        math.sqrt(len(plain.translate(None, _NO_SIGN)) / n),
        math.sqrt((len(text) - len(plain)) / n),
        len(set(words)) / max(len(words), 1),
        _spread(codes),
    ]


def _spread(codes: NDArray[np.uint32]) -> float:
    """Entropy of the pairs of neighbouring characters against the most that this length allows, 0..1.

    It falls where a text repeats itself or draws on few characters.
    """
    if len(codes) < 3:
        return 1.0
    pairs = codes[:-1] * _TURN
    pairs += codes[1:]
    pairs &= _LAST_PAIR
    pairs.sort()
    n = len(pairs)
    edges = np.empty(n + 1, dtype=np.bool_)
    edges[0] = edges[n] = True
    np.not_equal(pairs[1:], pairs[:-1], out=edges[1:n])
    begins = edges.nonzero()[0]
    shares = (begins[1:] - begins[:-1]).astype(np.float64)
    shares /= n
    return min(1.0, -float(np.add.reduce(shares * np.log(shares))) / math.log(min(n, _PAIRS)))


def features(
    observation: Observation, anchors: Mapping[str, Floats], *, own: int | None = None
) -> dict[str, NDArray[np.float32]]:
    """The features of each text of a contribution.

    Parameters
    ----------
    observation
        What is looked at.
    anchors
        By field: some trusted vectors, shape (n, d).
    own
        Row of the anchors that is this contribution's own and is left out, when the trusted set is measured.

    Returns
    -------
    dict
        By field, shape (n_features,), float32, each in 0..1, in the order of `names`.

    Raises
    ------
    SignalError
        If vectors are missing or broken.
    """
    found: dict[str, NDArray[np.float32]] = {}
    prompt: Vectors | None = None
    for field, anchor in anchors.items():
        windows = unit_rows(observation, field, anchor.shape[1])
        near = windows @ anchor.T
        if own is not None:
            near[:, own] = -1.0
        text = observation.texts[field].text
        row = [*shape(text), float((1.0 - np.maximum.reduce(near, axis=1)).max()) / 2.0]
        if field == "input":
            prompt = mean_row(windows)
        elif prompt is not None:
            ratio = math.log((1 + len(text)) / (1 + len(observation.texts["input"].text)))
            row += [(1.0 + float((windows @ prompt[0]).min())) / 2.0, 0.5 + 0.5 * math.tanh(ratio / 2.0)]
        found[field] = np.asarray([min(max(value, 0.0), 1.0) for value in row], dtype=np.float32)
    return found
