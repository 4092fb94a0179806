"""The conformance suite of signals: what every detector must do, whatever it looks for.

::

    from feedback_guard.signals.checks import Subject, all_checks

    @pytest.mark.parametrize("check", all_checks(), ids=lambda check: check.name)
    def test_conforms(check):
        check.run(Subject(MySignal))

A check raises `CheckFailedError` with a sentence. A subject fits its signal once on made-up contributions; share one
between checks to save time. A signal whose memory is bounded by a number calls it `capacity` in the values of its
state; the check of the bound lowers it.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import safetensors.numpy

from feedback_guard.contribution import TEXT_FIELDS, Kind
from feedback_guard.embedding.interface import Vectors
from feedback_guard.errors import BaselineError, SignalError
from feedback_guard.signals import material
from feedback_guard.signals.interface import Condition, Finding, Observation, Signal, State

N_TRUSTED = 400
"""Trusted contributions of each kind in the made-up set."""
N_HONEST = 250
"""Honest contributions of each kind that calibration is checked on."""
N_LIVED = 3_000
"""Contributions that a detector has seen before it is restored: enough to fill windows."""
N_MANY = 20_000
"""Contributions after which the state must have stopped growing."""
SMALL_CAPACITY = 2_000
"""What the check of the bound lowers a signal's `capacity` to."""


class CheckFailedError(AssertionError):
    """A signal does not do what every signal must."""


def _demand(holds: bool, message: str) -> None:
    if not holds:
        raise CheckFailedError(message)


@functools.cache
def _trusted() -> tuple[Observation, ...]:
    return tuple(material.stream(tuple(Kind), N_TRUSTED, seed=1))


@functools.cache
def _honest() -> tuple[Observation, ...]:
    return tuple(material.stream(tuple(Kind), N_HONEST, seed=2))


