"""An embedder without a model, for tests: deterministic, instant, and no protection whatever.

Words and character n-grams are hashed into a vector with random signs (feature hashing: Weinberger et al. 2009,
"Feature Hashing for Large Scale Multitask Learning"). Texts that share words are near; meaning is not seen at all.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from feedback_guard import settings
from feedback_guard.embedding.interface import Vectors
from feedback_guard.errors import EmbeddingError

logger = logging.getLogger(__name__)

WINDOW_CHARS = 1_000
"""Characters that one window of the hashing embedder reads."""
_WORD = re.compile(r"\w+|[^\w\s]")
_WORD_WEIGHT, _PAIR_WEIGHT, _GRAM_WEIGHT = 1.0, 0.5, 0.3


class UnsafeHashingEmbedder:
    """Feature hashing instead of a model. For tests only: paraphrases are strangers to it.

    Parameters
    ----------
    dimension
        Length of a vector, 64 to 256. A smaller one is faster and confuses more texts with each other.

    Examples
    --------
    >>> embedder = UnsafeHashingEmbedder()
    >>> a, b, c = embedder.encode(["where is my card", "where is my new card", "the rate is 2 %"])
    >>> bool(a @ b > 0.6 > a @ c)
    True
    """

    def __init__(self, dimension: int = 128) -> None:
        if not 64 <= dimension <= 256:
            raise EmbeddingError(f"the hashing embedder has 64 to 256 dimensions, not {dimension}")
        self._dimension = dimension
        logger.warning("the hashing embedder is no model and protects nothing; it is for tests only")

    @property
    def fingerprint(self) -> str:
        """Version of the hashing and the dimension."""
        return f"unsafe-hashing:1:{self._dimension}"

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._dimension

    def split(self, text: str) -> list[str]:
        """Cut into pieces of at most `WINDOW_CHARS` characters, between words where that is near.

        Raises
        ------
        EmbeddingError
            If the text holds lone surrogates, or needs more than `settings.MAX_WINDOWS` pieces.
        """
        require_unicode(text)
        pieces: list[str] = []
        start = 0
        while len(text) - start > WINDOW_CHARS:
            if len(pieces) + 1 >= settings.MAX_WINDOWS:
                raise EmbeddingError(f"a text of {len(text)} characters needs more than {settings.MAX_WINDOWS} windows")
            blank = text.rfind(" ", start + WINDOW_CHARS * 3 // 4, start + WINDOW_CHARS)
            end = blank + 1 if blank > 0 else start + WINDOW_CHARS
            pieces.append(text[start:end])
            start = end
        return [*pieces, text[start:]]

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Hash words, pairs of words and character trigrams into unit vectors."""
        vectors = np.zeros((len(texts), self._dimension), dtype=np.float32)
        for at, text in enumerate(texts):
            if len(text) > WINDOW_CHARS:
                raise EmbeddingError(f"a text of {len(text)} characters does not fit the window; cut it with `split`")
            require_unicode(text)
            for feature, weight in _features(text):
                number = int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8).digest(), "big")
                vectors[at, (number >> 1) % self._dimension] += weight if number & 1 else -weight
            norm = float(np.linalg.norm(vectors[at]))
            if norm > 0.0:
                vectors[at] /= norm
            else:
                vectors[at, 0] = 1.0
        return vectors


def require_unicode(text: str) -> None:
    """Refuse lone surrogates: they are no characters, and tokenizers fail on them in ways of their own.

    Raises
    ------
    EmbeddingError
        Naming the position.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise EmbeddingError(f"the text holds a lone surrogate at character {error.start}") from None


def _features(text: str) -> list[tuple[str, float]]:
    words = _WORD.findall(text.casefold())
    found = [(f"w:{word}", _WORD_WEIGHT) for word in words]
    found += [(f"p:{left} {right}", _PAIR_WEIGHT) for left, right in pairwise(words)]
    for word in words:
        padded = f"<{word}>"
        found += [(f"g:{padded[at : at + 3]}", _GRAM_WEIGHT) for at in range(len(padded) - 2)]
    return found
