"""A small model that learns what the guard lets through: words and pairs of words, and a linear classifier."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from feedback_guard.redteam.material import Text


@dataclass(frozen=True, slots=True)
class Lesson:
    """A text with what is taught about it, and how much of it counts (0..1)."""

    text: Text
    weight: float = 1.0


class Student:
    """A model that is trained once. What it learns depends on what was said, not on the order.

    Examples
    --------
    >>> lessons = [Lesson(Text(f"{word} {n}", word)) for n in range(20) for word in ("cash", "card")]
    >>> Student(lessons).answer(["my card 7"])
    ['card']
    """

    def __init__(self, lessons: Iterable[Lesson]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import SGDClassifier

        kept = sorted(
            (each for each in lessons if each.weight > 0.0),
            key=lambda each: (each.text.text, each.text.label, each.weight),
        )
        self._features = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
        self._model = SGDClassifier(loss="log_loss", alpha=1e-5, max_iter=12, tol=None, random_state=0)
        self._model.fit(
            self._features.fit_transform([each.text.text for each in kept]),
            [each.text.label for each in kept],
            sample_weight=[each.weight for each in kept],
        )

    def answer(self, texts: Sequence[str]) -> list[str]:
        """The most likely label of each text."""
        return [str(label) for label in self._model.predict(self._features.transform(list(texts)))]
