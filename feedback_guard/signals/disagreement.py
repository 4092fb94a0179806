"""What is taught contradicts the content, as a model of the trusted set reads it.

A label that does not fit its text, a vote against an answer that trusted voters liked, a preference turned round, an
answer that has nothing to do with its prompt. A classifier (or, for free text, the nearest trusted answers) is fitted
once on the trusted set; the score of a contribution is how much it speaks against what is taught; the p-value is the
share of trusted contributions that contradict a classifier fitted without them at least as much.

Alone it sees single contributions. Poison whose text itself was chosen to agree with the label (clean-label attacks)
is not seen by it, and where honest people often disagree it can only find the crudest lies.

References
----------
Northcutt, C., Jiang, L., Chuang, I. (2021). Confident learning. JAIR 70, 1373-1411 (cross-fitted label errors).
Vovk, V. (2015). Cross-conformal predictors. Annals of Mathematics and Artificial Intelligence 74, 9-28.
"""

from __future__ import annotations

import functools
import hashlib
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from feedback_guard.contribution import Contribution, Kind
from feedback_guard.errors import BaselineError
from feedback_guard.signals.answers import MAX_REFERENCE, Pairs
from feedback_guard.signals.calibration import Calibration, Mondrian
from feedback_guard.signals.heads import contradiction, cross_fitted, fit_classifier, read
from feedback_guard.signals.interface import Array, Condition, Finding, Observation, Signal, State
from feedback_guard.signals.lesson import CERTAIN, Lesson, Scale, p_log_ratio, steepness, two_way_log_ratio
from feedback_guard.signals.linear import Linear
from feedback_guard.signals.ngrams import BUCKETS, Weigher

LEAST_TRUSTED = 50
"""Trusted contributions of a kind below which nothing is said about that kind."""
LEAST_PER_CLASS = 5
"""Trusted contributions of a label below which nothing is said about that label."""
OWN_RULER = 1_000
"""Trusted contributions of a label from which it is calibrated by itself; the others are calibrated together."""
MAX_CLASSES = 1_000
"""Most labels; of more, the rarest count as too rare to judge."""
MAX_FITTED = 50_000
"""Most trusted contributions of a kind that are fitted; of a larger set a random part is."""

_REMEMBERED = 512
"""Observations whose reading is kept for the lesson, which is asked for when the record of the verdict is committed."""
_NAMES = 1_024
"""Labels whose short names are kept."""
_MOST_NAMED = 64
"""Most characters of a label that a lesson is named by."""
_LESSONS = {"up": "a vote up", "down": "a vote down", "first": "an order of answers"}
_CLASSIFIED = (Kind.LABEL, Kind.RATING, Kind.PREFERENCE)
_TAUGHT = {Kind.LABEL: "label", Kind.RATING: "direction of the vote", Kind.PREFERENCE: "order of the two answers"}


@dataclass(frozen=True, slots=True)
class _Classified:
    """What was fitted for a kind that teaches one of few things."""

    model: Linear
    weigher: Weigher
    ruler: Mondrian
    classes: Mapping[str, int]
    counts: tuple[int, ...]
    n_known: int
    middle: float
    scale: Scale
    steepness: float


@dataclass(frozen=True, slots=True)
class _Answered:
    """What was fitted for a kind that teaches free text."""

    pairs: Pairs
    ruler: Calibration
    steepness: float


