"""Checks of what a signal keeps: data, apart from others, bounded, restored whole, and not to be taught."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from feedback_guard.contribution import Kind
from feedback_guard.signals import material
from feedback_guard.signals.interface import Condition, Observation, State
from feedback_guard.signals.subject import (
    N_LIVED,
    N_MANY,
    CheckFailedError,
    Subject,
    demand,
    round_trip,
    same_state,
    size_bytes,
)

SMALL_CAPACITY = 2_000
"""What the check of the bound lowers a signal's `capacity` to."""


def state_is_data(subject: Subject) -> None:
    """A state holds JSON values and arrays of numbers, nothing else."""
    for state in (subject.state, subject.lived().state()):
        try:
            back = json.loads(json.dumps(dict(state.values), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise CheckFailedError(f"the values of the state are not JSON: {error}") from None
        demand(back == dict(state.values), "the values change when written as JSON and read (tuples, number keys?)")
        for name, array in state.arrays.items():
            demand(isinstance(array, np.ndarray), f"{name} is not an array")
            demand(array.dtype.kind in "biuf", f"{name} has dtype {array.dtype}; only numbers and booleans are kept")


def score_is_pure(subject: Subject) -> None:
    """Scoring changes nothing: the same result twice, the same state before and after."""
    signal = subject.lived()
    before = round_trip(signal.state())
    first = [signal.score(observation) for _, observation in subject.probes()]
    second = [signal.score(observation) for _, observation in subject.probes()]
    demand(first == second, "the same contribution scored twice gave two results")
    demand(same_state(before, round_trip(signal.state())), "scoring changed the state; only witness and learn may")


def together_as_alone(subject: Subject) -> None:
    """Contributions that are scored together are scored as each is alone, whatever else is among them."""
    signal = subject.lived()
    observations = [observation for _, observation in subject.probes()]
    first, second, *_ = (each for each in observations if each.vectors.keys() == observations[0].vectors.keys())
    several = {name: np.concatenate([rows, second.vectors[name]]) for name, rows in first.vectors.items()}
    observations.insert(1, replace(first, vectors=several))  # a long text has several windows
    alone = [signal.score(observation) for observation in observations]
    before = round_trip(signal.state())
    demand(signal.score_all([]) == [], "nothing scored together gave a finding")
    for order in (range(len(observations)), range(len(observations) - 1, -1, -1)):
        together = signal.score_all([observations[place] for place in order])
        for place, finding in zip(order, together, strict=True):
            demand(finding == alone[place], f"alone it says {alone[place]}, among others {finding}")
    demand(same_state(before, round_trip(signal.state())), "scoring together changed the state")


def restore_equals_original(subject: Subject) -> None:
    """A detector restored from its written state gives the same findings, now and after learning more."""
    for signal in (subject.fresh(), subject.lived(N_LIVED)):
        restored = subject.signal.from_state(round_trip(signal.state()))
        demand(same_state(signal.state(), restored.state()), "the restored detector has another state")
        for more in range(2):
            for name, observation in subject.probes():
                one, other = signal.score(observation), restored.score(observation)
                demand(one == other, f"{name}: original says {one}, restored says {other}")
            if not more:
                for observation in subject.honest[:700]:
                    for each in (signal, restored):
                        each.witness(observation)
                        each.learn(observation)


def _own_copy(observation: Observation) -> Observation:
    return replace(
        observation,
        vectors={name: array.copy() for name, array in observation.vectors.items()},
        texts=dict(observation.texts),
    )


def _vandalise(observation: Observation) -> None:
    for array in observation.vectors.values():
        array[:] = 7.0
    observation.vectors.clear()  # type: ignore[attr-defined]
    observation.texts.clear()  # type: ignore[attr-defined]


def inputs_are_left_alone(subject: Subject) -> None:
    """Inputs are neither changed nor kept by reference, in fitting, witnessing, learning and scoring."""
    trusted = [_own_copy(observation) for observation in subject.trusted[:600]]
    fitted = subject.signal.fit(trusted, seed=subject.seed)
    for ours, theirs in zip(trusted, subject.trusted, strict=False):
        same = all(np.array_equal(ours.vectors[name], theirs.vectors[name]) for name in theirs.vectors)
        demand(same and dict(ours.texts) == dict(theirs.texts), "fitting changed its input")
    before = round_trip(fitted)
    signal = subject.signal.from_state(fitted)
    seen = [_own_copy(observation) for observation in subject.honest[:300]]
    for observation in seen:
        signal.score(observation)
        signal.witness(observation)
        signal.learn(observation)
    for ours, theirs in zip(seen, subject.honest, strict=False):
        same = all(np.array_equal(ours.vectors[name], theirs.vectors[name]) for name in theirs.vectors)
        demand(same, "scoring, witnessing or learning changed its input")
    after = round_trip(signal.state())
    for observation in (*trusted, *seen):
        _vandalise(observation)
    demand(same_state(before, round_trip(fitted)), "the frozen state holds a reference to the trusted set, or changed")
    demand(same_state(after, round_trip(signal.state())), "the detector kept a reference to what it was given")


def learning_later_is_learning(subject: Subject) -> None:
    """What is left to be done later does what learning at once does, whatever becomes of the contribution meanwhile."""
    one, other = subject.fresh(), subject.fresh()
    seen = [_own_copy(observation) for observation in subject.honest[:300]]
    for observation in subject.honest[:300]:
        one.score(observation)
        one.learn(observation)
    lessons = []
    for observation in seen:
        other.score(observation)
        lessons.append(other.later(observation))
    demand(same_state(other.state(), subject.fresh().state()), "keeping for later changed the state")
    for learn in lessons:
        if learn is not None:
            learn()
    demand(same_state(one.state(), other.state()), "learning later gave another state than learning at once")


def states_are_apart(subject: Subject) -> None:
    """A state is a snapshot: the detector that gave it, or was made from it, can go on without changing it."""
    signal = subject.lived(200)
    taken = signal.state()
    before = round_trip(taken)
    other = subject.signal.from_state(taken)
    for observation in subject.honest[:400]:
        for each in (signal, other):
            each.witness(observation)
            each.learn(observation)
    demand(same_state(before, round_trip(taken)), "a state changed after it was taken; copy arrays and lists")


def same_seed_same_state(subject: Subject) -> None:
    """Fitting again on the same trusted set with the same seed gives the same state, to the last bit."""
    trusted = subject.trusted[:600]
    one, two = (subject.signal.fit(trusted, seed=11) for _ in range(2))
    demand(same_state(one, two), "two fits with one seed differ; draw everything at random from the seed")


def _ramp(start: Observation, end: Observation, n: int) -> Iterator[Observation]:
    """Contributions that move from an honest one to a hostile one: text word by word, vectors along the arc."""
    for step in range(n):
        share = step / (n - 1)
        fields: dict[str, str] = {}
        for name, text in end.contribution.texts.items():
            hostile, plain = text.split(), start.contribution.texts[name].split()
            cut = round(share * len(hostile))
            fields[name] = " ".join(hostile[:cut] + plain[round(share * len(plain)) :])
        taught = end.contribution if share > 0.5 else start.contribution
        made = replace(
            end.contribution,
            id=f"ramp-{step}",
            contributor=f"account-{step}",
            label=taught.label,
            rating=taught.rating,
            **fields,  # type: ignore[arg-type]
        )
        made_observation = material.observation(made)
        vectors = {}
        for name, there in end.vectors.items():
            mixed = (1 - share) * start.vectors[name][:1] + share * there[:1]
            mixed = mixed / max(float(np.linalg.norm(mixed)), 1e-9)
            vectors[name] = mixed.astype(np.float16).astype(np.float32)
        yield replace(made_observation, vectors=vectors)


def slow_poisoning_widens_nothing(subject: Subject) -> None:
    """An attack that was learnt step by step, and then many times over, has no higher p-value than at the start."""
    start = {observation.contribution.kind: observation for observation in subject.honest[:10]}
    for name, attack in material.attacks():
        signal = subject.fresh()
        fresh = signal.score(attack)
        if fresh.condition is not Condition.SCORED:
            continue
        for observation in _ramp(start[attack.contribution.kind], attack, 300):
            signal.learn(observation)
        for number in range(300):
            again = replace(attack.contribution, id=f"again-{number}", contributor=f"account-{number % 40}")
            signal.learn(replace(attack, contribution=again))
        after = signal.score(attack)
        p_before, p_after = fresh.p_value or 0.0, after.p_value
        demand(
            p_after is not None and p_after <= p_before * (1 + 1e-9),
            f"{name}: p-value {p_before:g} rose to {p_after} after the attack was learnt; learning may not lift it",
        )


def state_is_bounded(subject: Subject) -> None:
    """After 20,000 contributions the state has stopped growing."""
    state = subject.state
    if "capacity" in state.values:
        state = State({**state.values, "capacity": SMALL_CAPACITY}, state.arrays)
    signal = subject.signal.from_state(state)
    halfway = 0
    for number in range(N_MANY):
        kind = tuple(Kind)[number % len(Kind)]
        contribution = replace(material.honest(kind, number, seed=8), contributor=f"person-{number}")
        observation = material.observation(contribution)
        signal.witness(observation)
        signal.learn(observation)
        if number == N_MANY // 2:
            halfway = size_bytes(signal.state())
    end = size_bytes(signal.state())
    demand(end <= halfway * 1.02 + 4_096, f"the state grew from {halfway} to {end} bytes in the last 10,000")
