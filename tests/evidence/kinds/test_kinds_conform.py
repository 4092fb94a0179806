"""Each kind of facet x each check of the conformance suite; and the suite notices each fault."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import ClassVar, Self

import numpy as np
import pytest

from feedback_guard.contribution import Kind
from feedback_guard.evidence.kinds.checks import CheckFailedError, Subject, all_checks
from feedback_guard.evidence.kinds.interface import FacetKind, Shared
from feedback_guard.evidence.kinds.registry import BUILT_IN
from feedback_guard.signals.interface import Observation, State

Check = Callable[[Subject], None]


class Length(FacetKind):
    """A sound kind: how many words a text has, in tens."""

    name: ClassVar[str] = "length"
    noun: ClassVar[str] = "a length"
    alike: ClassVar[float] = 0.1

    def __init__(self, counts: dict[str, int]) -> None:
        self.counts = counts

    @classmethod
    def fit(cls, trusted: Sequence[Observation], *, seed: int) -> State:
        found: dict[str, int] = {}
        for each in trusted:
            found[cls.tens(each)] = found.get(cls.tens(each), 0) + 1
        return State({"counts": dict(sorted(found.items()))})

    @classmethod
    def from_state(cls, state: State) -> Self:
        counts = state.values["counts"]
        assert isinstance(counts, dict)
        return cls({name: int(str(n)) for name, n in counts.items()})

    def of(self, observation: Observation) -> Sequence[Shared]:
        value = self.tens(observation)
        return [Shared(value, self.counts.get(value, 0), f"about {value} words")]

    @staticmethod
    def tens(observation: Observation) -> str:
        return str(len(observation.contribution.input.split()) // 10 * 10)


class Large(Length):
    @classmethod
    def fit(cls, trusted: Sequence[Observation], *, seed: int) -> State:
        return State(Length.fit(trusted, seed=seed).values, {"big": np.zeros(2**24)})


class Dice(Length):
    @classmethod
    def fit(cls, trusted: Sequence[Observation], *, seed: int) -> State:
        chance = float(np.random.default_rng().random())
        return State({**Length.fit(trusted, seed=seed).values, "chance": chance})


class Demanding(Length):
    @classmethod
    def fit(cls, trusted: Sequence[Observation], *, seed: int) -> State:
        if not trusted:
            raise CheckFailedError("no trusted contributions")
        return Length.fit(trusted, seed=seed)


class Moody(Length):
    asked = 0

    def of(self, observation: Observation) -> Sequence[Shared]:
        Moody.asked += 1
        return [Shared(str(Moody.asked))]


class Chatty(Length):
    def of(self, observation: Observation) -> Sequence[Shared]:
        return [*super().of(observation), *(Shared(each) for each in observation.contribution.input.split())]


class Lonely(Length):
    def of(self, observation: Observation) -> Sequence[Shared]:
        return [Shared(observation.contribution.id)]


class Forgetful(Length):
    def of(self, observation: Observation) -> Sequence[Shared]:
        return [Shared(self.tens(observation), 0)]


class Loud(Length):
    def of(self, observation: Observation) -> Sequence[Shared]:
        found = super().of(observation)[0]
        return [Shared(found.value, found.n_trusted, observation.contribution.input)]


class Slow(Length):
    def of(self, observation: Observation) -> Sequence[Shared]:
        end = time.thread_time_ns() + 1_500_000
        while time.thread_time_ns() < end:
            pass
        return super().of(observation)


class Unfair(Length):
    """Its facet is whether a contribution was mistaken: who errs has that in common with whoever errs."""

    alike: ClassVar[float] = 0.0

    def of(self, observation: Observation) -> Sequence[Shared]:
        from feedback_guard.signals.material import TOPICS

        item = observation.contribution
        words = set(item.input.split())
        best = max(TOPICS, key=lambda topic: len(words & set(TOPICS[topic].split())))
        return [Shared("mistaken")] if item.kind is Kind.LABEL and item.label != best else ()


BROKEN: dict[str, type[FacetKind]] = {
    "state_is_small_data": Large,
    "same_seed_same_state": Dice,
    "nothing_trusted_is_no_error": Demanding,
    "asking_changes_nothing": Moody,
    "facets_are_few_and_each_once": Chatty,
    "some_contributions_share_something": Lonely,
    "trusted_members_are_counted": Forgetful,
    "words_repeat_nothing": Loud,
    "it_is_quick": Slow,
    "honest_streams_have_no_campaign": Unfair,
}


@functools.cache
def _subject(kind: type[FacetKind]) -> Subject:
    return Subject(kind)


@pytest.mark.parametrize("check", all_checks(), ids=lambda check: check.__name__)
@pytest.mark.parametrize("kind", [*BUILT_IN.values(), Length], ids=lambda kind: kind.name)
def test_conforms(kind: type[FacetKind], check: Check) -> None:
    check(_subject(kind))


@pytest.mark.parametrize("check", all_checks(), ids=lambda check: check.__name__)
def test_a_broken_kind_fails(check: Check) -> None:
    with pytest.raises(CheckFailedError):
        check(_subject(BROKEN[check.__name__]))
