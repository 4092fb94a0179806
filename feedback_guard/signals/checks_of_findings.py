"""Checks of what a signal says: sound findings for whatever comes, calibrated, and silent about what was written."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from feedback_guard.contribution import TEXT_FIELDS, Kind
from feedback_guard.embedding.interface import Vectors
from feedback_guard.errors import BaselineError, SignalError
from feedback_guard.signals import material
from feedback_guard.signals.interface import Condition
from feedback_guard.signals.subject import N_TRUSTED, Subject, demand, is_sound


def finite_in_finite_out(subject: Subject) -> None:
    """Every ordinary or hostile contribution gets a p-value in (0, 1], or a stated reason why not."""
    for signal in (subject.fresh(), subject.lived()):
        for name, observation in subject.probes():
            is_sound(signal.score(observation), subject.signal, name)


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
            is_sound(finding, subject.signal, f"{name} vectors")
            calm = finding.condition is Condition.SCORED and (finding.p_value or 0.0) > 0.05
            demand(not (watched.looked and calm), f"{name} vectors were scored as normal; raise SignalError")


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
            is_sound(finding, subject.signal, f"{kind.value} with a text of {name}")
            signal.witness(observation)
            signal.learn(observation)


def order_of_fields_is_no_matter(subject: Subject) -> None:
    """Texts and vectors in another order of fields give the same finding."""
    signal = subject.lived(200)
    for name, observation in subject.probes():
        turned = replace(
            observation,
            texts=dict(reversed(list(observation.texts.items()))),
            vectors=dict(reversed(list(observation.vectors.items()))),
        )
        demand(signal.score(observation) == signal.score(turned), f"{name}: the order of the fields changed the result")


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
                    demand(canary not in str(error).casefold(), "an error repeats contributed text")
                    break
                demand(canary not in finding.message.casefold(), f"a message repeats contributed text ({kind.value})")
                signal.witness(observation)
                signal.learn(observation)


def warm_up_is_stated(subject: Subject) -> None:
    """With too little to go by, the signal says so: BaselineError, or findings that are not calm p-values of 1."""
    for n in (1, 3):
        try:
            state = subject.signal.fit(subject.trusted[: n * len(Kind)], seed=subject.seed)
        except BaselineError as error:
            demand(bool(str(error)), "the BaselineError has no message")
            continue
        signal = subject.signal.from_state(state)
        for observation in subject.honest[:50]:
            finding = signal.score(observation)
            is_sound(finding, subject.signal, f"fitted on {n} of each kind")
            if finding.condition is Condition.SCORED:
                least = 1.0 / (n * len(Kind) + 1)
                p = finding.p_value or 0.0
                demand(p >= least, f"p-value {p:g} from {n * len(Kind)} trusted contributions; the least is {least:g}")


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
            demand(
                chance > 1e-4,
                f"{share:.1%} of honest {kind.value} contributions have a p-value of at most {level:g}; "
                f"a calibrated signal does that once in {1 / max(chance, 1e-12):.0f} times",
            )
