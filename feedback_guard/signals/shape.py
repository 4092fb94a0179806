"""The shape of a text in a dozen numbers between 0 and 1: length, make-up, repetition, and where its vector lies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedback_guard import settings
from feedback_guard.compiled import compiled
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

_LONGEST_WORD = 30
_LONGEST = math.log1p(settings.MAX_TEXT_CHARS)
_PAIRS = 1_024


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
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    n, words = max(len(text), 1), text.split()
    n_words = max(len(words), 1)
    n_upper, n_digit, n_sign, n_beyond, spread = _made_up(codes)
    return [
        min(1.0, math.log1p(len(text)) / _LONGEST),
        min(1.0, len(text) / n_words / _LONGEST_WORD),
        math.sqrt(n_upper / n),
        math.sqrt(n_digit / n),
        math.sqrt(n_sign / n),
        math.sqrt(n_beyond / n),
        len(set(words)) / n_words,
        spread,
    ]


@compiled("Tuple((int64, int64, int64, int64, float64))(Array(uint32, 1, 'C', readonly=True))")
def _made_up(codes: NDArray[np.uint32]) -> tuple[int, int, int, int, float]:
    """What a text is made of, from its characters.

    Returns
    -------
    tuple of four int and one float
        How many are capitals, digits, punctuation and signs, and beyond ASCII; and the entropy of the pairs of
        neighbouring characters against the most that this length allows, 0..1: it falls where a text repeats itself or
        draws on few characters.
    """
    n_upper = n_digit = n_sign = n_beyond = 0
    for i in range(len(codes)):
        code = np.int64(codes[i])
        if code >= 128:
            n_beyond += 1
        elif 65 <= code <= 90:
            n_upper += 1
        elif 48 <= code <= 57:
            n_digit += 1
        elif not (97 <= code <= 122 or 9 <= code <= 13 or code == 32):  # nor a small letter nor a blank
            n_sign += 1
    n = len(codes) - 1
    if n < 2:
        return n_upper, n_digit, n_sign, n_beyond, 1.0
    counts = np.zeros(_PAIRS, dtype=np.int64)
    for i in range(n):
        counts[(np.int64(codes[i]) * 31 + np.int64(codes[i + 1])) % _PAIRS] += 1
    entropy = 0.0
    for count in counts:
        if count:
            entropy -= count / n * math.log(count / n)
    return n_upper, n_digit, n_sign, n_beyond, min(1.0, entropy / math.log(min(n, _PAIRS)))


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
        row = [*shape(text), float(1.0 - np.minimum.reduce(np.maximum.reduce(near, axis=1))) / 2.0]
        if field == "input":
            prompt = mean_row(windows)
        elif prompt is not None:
            ratio = math.log((1 + len(text)) / (1 + len(observation.texts["input"].text)))
            row += [(1.0 + float((windows @ prompt[0]).min())) / 2.0, 0.5 + 0.5 * math.tanh(ratio / 2.0)]
        found[field] = np.asarray([min(max(value, 0.0), 1.0) for value in row], dtype=np.float32)
    return found
