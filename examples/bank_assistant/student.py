"""What learns: word and character n-grams, and a linear model on top of them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import FeatureUnion

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, slots=True)
class Example:
    """A question with the intent that somebody says it has, and how much the model may learn from it (0..1)."""

    question: str
    intent: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Answer:
    """An intent, and how sure the model is of it (0..1)."""

    intent: str
    confidence: float


def read_examples(name: str) -> list[Example]:
    """Read one of the files in `data/`, such as `vetted`."""
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [Example(row["input"], row["label"]) for row in map(json.loads, lines)]


class Student:
    """A model that was trained once and answers from then on."""

    def __init__(self, examples: Iterable[Example]) -> None:
        # Sorted: what is learnt depends on what was said, not on who was faster to say it.
        kept = sorted(
            (example for example in examples if example.weight > 0),
            key=lambda example: (example.question, example.intent, example.weight),
        )
        self.n_examples = len(kept)
        self._features = FeatureUnion(
            [
                ("words", TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)),
                ("letters", TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), min_df=2, sublinear_tf=True)),
            ]
        )
        self._model = SGDClassifier(loss="log_loss", alpha=1e-5, max_iter=12, tol=None, random_state=0)
        self._model.fit(
            self._features.fit_transform([example.question for example in kept]),
            [example.intent for example in kept],
            sample_weight=[example.weight for example in kept],
        )

    def answer(self, questions: Sequence[str]) -> list[Answer]:
        """The most likely intent of each question."""
        chances = self._model.predict_proba(self._features.transform(questions))
        best = np.argmax(chances, axis=1)
        return [Answer(str(self._model.classes_[i]), float(row[i])) for i, row in zip(best, chances, strict=True)]
