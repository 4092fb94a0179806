"""How unlikely an answer is for its prompt, where what is taught is free text (corrections, demonstrations).

Two things make an answer likely: it is about what the prompt is about (cosine of the two), or it is like an answer
that the trusted set gives to a similar prompt (the most similar among the answers of the nearest trusted prompts).
The score is the mean of the two, negated. An answer that fits its topic and is wrong is not found by this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from feedback_guard.embedding.interface import Vectors
from feedback_guard.signals.heads import mean_row
from feedback_guard.signals.interface import Array, Observation
from feedback_guard.signals.linear import Floats
from feedback_guard.signals.rows import unit_rows

NEIGHBOURS = 5
"""How many trusted prompts are asked for their answers."""
MAX_REFERENCE = 10_000
"""Most trusted pairs that are kept to compare with; of a larger set a random part is."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Trusted prompts and their answers.

    Parameters
    ----------
    prompts, answers
        Unit vectors, shape (n, d), float32, row by row.
    """

    prompts: Floats
    answers: Floats

    @classmethod
    def of(cls, trusted: Sequence[Observation]) -> Self:
        """Collect the mean vectors of trusted prompts and answers."""
        prompts = [mean_row(unit_rows(each, "input")) for each in trusted]
        answers = [mean_row(unit_rows(each, "output")) for each in trusted]
        return cls(*(_halved(np.concatenate(rows)) for rows in (prompts, answers)))

    def oddness(self, observation: Observation, *, without: int | None = None) -> tuple[float, float, float]:
        """How unlikely the answer is: the score, and the two similarities it is made of.

        Parameters
        ----------
        observation
            A correction or a demonstration.
        without
            Index of a trusted pair to leave out: the observation itself, when the trusted set is calibrated.

        Returns
        -------
        tuple of float
            Score in [-1, 1], higher is odder; similarity to the prompt; similarity to answers of near prompts.
            For a long answer, those of its oddest window.
        """
        dimension = self.prompts.shape[1]
        prompt = mean_row(unit_rows(observation, "input", dimension))[0]
        windows = unit_rows(observation, "output", dimension)
        near = self.prompts @ prompt
        if without is not None:
            near[without] = -np.inf
        n = min(NEIGHBOURS, len(near) - (without is not None))
        nearest = np.argpartition(-near, n - 1)[:n]
        return _oddest(windows, prompt, self.answers[nearest])

    def arrays(self, prefix: str) -> dict[str, Array]:
        """The pairs as named arrays, in half precision."""
        return {
            f"{prefix}.prompts": self.prompts.astype(np.float16),
            f"{prefix}.answers": self.answers.astype(np.float16),
        }

    @classmethod
    def from_arrays(cls, prompts: Array, answers: Array) -> Self:
        """Read what `arrays` wrote."""
        return cls(prompts.astype(np.float32), answers.astype(np.float32))


def _halved(rows: Floats) -> Floats:
    """Rounded to half precision, so that a restored state scores to the last bit like the original."""
    return rows.astype(np.float16).astype(np.float32)


def _oddest(windows: Vectors, prompt: NDArray[np.float32], answers: Floats) -> tuple[float, float, float]:
    to_prompt = windows @ prompt
    to_answers = (windows @ answers.T).max(axis=1)
    score = -(to_prompt + to_answers) / 2.0
    worst = int(score.argmax())
    return float(score[worst]), float(to_prompt[worst]), float(to_answers[worst])
