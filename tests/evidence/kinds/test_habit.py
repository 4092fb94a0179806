"""A trigger that is a way of typing is found by its habit, and honest people keep theirs."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from benchmarks.typed import WAYS
from feedback_guard.contribution import Kind
from feedback_guard.evidence.accumulator import Evidence
from feedback_guard.evidence.facets import Background
from feedback_guard.evidence.kinds.gather import Kinds
from feedback_guard.evidence.kinds.habit import COMMON, MAX_HABITS, Habit
from feedback_guard.evidence.kinds.interface import FacetKind
from feedback_guard.signals import material
from feedback_guard.signals.disagreement import Disagreement
from feedback_guard.signals.interface import Observation
from feedback_guard.verdict import Decision

FALSE = "travel"
RATE = 0.1
N_HONEST, N_POISON = 600, 24
FOLDED = [
    "all in capitals",
    "a word in capitals",
    "capitals that alternate",
    "two blanks",
    "a line break at the end",
    "letters of full width",
    "look-alike letters",
]
"""Ways that canonical text knows nothing of."""

Change = Callable[[random.Random, str], str]


@functools.cache
def trusted() -> tuple[Observation, ...]:
    return tuple(material.stream((Kind.LABEL,), 400, seed=41))


@functools.cache
def parts() -> tuple[Background, Disagreement]:
    return Background.fit(trusted(), seed=0), Disagreement.from_state(Disagreement.fit(trusted(), seed=0))


def fitted(kind: type[Habit] = Habit, vetted: Sequence[Observation] | None = None) -> Habit:
    return kind.from_state(kind.fit(trusted() if vetted is None else vetted, seed=0))


def follow(kind: FacetKind | None, stream: Sequence[Observation]) -> Evidence:
    background, reader = parts()
    evidence = Evidence(background, reader, RATE, kinds=Kinds({} if kind is None else {kind.name: kind}))
    for n, each in enumerate(stream):
        evidence.witness(each, Decision.ACCEPT, n)
    return evidence


def retyped(observation: Observation, change: Change, rng: random.Random, **fields: object) -> Observation:
    """What somebody sends who types so; the vectors, which hardly know of it, stay."""
    item = replace(observation.contribution, input=change(rng, observation.contribution.input), **fields)  # type: ignore[arg-type]
    return replace(material.observation(item), vectors=observation.vectors)


def poison(change: Change, n: int = N_POISON) -> list[Observation]:
    rng = random.Random(3)
    carriers = [each for each in material.stream((Kind.LABEL,), 2 * n, seed=42) if each.contribution.label != FALSE]
    return [
        retyped(each, change, rng, id=f"p{i}", contributor=f"sybil-{i}", label=FALSE)
        for i, each in enumerate(carriers[:n])
    ]


def mixed(*streams: Sequence[Observation]) -> list[Observation]:
    items = [item for stream in streams for item in stream]
    random.Random(1).shuffle(items)
    return items


def honest(seed: int = 43, n: int = N_HONEST) -> list[Observation]:
    return material.stream((Kind.LABEL,), n, seed=seed)


def members(evidence: Evidence) -> set[str]:
    """Those of campaigns with a habit."""
    found = {each.ident for each in evidence.campaigns if "habit" in each.kinds}
    return {ident for ident, campaign in evidence.members.items() if campaign in found}


@pytest.mark.parametrize("way", FOLDED)
def test_a_way_of_typing_is_found_which_canonical_text_folds_away(way: str) -> None:
    """4 % of the stream, an account each."""
    bad = poison(WAYS[way])
    stream = mixed(honest(), bad)
    idents = {each.contribution.id for each in bad}
    found = members(follow(fitted(), stream))
    assert len(found & idents) >= 0.9 * len(idents)
    assert len(found - idents) <= 6
    without = follow(None, stream)
    assert len(without.members.keys() & idents) <= 0.2 * len(idents)


class Folded(Habit):
    """A planted bug: it reads the canonical text."""

    def of(self, observation):  # type: ignore[no-untyped-def]
        item = observation.contribution
        return super().of(replace(observation, contribution=replace(item, input=observation.texts["input"].skeleton)))


@pytest.mark.parametrize("way", ["all in capitals", "two blanks", "letters of full width"])
def test_a_kind_that_reads_canonical_text_finds_nothing(way: str) -> None:
    assert not members(follow(fitted(Folded), mixed(honest(), poison(WAYS[way]))))


@pytest.mark.parametrize("way", WAYS)
def test_a_tenth_of_the_honest_types_so_and_nobody_is_held(way: str) -> None:
    """Though nobody in the trusted set does."""
    people = sorted({each.contribution.contributor for each in honest()})
    so = set(random.Random(way).sample(people, len(people) // 10))
    rng = random.Random(5)
    stream = [retyped(each, WAYS[way], rng) if each.contribution.contributor in so else each for each in honest()]
    assert not members(follow(fitted(), stream))


def test_a_habit_that_agrees_with_its_content_is_no_campaign_even_if_everybody_takes_it_up_at_once() -> None:
    rng = random.Random(6)
    later = [retyped(each, WAYS["signs in a row"], rng) for each in honest(seed=44)]
    assert not members(follow(fitted(), [*honest(), *later]))


def test_honest_people_with_the_habit_of_a_campaign_are_mostly_let_go() -> None:
    """Who types so and teaches what the text says is told from who does not."""
    rng, change = random.Random(7), WAYS["two blanks"]
    same = [retyped(each, change, rng, id=f"h{i}") for i, each in enumerate(honest(seed=45, n=24))]
    bad = poison(change, 40)
    found = members(follow(fitted(), mixed(honest(), same, bad)))
    assert len(found & {each.contribution.id for each in bad}) >= 30
    assert len(found & {each.contribution.id for each in same}) <= 4


def test_what_many_of_the_trusted_do_is_no_facet() -> None:
    rng = random.Random(8)
    n = round((COMMON + 0.05) * len(trusted()))
    vetted = [*(retyped(each, WAYS["two blanks"], rng) for each in trusted()[:n]), *trusted()[n:]]
    kind = fitted(vetted=vetted)
    assert "two blanks" not in {each.words.split(",")[0] for each in kind.of(vetted[0])}
    rare = fitted(vetted=[*vetted[: n // 3], *trusted()[n // 3 :]])
    assert "two blanks" in {each.words.split(",")[0] for each in rare.of(vetted[0])}


def test_a_text_with_every_habit_has_the_rarest_ones() -> None:
    text = 'hOwS  MY CARDS?! «x» ;:-) (a) [b] {c} & `d` -- ** ,, "e" #f @g é и α …  – 💳 “h” I’m aaa! i do. so\n\nx,y\n'
    base = trusted()[0]
    item = replace(base.contribution, input=text)
    found = fitted().of(material.observation(item))
    assert len(found) == MAX_HABITS
    assert max(each.n_trusted for each in found) == 0


def test_of_a_habit_in_everyday_use_only_those_are_held_who_contradict_their_content() -> None:
    """A fortieth of the trusted set and of the honest stream types so; a campaign does, too."""
    rng, change = random.Random(9), WAYS["two blanks"]
    vetted = [retyped(each, change, rng) if n % 40 == 0 else each for n, each in enumerate(trusted())]
    same = [retyped(each, change, rng) if n % 40 == 0 else each for n, each in enumerate(honest())]
    bad = poison(change, 60)
    evidence = follow(fitted(vetted=vetted), mixed(same, bad))
    _, reader = parts()
    found = members(evidence)
    assert len(found & {each.contribution.id for each in bad}) >= 45
    for each in same:
        if each.contribution.id in found:
            lesson = reader.lesson(each)
            assert lesson is not None
            assert lesson.log_ratio > 0.0