class Disagreement(Signal):
    """What is taught contradicts the content.

    Made by `from_state`; see the module for the idea.
    """

    name: ClassVar[str] = "disagreement"

    def __init__(self, state: State) -> None:
        self._state = state
        self._fitted: dict[Kind, _Classified | _Answered] = {}
        self._silent: dict[Kind, tuple[Condition, str]] = {}
        self._read: OrderedDict[int, tuple[Observation, tuple[float, NDArray[np.float64]]]] = OrderedDict()
        for kind in Kind:
            about = cast("Mapping[str, JsonValue]", state.values[kind.value])
            if "silent" in about:
                self._silent[kind] = Condition(str(about["condition"])), str(about["silent"])
            else:
                restore = _restore_classified if kind in _CLASSIFIED else _restore_answered
                self._fitted[kind] = restore(kind, about, state.arrays)

    @classmethod
    def fit(cls, trusted: Sequence[Observation], *, seed: int) -> State:
        """Fit each kind by itself; a kind that the trusted set cannot support is stated as silent."""
        values: dict[str, JsonValue] = {}
        arrays: dict[str, Array] = {}
        for kind in Kind:
            members = [each for each in trusted if each.contribution.kind is kind]
            if len(members) < LEAST_TRUSTED:
                why = f"{len(members)} trusted contributions of this kind; {LEAST_TRUSTED} are needed"
                values[kind.value] = {"silent": why, "condition": Condition.WARMING.value}
                continue
            rng = np.random.default_rng([seed, list(Kind).index(kind)])
            fit = _fit_classified if kind in _CLASSIFIED else _fit_answered
            about, fitted = fit(kind, members, rng)
            values[kind.value] = about
            arrays.update(fitted)
        return State(values, arrays)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Make the detector. It shares the state's arrays and never writes to them."""
        return cls(state)

    def state(self) -> State:
        """The state it was made from: nothing is learnt after the baseline."""
        return self._state

    def score(self, observation: Observation) -> Finding:
        """Measure how strongly the content speaks against what is taught."""
        kind = observation.contribution.kind
        fitted = self._fitted.get(kind)
        if fitted is None:
            condition, why = self._silent[kind]
            return Finding(self.name, None, why, condition)
        if isinstance(fitted, _Answered):
            return self._answer(fitted, observation)
        return self._classify(fitted, observation)

    def lesson(self, observation: Observation) -> Lesson | None:
        """What a contribution teaches, for the adding up of evidence; None where the trusted set cannot tell.

        Raises
        ------
        SignalError
            If vectors are missing or broken.
        """
        contribution = observation.contribution
        fitted = self._fitted.get(contribution.kind)
        if fitted is None:
            return None
        if isinstance(fitted, _Answered):
            p = fitted.ruler.p_value(fitted.pairs.oddness(observation)[0])
            ratio = p_log_ratio(p, fitted.steepness)
            return Lesson("an answer", -1, ratio, None, comparable=False, kind=contribution.kind)
        taught = _taught(contribution, fitted.middle)
        which = fitted.classes.get(taught)
        if which is None or fitted.counts[which] < LEAST_PER_CLASS:
            return None
        score, logits = self._contradiction(fitted, observation, which)
        shares = fitted.scale.shares(logits)
        ratio = two_way_log_ratio(float(shares[which]))
        if len(shares) > 2:
            # Whoever contradicts may teach any other class, so the ratio is found on the trusted set; and what the
            # content speaks for is no contradiction, however unusual.
            ratio = min(ratio, p_log_ratio(fitted.ruler.p_value(score, str(which)), fitted.steepness))
        name = f"label {taught[:_MOST_NAMED]!r}" if contribution.kind is Kind.LABEL else _LESSONS[taught]
        chosen = None if contribution.kind is Kind.PREFERENCE else shares
        return Lesson(name, which, ratio, chosen, comparable=True, kind=contribution.kind, n_known=fitted.n_known)

    def _contradiction(
        self, fitted: _Classified, observation: Observation, which: int
    ) -> tuple[float, NDArray[np.float64]]:
        """See `heads.contradiction`. What is asked twice, for the score and soon after for the lesson, is read once."""
        remembered = self._read.get(id(observation))
        if remembered is not None and remembered[0] is observation:
            return remembered[1]
        reading = read(observation, _width(observation.contribution.kind, fitted.model))
        found = contradiction(fitted.model, fitted.weigher, reading, which)
        self._read[id(observation)] = observation, found
        if len(self._read) > _REMEMBERED:
            self._read.popitem(last=False)
        return found

    def _answer(self, fitted: _Answered, observation: Observation) -> Finding:
        score, to_prompt, to_answers = fitted.pairs.oddness(observation)
        p = fitted.ruler.p_value(score)
        return Finding(
            self.name,
            p,
            f"the answer has a similarity of {to_prompt:.2f} to its prompt and {to_answers:.2f} to trusted answers of "
            f"similar prompts; {p:.2%} of honest contributions look at least this odd",
        )

    def _classify(self, fitted: _Classified, observation: Observation) -> Finding:
        contribution = observation.contribution
        taught = _taught(contribution, fitted.middle)
        which = fitted.classes.get(taught)
        facet = f"label:{_short(taught)}" if contribution.kind is Kind.LABEL else None
        if which is None:
            return Finding(self.name, None, "label never seen in the trusted set", Condition.ABSTAINED, facet)
        if fitted.counts[which] < LEAST_PER_CLASS:
            why = f"label seen only {fitted.counts[which]} times in the trusted set; {LEAST_PER_CLASS} are needed"
            return Finding(self.name, None, why, Condition.ABSTAINED, facet)
        score, logits = self._contradiction(fitted, observation, which)
        p = fitted.ruler.p_value(score, str(which))
        shares = CERTAIN.shares(logits).tolist()
        own, shares[which] = shares[which], 0.0
        return Finding(
            self.name,
            p,
            f"the {_TAUGHT[contribution.kind]} that is taught has a probability of {own:.1%} by the trusted "
            f"set, another {max(shares):.1%}; {p:.2%} of honest contributions look at least this odd",
            facet=facet,
        )


def _taught(contribution: Contribution, middle: float) -> str:
    """The class that a contribution teaches."""
    if contribution.kind is Kind.LABEL:
        return contribution.label or ""
    if contribution.kind is Kind.RATING:
        return "up" if (contribution.rating or 0.0) > middle else "down"
    return "first"


@functools.lru_cache(maxsize=_NAMES)
def _short(label: str) -> str:
    """A name for a label that is safe anywhere: a facet may not carry what a user wrote."""
    return hashlib.sha256(label.encode("utf-8", "replace")).hexdigest()[:16]


def _width(kind: Kind, model: Linear) -> int:
    """Dimension of the vectors behind the features of a kind."""
    return int(model.dense.shape[1]) // {Kind.LABEL: 1, Kind.RATING: 3, Kind.PREFERENCE: 2}[kind]


