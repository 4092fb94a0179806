"""The conformance suite of kinds of facets: what every kind must do, whatever it looks for.

::

    from feedback_guard.evidence.kinds.checks import Subject, all_checks

    @pytest.mark.parametrize("check", all_checks(), ids=lambda check: check.__name__)
    def test_conforms(check):
        check(Subject(MyKind))

A check raises `CheckFailedError` with a sentence. A subject fits its kind once on made-up contributions; share one
between checks to save time.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from feedback_guard.contribution import Kind
from feedback_guard.evidence.accumulator import Evidence
from feedback_guard.evidence.facets import Background
from feedback_guard.evidence.kinds.gather import Kinds
from feedback_guard.evidence.kinds.interface import MAX_SHARED, FacetKind
from feedback_guard.signals import material
from feedback_guard.signals.disagreement import Disagreement
from feedback_guard.signals.interface import Observation, State
from feedback_guard.signals.subject import CheckFailedError, demand, round_trip, same_state, size_bytes
from feedback_guard.verdict import Decision

__all__ = ["CheckFailedError", "Subject", "all_checks"]

MAX_BYTES: Final = 64 * 2**20
"""Most that a state may weigh."""
MAX_US: Final = 1_000.0
"""Most microseconds of processor time for one contribution, at the median: a budget for all kinds together."""
STREAMS: Final = 8
"""Honest streams that are judged to see that no campaign is found."""
RATE: Final = 0.1
_N_TRUSTED: Final = 300


@functools.cache
def _trusted() -> tuple[Observation, ...]:
    return tuple(material.stream(tuple(Kind), _N_TRUSTED, seed=11))


@functools.cache
def _reader() -> tuple[Background, Disagreement]:
    return Background.fit(_trusted(), seed=0), Disagreement.from_state(Disagreement.fit(_trusted(), seed=0))


@dataclass
class Subject:
    """A kind of facet under test, fitted once on made-up trusted contributions of every kind."""

    kind: type[FacetKind]
    _fitted: list[State] = field(default_factory=list)

    @property
    def trusted(self) -> Sequence[Observation]:
        """The made-up trusted set."""
        return _trusted()

    @property
    def state(self) -> State:
        """The frozen state."""
        if not self._fitted:
            self._fitted.append(self.kind.fit(self.trusted, seed=0))
        return self._fitted[0]

    def fresh(self) -> FacetKind:
        """The kind as a baseline restores it."""
        return self.kind.from_state(self.state)

    def probes(self) -> Iterator[tuple[str, Observation]]:
        """Honest, hostile and odd contributions, each with a name."""
        for each in material.stream(tuple(Kind), 10, seed=12):
            yield each.contribution.id, each
            yield f"{each.contribution.id} with an id of its output", spoken_of(each)
        yield from material.attacks()
        for name, text in material.odd_texts().items():
            base = material.honest(Kind.RATING, 3, seed=13)
            yield name, material.observation(replace(base, input=text, output=text))
        for name, each in zip(("no", "broken", "misshapen"), _without_vectors(), strict=True):
            yield f"{name} vectors", each


def spoken_of(observation: Observation) -> Observation:
    """The same contribution, with the identifier of the output that it speaks of."""
    return replace(observation, contribution=replace(observation.contribution, interaction=material.CANARY))


def _without_vectors() -> Iterator[Observation]:
    whole = material.observation(material.honest(Kind.PREFERENCE, 1, seed=14))
    yield replace(whole, vectors={})
    yield replace(whole, vectors={name: np.full_like(each, np.nan) for name, each in whole.vectors.items()})
    yield replace(whole, vectors={name: each[:, :7] for name, each in whole.vectors.items()})


def state_is_small_data(subject: Subject) -> None:
    """A state is JSON and arrays, of a bounded size."""
    demand(same_state(subject.state, round_trip(subject.state)), "the state is not the same after it was written")
    size = size_bytes(subject.state)
    demand(size <= MAX_BYTES, f"the state weighs {size:,} bytes; at most {MAX_BYTES:,} are allowed")


def same_seed_same_state(subject: Subject) -> None:
    """The same trusted set and seed give the same state."""
    again = subject.kind.fit(subject.trusted, seed=0)
    demand(same_state(subject.state, again), "the same trusted set and seed gave another state")


def nothing_trusted_is_no_error(subject: Subject) -> None:
    """A kind that a trusted set cannot support has no facets, and breaks nothing."""
    kind = subject.kind.from_state(round_trip(subject.kind.fit((), seed=0)))
    for _, observation in subject.probes():
        list(kind.of(observation))


def asking_changes_nothing(subject: Subject) -> None:
    """The same contribution has the same facets whenever it is asked about, also after a restart."""
    kind, again = subject.fresh(), subject.kind.from_state(round_trip(subject.state))
    first = {name: list(kind.of(observation)) for name, observation in subject.probes()}
    for name, observation in subject.probes():
        demand(list(kind.of(observation)) == first[name], f"{name}: another answer when it was asked a second time")
        demand(list(again.of(observation)) == first[name], f"{name}: another answer by a restored kind")


def facets_are_few_and_each_once(subject: Subject) -> None:
    """No contribution has more than `MAX_SHARED` facets, and none twice."""
    kind = subject.fresh()
    for name, observation in subject.probes():
        found = [each.value for each in kind.of(observation)]
        demand(len(found) <= MAX_SHARED, f"{name}: {len(found)} facets; at most {MAX_SHARED} are looked at")
        demand(len(set(found)) == len(found), f"{name}: a facet stands there twice")
        demand(all(found), f"{name}: a facet without a name")


def some_contributions_share_something(subject: Subject) -> None:
    """A facet that nobody shares is no evidence of anything."""
    kind = subject.fresh()
    found = Counter(each.value for o in subject.trusted for each in kind.of(spoken_of(o)))
    demand(any(n > 1 for n in found.values()), "no two of the trusted contributions share a facet")


def trusted_members_are_counted(subject: Subject) -> None:
    """Of each facet it is known how many trusted contributions have it."""
    kind = subject.fresh()
    found: Counter[str] = Counter()
    told: dict[str, int] = {}
    for observation in subject.trusted:
        for each in kind.of(observation):
            found[each.value] += 1
            told[each.value] = each.n_trusted
    for value, n in found.items():
        demand(told[value] == n, f"{n} trusted contributions have a facet that is said to have {told[value]}")


def words_repeat_nothing(subject: Subject) -> None:
    """What a moderator or a log reads of a facet is never what a user wrote."""
    kind = subject.fresh()
    base = material.honest(Kind.RATING, 5, seed=15)
    told = replace(base, input=f"{material.CANARY} {base.input}", output=f"{material.CANARY} {base.output}")
    for each in kind.of(spoken_of(material.observation(told))):
        demand(material.CANARY not in each.words.casefold(), "the words of a facet repeat contributed text")


def it_is_quick(subject: Subject) -> None:
    """It is asked about every contribution."""
    kind = subject.fresh()
    took = []
    for observation in subject.trusted[:300]:
        began = time.thread_time_ns()
        kind.of(observation)
        took.append((time.thread_time_ns() - began) / 1_000.0)
    median = statistics.median(took)
    demand(median <= MAX_US, f"a contribution takes {median:.0f} µs at the median; at most {MAX_US:.0f} are allowed")


def honest_streams_have_no_campaign(subject: Subject) -> None:
    """The rate of false campaigns: of honest streams, hardly one has a campaign of this kind."""
    background, reader = _reader()
    false = 0
    for seed in range(STREAMS):
        evidence = Evidence(background, reader, RATE, kinds=Kinds({subject.kind.name: subject.fresh()}))
        for n, each in enumerate(material.stream((Kind.LABEL, Kind.RATING, Kind.PREFERENCE), 150, seed=100 + seed)):
            evidence.witness(each, Decision.ACCEPT, n)
        false += any(kind == subject.kind.name for each in evidence.campaigns for kind, _ in each.facets)
    # three of eight have a probability of 0.04 at a rate of one in ten
    demand(false <= 2, f"{false} of {STREAMS} honest streams have a campaign, at a rate of {RATE}")


def all_checks() -> tuple[Callable[[Subject], None], ...]:
    """Every check, cheap ones first."""
    return (
        state_is_small_data,
        same_seed_same_state,
        nothing_trusted_is_no_error,
        asking_changes_nothing,
        facets_are_few_and_each_once,
        some_contributions_share_something,
        trusted_members_are_counted,
        words_repeat_nothing,
        it_is_quick,
        honest_streams_have_no_campaign,
    )
