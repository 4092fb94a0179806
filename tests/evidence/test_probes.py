"""How far the pair parts on a fixed set of trusted texts."""

from __future__ import annotations

import numpy as np

from feedback_guard.evidence.learners import Pair
from feedback_guard.evidence.probes import MAX_CLASSES, Probes
from feedback_guard.signals.lesson import Lesson

KEYS = np.random.default_rng(1).integers(1, 2**63, 6).astype(np.uint64)

CLAUSES = np.array([5, 6], dtype=np.uint64)
"""How the second text begins its clauses."""


def probes() -> Probes:
    """Two texts of three phrases and two classes."""
    classes, chances = np.full((2, MAX_CLASSES), -1), np.zeros((2, MAX_CLASSES))
    classes[:, :2], chances[:, :2] = (0, 1), (0.7, 0.3)
    return Probes(KEYS, np.array([3, 6]), CLAUSES, np.array([0, 2]), classes, chances)


def test_they_agree_until_ordinary_phrases_are_taught_otherwise() -> None:
    pair, fixed = Pair(), probes()
    assert fixed.divergence(pair) == 0.0
    lesson = Lesson("label 'b'", 1, 0.8, np.array([0.7, 0.3]), comparable=True)
    stranger = np.array([77], dtype=np.uint64)
    for keys, expected in ((stranger, False), (KEYS[:3], True)):
        for _ in range(30):
            part = pair.read(keys, np.zeros(len(keys), dtype=np.int64), lesson)
            assert part is not None
            pair.learn(part, lesson, ("w",) * len(keys), ("word",) * len(keys))
        assert (fixed.divergence(pair) > 0.1) is expected
    assert fixed.divergence(pair) < 0.35  # the other text has none of them


def test_of_each_it_is_known_how_far_its_form_speaks_for_a_class() -> None:
    pair, lesson = Pair(), Lesson("label 'b'", 1, 0.8, np.array([0.7, 0.3]), comparable=True)
    for _ in range(30):
        part = pair.read(CLAUSES, np.zeros(2, dtype=np.int64), lesson)
        assert part is not None
        pair.learn(part, lesson, ("/ a _", "/ _ b"), ("clause", "clause"))
    (other,) = pair.parted(CLAUSES, np.array([1]))
    assert probes().parted(pair, 1).tolist() == [0.0, other]


def test_they_come_back_as_they_were_written_and_an_older_baseline_has_none() -> None:
    written = probes().arrays("probes")
    back = Probes.from_arrays(written, "probes")
    assert back is not None
    assert all(np.array_equal(value, written[name]) for name, value in back.arrays("probes").items())
    assert Probes.from_arrays({}, "probes") is None
