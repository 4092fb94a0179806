"""Regions: unit centres, the same for the same seed, and no trouble with texts that coincide."""

from __future__ import annotations

import numpy as np

from feedback_guard.embedding.interface import Vectors
from feedback_guard.evidence.regions import make_regions, region_of


def clusters(n: int, seed: int) -> tuple[Vectors, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    rng = np.random.default_rng(seed)
    topic = rng.integers(0, 4, size=n)
    points = np.eye(4, 16)[topic] + 0.1 * rng.standard_normal((n, 16))
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True), dtype=np.float32), topic


def test_topics_that_lie_apart_become_regions() -> None:
    points, topic = clusters(200, seed=1)
    found = region_of(points, make_regions(points, 4, np.random.default_rng(2)))
    for wanted in range(4):
        assert len(set(found[topic == wanted])) == 1
    assert len(set(found)) == 4


def test_the_same_seed_gives_the_same_centres() -> None:
    points, _ = clusters(100, seed=3)
    one, two = (make_regions(points, 8, np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(one, two)
    assert np.allclose(np.linalg.norm(one, axis=1), 1.0, atol=1e-5)


def test_texts_that_coincide_make_regions_without_trouble() -> None:
    points = np.repeat(clusters(1, seed=5)[0], 30, axis=0)
    centres = make_regions(points, 8, np.random.default_rng(6))
    assert centres.shape == (8, 16)
    assert np.isfinite(centres).all()
