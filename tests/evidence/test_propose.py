"""Whom a human should read first: spread over people, topics and time, and no flood fills the list."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from feedback_guard.contribution import Contribution, Kind
from feedback_guard.evidence import propose as module
from feedback_guard.evidence.propose import Candidate, gather, propose
from feedback_guard.signals import material


def candidate(i: int, *, who: str | None = None, text: str | None = None, taught: str = "a") -> Candidate:
    words = text or f"text number {i}"
    made = Contribution(f"c{i}", i, who or f"user-{i}", Kind.LABEL, words, taught)
    return Candidate.of(made, {"input": material.embed(words)})


def test_a_flood_gets_no_more_than_anybody_else() -> None:
    crowd = [candidate(i) for i in range(100)]
    flood = [candidate(1_000 + i, who="flooder", text=f"buy {i}") for i in range(2_000)]
    chosen = propose([*crowd, *flood], size=60, per_contributor=3)
    assert len(chosen) == 60
    assert Counter(item.contributor for item in chosen)["flooder"] <= 3


def test_fewer_come_back_where_the_candidates_do_not_allow_more() -> None:
    few = [candidate(i, who=f"user-{i % 4}") for i in range(100)]
    assert len(propose(few, size=50, per_contributor=2)) == 8
    assert propose([], size=10) == []


def test_rare_labels_are_there_too() -> None:
    made = [candidate(i, taught="common") for i in range(500)]
    made += [candidate(1_000 + i, taught="rare") for i in range(5)]
    chosen = Counter(item.label for item in propose(made, size=100))
    assert chosen["rare"] == 5


def test_rare_regions_are_there_too() -> None:
    made = [candidate(i, text=f"card pin post chip delivery {i}") for i in range(400)]
    made += [candidate(1_000 + i, text=f"galaxies quasars nebulae {i}") for i in range(5)]
    texts = [item.input for item in propose(made, size=60)]
    assert sum("galaxies" in text for text in texts) >= 3


def test_every_period_is_there() -> None:
    chosen = propose([candidate(i, text=f"card {i}") for i in range(400)], size=80)
    assert min(Counter(item.at_us // 100 for item in chosen).values()) >= 15


def test_the_same_text_is_proposed_once_however_it_is_disguised() -> None:
    made = [
        candidate(i, text=text) for i, text in enumerate(["Where is it?", "where  is it?", "whеre is it?", "other"])
    ]
    assert len(propose(made, size=10)) == 2


def test_the_choice_follows_from_the_seed_and_comes_in_order_of_time() -> None:
    made = [candidate(i, who=f"user-{i % 30}") for i in range(300)]
    assert propose(made, size=40, seed=3) == propose(made, size=40, seed=3)
    assert propose(made, size=40, seed=3) != propose(made, size=40, seed=4)
    times = [item.at_us for item in propose(made, size=40)]
    assert times == sorted(times)


def test_contributions_without_vectors_are_not_left_out() -> None:
    made = [Candidate(candidate(i).contribution) for i in range(10)]
    assert len(propose(made, size=10)) == 10


def test_the_pool_is_bounded_and_fair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_POOL", 200)
    monkeypatch.setattr(module, "POOL_EACH", 5)
    longest = 0

    def stream() -> list[Candidate]:
        flood = [Candidate(Contribution(f"f{i}", i, "flooder", Kind.LABEL, "x", "a")) for i in range(2_000)]
        crowd = [Candidate(Contribution(f"c{i}", i, f"user-{i}", Kind.LABEL, "x", "a")) for i in range(2_000)]
        return [each for pair in zip(flood, crowd, strict=True) for each in pair]

    highest = module._highest

    def watched(kept: list[tuple[float, int, Candidate]]) -> list[tuple[float, int, Candidate]]:
        nonlocal longest
        longest = max(longest, len(kept))
        return highest(kept)

    monkeypatch.setattr(module, "_highest", watched)
    pool = gather(stream(), seed=0)
    assert longest <= 400
    assert len(pool) == 200
    assert Counter(each.contribution.contributor for each in pool)["flooder"] <= 5
    early = np.mean([each.contribution.at_us < 1_000 for each in pool])
    assert 0.35 < early < 0.65  # no age is favoured
    assert [each.contribution.at_us for each in pool] == sorted(each.contribution.at_us for each in pool)