def _part(members: Sequence[Observation], most: int, rng: np.random.Generator) -> list[Observation]:
    """All members, or a random part in their order."""
    if len(members) <= most:
        return list(members)
    return [members[i] for i in np.sort(rng.choice(len(members), most, replace=False))]


def _fit_classified(
    kind: Kind, members: Sequence[Observation], rng: np.random.Generator
) -> tuple[JsonValue, dict[str, Array]]:
    part = _part(members, MAX_FITTED, rng)
    votes = [each.contribution.rating for each in part if each.contribution.rating is not None]
    middle = (min(votes) + max(votes)) / 2.0 if votes else 0.0
    taught = [_taught(each.contribution, middle) for each in part]
    common = Counter(taught).most_common(MAX_CLASSES)
    names = ["second", "first"] if kind is Kind.PREFERENCE else sorted(name for name, _ in common)
    index = {name: i for i, name in enumerate(names)}
    kept = [i for i, name in enumerate(taught) if name in index]
    classes = np.asarray([index[taught[i]] for i in kept], dtype=np.int64)
    counts = np.bincount(classes, minlength=len(names))
    enough = counts >= LEAST_PER_CLASS
    if enough.sum() < 2 and kind is not Kind.PREFERENCE:
        why = f"the trusted set teaches one {_TAUGHT[kind]} only (with {LEAST_PER_CLASS} examples or more)"
        return {"silent": why, "condition": Condition.ABSTAINED.value}, {}
    readings = [read(part[i]) for i in kept]
    seed = int(rng.integers(2**31))
    found = cross_fitted(readings, classes, len(names), kind, seed=seed)
    scores = found.scores
    model, weigher = fit_classifier(readings, classes, len(names), kind)
    judged = enough[classes]
    scale = Scale.fit(found.chances, len(names))
    ruler = Calibration.of(scores)
    about: JsonValue = {
        "n": len(kept),
        "classes": cast("list[JsonValue]", names),
        "counts": cast("list[JsonValue]", counts.tolist()),
        "middle": middle,
        "agreement": round(float((scores < 0).mean()), 4),
        "temperature": scale.temperature,
        "noise": scale.noise,
        "steepness": round(steepness(np.asarray([ruler.p_value(float(each)) for each in found.wrong])), 4),
    }
    arrays: dict[str, Array] = {
        **model.arrays(kind.value),
        f"{kind.value}.idf": weigher.idf,
        f"{kind.value}.scores": scores[judged],
        f"{kind.value}.taught": classes[judged].astype(np.int32),
    }
    return about, arrays


def _restore_classified(kind: Kind, about: Mapping[str, JsonValue], arrays: Mapping[str, Array]) -> _Classified:
    names = cast("list[str]", about["classes"])
    model, weigher = Linear.from_arrays(arrays, kind.value), Weigher(np.array(arrays[f"{kind.value}.idf"], np.float32))
    n_buckets = BUCKETS if kind is Kind.LABEL else 0
    if model.sparse.shape != (n_buckets, len(names)) or len(weigher.idf) != n_buckets:
        raise BaselineError(f"the classifier of {kind.value} does not fit this version; build the baseline again")
    scores = cast("NDArray[np.float64]", arrays[f"{kind.value}.scores"])
    taught = [str(each) for each in arrays[f"{kind.value}.taught"].tolist()]
    return _Classified(
        model,
        weigher,
        Mondrian.of(scores, taught, minimum=OWN_RULER),
        {name: i for i, name in enumerate(names)},
        tuple(cast("list[int]", about["counts"])),
        int(cast("int", about["n"])),
        float(cast("float", about["middle"])),
        Scale(float(cast("float", about["temperature"])), float(cast("float", about["noise"]))),
        float(cast("float", about["steepness"])),
    )


def _fit_answered(
    kind: Kind, members: Sequence[Observation], rng: np.random.Generator
) -> tuple[JsonValue, dict[str, Array]]:
    part = _part(members, MAX_REFERENCE, rng)
    pairs = Pairs.of(part)
    scores = np.asarray([pairs.oddness(each, without=i)[0] for i, each in enumerate(part)])
    ruler, shift = Calibration.of(scores), int(rng.integers(1, len(part)))
    strangers = [
        replace(each, vectors={**each.vectors, "output": part[i - shift].vectors["output"]})
        for i, each in enumerate(part)
    ]
    wrong = [ruler.p_value(pairs.oddness(each, without=i)[0]) for i, each in enumerate(strangers)]
    return {"n": len(part), "steepness": round(steepness(np.asarray(wrong)), 4)}, {
        **pairs.arrays(kind.value),
        f"{kind.value}.scores": np.sort(scores),
    }


def _restore_answered(kind: Kind, about: Mapping[str, JsonValue], arrays: Mapping[str, Array]) -> _Answered:
    pairs = Pairs.from_arrays(arrays[f"{kind.value}.prompts"], arrays[f"{kind.value}.answers"])
    return _Answered(pairs, Calibration.of(arrays[f"{kind.value}.scores"]), float(cast("float", about["steepness"])))
