"""What the kinds of facets are for: poison that shares no words, and the false campaigns that they do not find."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from feedback_guard.contribution import Contribution, Kind
from feedback_guard.evidence.accumulator import Evidence
from feedback_guard.evidence.facets import Background
from feedback_guard.evidence.kinds.gather import Kinds, fit_kinds
from feedback_guard.evidence.kinds.radius import BANDS, BITS, _families
from feedback_guard.signals import material
from feedback_guard.signals.disagreement import Disagreement
from feedback_guard.signals.interface import Observation
from feedback_guard.verdict import Decision

FALSE = "travel"


@functools.cache
def trusted() -> tuple[Observation, ...]:
    return tuple(material.stream((Kind.LABEL, Kind.RATING), 400, seed=21))


@functools.cache
def parts() -> tuple[Background, Disagreement, Kinds]:
    return (
        Background.fit(trusted(), seed=0),
        Disagreement.from_state(Disagreement.fit(trusted(), seed=0)),
        Kinds.from_state(fit_kinds(trusted(), seed=0)),
    )


def evidence(rate: float = 0.1) -> Evidence:
    background, reader, kinds = parts()
    return Evidence(background, reader, rate, kinds=kinds)


def witness(evidence: Evidence, stream: Sequence[Observation]) -> None:
    for n, each in enumerate(stream):
        evidence.witness(each, Decision.ACCEPT, n)


def paraphrases(n: int, *, label: str, spread: float) -> list[Observation]:
    """Texts of one meaning without a word in common, each by an account of its own."""
    rng, chance = np.random.default_rng(5), random.Random(5)
    meaning = material.embed("card chip pin arrive delivery post replacement")[0]
    found = []
    for i in range(n):
        words = ["".join(chance.choices("bcdfghklmnprstvz", k=7)) for _ in range(5)]
        words += chance.choices(["i", "my", "the", "is", "why", "how", "can", "please", "it", "has", "not", "to"], k=5)
        chance.shuffle(words)
        text = " ".join(words)
        item = Contribution(f"p{i}", i, f"sybil-{i}", Kind.LABEL, text, label)
        vector = meaning + spread / np.sqrt(material.DIMENSION) * rng.standard_normal(material.DIMENSION)
        vector = (vector / np.linalg.norm(vector)).astype(np.float16).astype(np.float32)
        found.append(replace(material.observation(item), vectors={"input": vector[None]}))
    return found


def mixed(*streams: Sequence[Observation]) -> list[Observation]:
    items = [item for stream in streams for item in stream]
    random.Random(1).shuffle(items)
    return items


def found_by(evidence: Evidence) -> set[str]:
    return {kind for campaign in evidence.campaigns for kind, _ in campaign.facets}


def members(evidence: Evidence) -> set[str]:
    return set(evidence.members)


def test_a_campaign_of_one_meaning_without_common_words_is_found_by_where_it_lies() -> None:
    background, reader, _ = parts()
    poison = paraphrases(60, label=FALSE, spread=0.4)
    bad, stream = {each.contribution.id for each in poison}, mixed(material.stream((Kind.LABEL,), 500, seed=22), poison)
    follows, without = evidence(), Evidence(background, reader, 0.1)
    witness(follows, stream)
    witness(without, stream)
    assert found_by(follows) & {"region", "radius"}
    assert len(members(follows) & bad) >= len(members(without) & bad) + 5
    assert len(members(follows) - bad) <= 5


def test_one_meaning_that_is_rightly_labelled_is_no_campaign() -> None:
    follows = evidence()
    witness(follows, mixed(material.stream((Kind.LABEL,), 500, seed=22), paraphrases(60, label="card", spread=0.4)))
    assert follows.campaigns == []


def votes(n: int, *, rating: float) -> list[Observation]:
    """Votes on one answer to many questions, by as many accounts."""
    answer = "certainly gladly of course here are the steps thank you"
    return [
        material.observation(
            replace(
                material.honest(Kind.RATING, i, seed=31),
                id=f"v{i}",
                contributor=f"voter-{i}",
                output=answer,
                rating=rating,
                interaction="answer-7",
            )
        )
        for i in range(n)
    ]


@pytest.mark.parametrize(("alike", "found"), [(1.0, False), (0.0, True)], ids=["one question", "many questions"])
def test_that_many_people_find_an_answer_bad_is_no_campaign(alike: float, found: bool) -> None:
    """Three hundred of them; if each vote were a question of its own, it would be one."""
    background, reader, kinds = parts()
    assert kinds.alike["served"] == 1.0
    served = Kinds({"served": kinds.kind("served")})
    served.alike["served"] = alike
    follows = Evidence(background, reader, 0.1, kinds=served)
    witness(follows, mixed(material.stream((Kind.RATING,), 300, seed=23), votes(300, rating=0.0)))
    assert ("served" in found_by(follows)) is found


def test_families_by_radius_are_the_signs_of_a_text_in_each_band() -> None:
    rng = np.random.default_rng(3)
    planes, row = (rng.standard_normal(shape).astype(np.float32) for shape in ((BANDS * BITS, 16), (16,)))
    for kind in Kind:
        for band, number in enumerate(_families(planes, row, kind)):
            own = planes[band * BITS : (band + 1) * BITS]
            pattern = sum(1 << bit for bit, plane in enumerate(own) if float(plane @ row) > 0.0)
            assert number == (list(Kind).index(kind) * BANDS + band) << BITS | pattern