@dataclass
class Subject:
    """A signal under test, fitted once on made-up trusted contributions of every kind."""

    signal: type[Signal]
    seed: int = 0
    _fitted: list[State] = field(default_factory=list)

    @property
    def trusted(self) -> Sequence[Observation]:
        """The made-up trusted set."""
        return _trusted()

    @property
    def honest(self) -> Sequence[Observation]:
        """Honest contributions that are not in the trusted set."""
        return _honest()

    @property
    def state(self) -> State:
        """The frozen state."""
        if not self._fitted:
            self._fitted.append(self.signal.fit(self.trusted, seed=self.seed))
        return self._fitted[0]

    def fresh(self) -> Signal:
        """A detector that has learnt nothing since the baseline."""
        return self.signal.from_state(self.state)

    def lived(self, n: int = 600) -> Signal:
        """A detector that has seen and learnt some of the stream."""
        signal = self.fresh()
        for observation in material.stream(tuple(Kind), n // len(Kind), seed=3):
            signal.witness(observation)
            signal.learn(observation)
        return signal

    def probes(self) -> Iterator[tuple[str, Observation]]:
        """Honest and hostile contributions, each with a name."""
        for observation in self.honest[:20]:
            yield observation.contribution.id, observation
        yield from material.attacks()


def size_bytes(state: State) -> int:
    """How much a state weighs: its arrays and its values as JSON."""
    return sum(array.nbytes for array in state.arrays.values()) + len(json.dumps(dict(state.values)))


def round_trip(state: State) -> State:
    """A state after it was written as JSON and safetensors and read again."""
    arrays = {name: np.ascontiguousarray(array) for name, array in state.arrays.items()}
    read = safetensors.numpy.load(safetensors.numpy.save(arrays))
    return State(json.loads(json.dumps(dict(state.values), allow_nan=False)), read)


def same_state(one: State, other: State) -> bool:
    """Whether two states are equal, to the last bit."""
    return (
        json.dumps(dict(one.values), sort_keys=True) == json.dumps(dict(other.values), sort_keys=True)
        and one.arrays.keys() == other.arrays.keys()
        and all(
            array.dtype == other.arrays[name].dtype
            and array.shape == other.arrays[name].shape
            and array.tobytes() == other.arrays[name].tobytes()
            for name, array in one.arrays.items()
        )
    )


def _is_sound(finding: Finding, signal: type[Signal], what: str) -> None:
    _demand(finding.signal == signal.name, f"{what}: the finding is signed {finding.signal!r}, not {signal.name!r}")
    _demand(bool(finding.message.strip()), f"{what}: the message is empty")
    if finding.condition is Condition.SCORED:
        p = finding.p_value
        _demand(p is not None and math.isfinite(p) and 0.0 < p <= 1.0, f"{what}: p-value {p} is outside (0, 1]")
    else:
        _demand(finding.p_value is None, f"{what}: {finding.condition} and yet a p-value; not scored is not a number")


def finite_in_finite_out(subject: Subject) -> None:
    """Every ordinary or hostile contribution gets a p-value in (0, 1], or a stated reason why not."""
    for signal in (subject.fresh(), subject.lived()):
        for name, observation in subject.probes():
            _is_sound(signal.score(observation), subject.signal, name)


class _Watched(Mapping[str, Vectors]):
    """Vectors that note whether anybody looked at them."""

    def __init__(self, vectors: Mapping[str, Vectors]) -> None:
        self.vectors = vectors
        self.looked = False

    def __getitem__(self, name: str) -> Vectors:
        self.looked = True
        return self.vectors[name]

    def __iter__(self) -> Iterator[str]:
        self.looked = True
        return iter(self.vectors)

    def __len__(self) -> int:
        self.looked = True
        return len(self.vectors)


def broken_vectors_are_refused(subject: Subject) -> None:
    """NaN, infinite, zero, missing and misshapen vectors raise SignalError, or the finding is not a calm one."""
    signal = subject.fresh()
    for observation in subject.honest[: 2 * len(Kind)]:
        shape = (1, material.DIMENSION)
        one_nan = np.full(shape, 0.125, dtype=np.float32)
        one_nan[0, 3] = np.nan
        for name, array in {
            "NaN": np.full(shape, np.nan, dtype=np.float32),
            "one NaN": one_nan,
            "infinite": np.full(shape, np.inf, dtype=np.float32),
            "zero": np.zeros(shape, dtype=np.float32),
            "huge": np.full(shape, 1e30, dtype=np.float32),
            "no row": np.zeros((0, material.DIMENSION), dtype=np.float32),
            "short": np.ones((1, 3), dtype=np.float32),
            "missing": None,
        }.items():
            vectors = {} if array is None else dict.fromkeys(observation.vectors, array)
            watched = _Watched(vectors)
            try:
                finding = signal.score(replace(observation, vectors=watched))
            except SignalError:
                continue
            _is_sound(finding, subject.signal, f"{name} vectors")
            calm = finding.condition is Condition.SCORED and (finding.p_value or 0.0) > 0.05
            _demand(not (watched.looked and calm), f"{name} vectors were scored as normal; raise SignalError")


def odd_texts_are_judged(subject: Subject) -> None:
    """Empty, huge and odd texts give a sound finding or a SignalError, and nothing else is raised."""
    signal = subject.fresh()
    for kind in Kind:
        base = material.honest(kind, 3, seed=5)
        for name, text in material.odd_texts().items():
            fields = dict.fromkeys(TEXT_FIELDS[kind], text)
            observation = material.observation(replace(base, **fields))  # type: ignore[arg-type]
            try:
                finding = signal.score(observation)
            except SignalError:
                continue
            _is_sound(finding, subject.signal, f"{kind.value} with a text of {name}")
            signal.witness(observation)
            signal.learn(observation)


def score_is_pure(subject: Subject) -> None:
    """Scoring changes nothing: the same result twice, the same state before and after."""
    signal = subject.lived()
    before = round_trip(signal.state())
    first = [signal.score(observation) for _, observation in subject.probes()]
    second = [signal.score(observation) for _, observation in subject.probes()]
    _demand(first == second, "the same contribution scored twice gave two results")
    _demand(same_state(before, round_trip(signal.state())), "scoring changed the state; only witness and learn may")


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
        _demand(same and dict(ours.texts) == dict(theirs.texts), "fitting changed its input")
    before = round_trip(fitted)
    signal = subject.signal.from_state(fitted)
    seen = [_own_copy(observation) for observation in subject.honest[:300]]
    for observation in seen:
        signal.score(observation)
        signal.witness(observation)
        signal.learn(observation)
    for ours, theirs in zip(seen, subject.honest, strict=False):
        same = all(np.array_equal(ours.vectors[name], theirs.vectors[name]) for name in theirs.vectors)
        _demand(same, "scoring, witnessing or learning changed its input")
    after = round_trip(signal.state())
    for observation in (*trusted, *seen):
        _vandalise(observation)
    _demand(same_state(before, round_trip(fitted)), "the frozen state holds a reference to the trusted set, or changed")
    _demand(same_state(after, round_trip(signal.state())), "the detector kept a reference to what it was given")


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
    _demand(same_state(before, round_trip(taken)), "a state changed after it was taken; copy arrays and lists")


def state_is_data(subject: Subject) -> None:
    """A state holds JSON values and arrays of numbers, nothing else."""
    for state in (subject.state, subject.lived().state()):
        try:
            back = json.loads(json.dumps(dict(state.values), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise CheckFailedError(f"the values of the state are not JSON: {error}") from None
        _demand(back == dict(state.values), "the values change when written as JSON and read (tuples, number keys?)")
        for name, array in state.arrays.items():
            _demand(isinstance(array, np.ndarray), f"{name} is not an array")
            _demand(array.dtype.kind in "biuf", f"{name} has dtype {array.dtype}; only numbers and booleans are kept")


def restore_equals_original(subject: Subject) -> None:
    """A detector restored from its written state gives the same findings, now and after learning more."""
    for signal in (subject.fresh(), subject.lived(N_LIVED)):
        restored = subject.signal.from_state(round_trip(signal.state()))
        _demand(same_state(signal.state(), restored.state()), "the restored detector has another state")
        for more in range(2):
            for name, observation in subject.probes():
                one, other = signal.score(observation), restored.score(observation)
                _demand(one == other, f"{name}: original says {one}, restored says {other}")
            if not more:
                for observation in subject.honest[:700]:
                    for each in (signal, restored):
                        each.witness(observation)
                        each.learn(observation)


def warm_up_is_stated(subject: Subject) -> None:
    """With too little to go by, the signal says so: BaselineError, or findings that are not calm p-values of 1."""
    for n in (1, 3):
        try:
            state = subject.signal.fit(subject.trusted[: n * len(Kind)], seed=subject.seed)
        except BaselineError as error:
            _demand(bool(str(error)), "the BaselineError has no message")
            continue
        signal = subject.signal.from_state(state)
        for observation in subject.honest[:50]:
            finding = signal.score(observation)
            _is_sound(finding, subject.signal, f"fitted on {n} of each kind")
            if finding.condition is Condition.SCORED:
                least = 1.0 / (n * len(Kind) + 1)
                p = finding.p_value or 0.0
                _demand(p >= least, f"p-value {p:g} from {n * len(Kind)} trusted contributions; the least is {least:g}")


def messages_repeat_nothing(subject: Subject) -> None:
    """No message and no error repeats contributed text, labels or names."""
    signal = subject.lived(200)
    canary = material.CANARY
    for kind in Kind:
        base = material.honest(kind, 4, seed=6)
        known = {"label": base.label} if base.label else {}
        for label in ({"label": canary}, known) if base.label else ({},):
            fields = dict.fromkeys(TEXT_FIELDS[kind], f"{canary} {base.input} {canary}")
            observation = material.observation(
                replace(
                    base,
                    id=f"{canary}-id",
                    contributor=f"{canary}-person",
                    groups={"network": canary},
                    metadata={"note": canary},
                    **fields,  # type: ignore[arg-type]
                    **label,  # type: ignore[arg-type]
                )
            )
            for _ in range(12):
                try:
                    finding = signal.score(observation)
                except SignalError as error:
                    _demand(canary not in str(error).casefold(), "an error repeats contributed text")
                    break
                _demand(canary not in finding.message.casefold(), f"a message repeats contributed text ({kind.value})")
                signal.witness(observation)
                signal.learn(observation)


def _chance_of(count: int, n: int, a: int, b: int) -> float:
    """P(X >= count) for a beta-binomial X: the number of p-values at or below a level, over calibration sets too."""

    def log_beta(x: float, y: float) -> float:
        return math.lgamma(x) + math.lgamma(y) - math.lgamma(x + y)

    def mass(k: int) -> float:
        choose = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        return math.exp(choose + log_beta(k + a, n - k + b) - log_beta(a, b))

    return max(0.0, 1.0 - sum(mass(k) for k in range(count)))


def honest_are_calibrated(subject: Subject) -> None:
    """On an honest stream, no more than a share `a` has a p-value of `a` or less, for 1 %, 5 % and 10 %."""
    for kind in Kind:
        signal = subject.fresh()
        scored = []
        for observation in subject.honest:
            if observation.contribution.kind is kind:
                finding = signal.score(observation)
                if finding.p_value is not None:
                    scored.append(finding.p_value)
            signal.witness(observation)
            signal.learn(observation)
        for level in (0.01, 0.05, 0.10):
            count = sum(p <= level for p in scored)
            rank = math.floor(level * (N_TRUSTED + 1))
            chance = _chance_of(count, len(scored), rank, N_TRUSTED + 1 - rank)
            share = count / max(len(scored), 1)
            _demand(
                chance > 1e-4,
                f"{share:.1%} of honest {kind.value} contributions have a p-value of at most {level:g}; "
                f"a calibrated signal does that once in {1 / max(chance, 1e-12):.0f} times",
            )


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
        for number in range(400):
            again = replace(attack.contribution, id=f"again-{number}", contributor=f"account-{number % 40}")
            signal.learn(replace(attack, contribution=again))
        after = signal.score(attack)
        p_before, p_after = fresh.p_value or 0.0, after.p_value
        _demand(
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
    _demand(end <= halfway * 1.02 + 4_096, f"the state grew from {halfway} to {end} bytes in the last 10,000")


def same_seed_same_state(subject: Subject) -> None:
    """Fitting again on the same trusted set with the same seed gives the same state, to the last bit."""
    trusted = subject.trusted[:600]
    one, two = (subject.signal.fit(trusted, seed=11) for _ in range(2))
    _demand(same_state(one, two), "two fits with one seed differ; draw everything at random from the seed")


def order_of_fields_is_no_matter(subject: Subject) -> None:
    """Texts and vectors in another order of fields give the same finding."""
    signal = subject.lived(200)
    for name, observation in subject.probes():
        turned = replace(
            observation,
            texts=dict(reversed(list(observation.texts.items()))),
            vectors=dict(reversed(list(observation.vectors.items()))),
        )
        _demand(
            signal.score(observation) == signal.score(turned), f"{name}: the order of the fields changed the result"
        )


@dataclass(frozen=True, slots=True)
class Check:
    """One named demand on a signal."""

    run: Callable[[Subject], None]

    @property
    def name(self) -> str:
        """The demand, in words."""
        return self.run.__name__


def all_checks() -> tuple[Check, ...]:
    """Every check, cheap ones first."""
    return tuple(
        Check(run)
        for run in (
            state_is_data,
            finite_in_finite_out,
            broken_vectors_are_refused,
            odd_texts_are_judged,
            score_is_pure,
            order_of_fields_is_no_matter,
            messages_repeat_nothing,
            restore_equals_original,
            states_are_apart,
            inputs_are_left_alone,
            warm_up_is_stated,
            same_seed_same_state,
            honest_are_calibrated,
            slow_poisoning_widens_nothing,
            state_is_bounded,
        )
    )
