"""The share of false discoveries stays below its rate, however strong the true ones are."""

from __future__ import annotations

import numpy as np
import pytest

from feedback_guard.evidence.discoveries import Discoveries


def e_value(rng: np.random.Generator, effect: float) -> float:
    """A likelihood ratio of two normal distributions: its mean is 1 where there is no effect."""
    return float(3.0 * (rng.normal() + effect) - 4.5)


@pytest.mark.parametrize("n_true", [0, 20])
def test_false_ones_are_rare(n_true: int) -> None:
    rng = np.random.default_rng(n_true)
    shares = []
    for _ in range(400):
        found = Discoveries[int](0.1)
        for name in range(200):
            found.look()
            found.tell(name, e_value(rng, 6.0 if name < n_true else 0.0))
        believed = found.believed()
        shares.append(sum(name >= n_true for name in believed) / max(1, len(believed)))
        assert n_true == 0 or len(believed) >= n_true * 0.8
    assert np.mean(shares) <= 0.1


def test_more_hypotheses_need_more_evidence() -> None:
    few, many = Discoveries[str](0.1), Discoveries[str](0.1)
    few.look(n=10, weights=10.0)
    many.look(n=10_000, weights=10_000.0)
    for found in (few, many):
        found.tell("a", 6.0)
    assert (few.believed(), many.believed()) == (["a"], [])


def test_weights_shift_belief_but_cost_the_others() -> None:
    found = Discoveries[str](0.1)
    found.look(weights=0.1, n=100)
    found.tell("unlikely to be honest", 3.0, 1.0)
    found.tell("usual", 3.0, 0.001)
    assert found.believed() == ["unlikely to be honest"]


def test_evidence_that_is_gone_is_forgotten() -> None:
    found = Discoveries[str](0.1)
    found.look()
    found.tell("a", 9.0)
    assert found.believed() == ["a"]
    found.tell("a", -1.0)
    assert found.believed() == []


def test_news_names_what_rose_and_nothing_twice() -> None:
    found = Discoveries[int](0.1)
    found.look(n=1_000, weights=1_000.0)
    for name in range(1_000):
        found.tell(name, 8.0)
    assert sorted(found.news()) == list(range(1_000))
    found.tell(7, 9.0)
    assert found.news() == [7]
    assert found.news() == []
    found.again(3)
    assert found.news() == [], "nothing rose"
    found.tell(7, 9.5)
    assert found.news() == [7, 3], "strongest first"


def test_others_are_believed_along_with_one_that_rose() -> None:
    found = Discoveries[str](0.1)
    found.look(n=2, weights=2.0)
    found.tell("a", 2.5)  # two at 2.5 are believed together, one alone is not
    assert found.news() == []
    found.tell("b", 2.6)
    assert found.news() == ["b", "a"]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_believed_was_news_once(seed: int) -> None:
    """However evidence rises and falls, as a plain ranking of everything says."""
    rng = np.random.default_rng(seed)
    found, evidence, total, named = Discoveries[int](0.1), dict[int, float](), 0.0, set[int]()
    for _ in range(300):
        if rng.random() < 0.5:
            weight = float(rng.random())
            found.look(weight, 1)
            total += weight
        for _ in range(rng.integers(4)):
            name, log_e = int(rng.integers(50)), float(rng.normal(3.0, 4.0))
            found.tell(name, log_e)
            evidence[name] = log_e
        line = np.log(max(total, 1e-9) / 0.1)
        ranked = sorted(((e, name) for name, e in evidence.items() if e >= 2.0), reverse=True)
        k = max((i for i, (e, _) in enumerate(ranked, 1) if e + np.log(i) >= line), default=0)
        believed = [name for _, name in ranked[:k]]
        assert found.believed() == believed
        news = found.news()
        assert set(news) <= set(believed)
        named |= set(news)
        assert set(believed) <= named
