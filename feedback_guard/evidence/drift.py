"""Has the whole stream moved away from the trusted set? An alarm for people, never a reason to hold one contribution.

The trusted set says how often an honest text lies far from all that is trusted, how often in each region of embedding
space (`drift_reference`), and how often it is given a label that nobody knows (`drift_labels`). Every contribution that
arrives then bets that one of these events has become more frequent (`e_detector`).

What is promised: on a stream that is drawn as the trusted set was, contribution by contribution, the average number of
contributions until a false alarm is at least `expected_run_length`; this holds for all but 5 % of trusted sets
(`CONFIDENCE`), for every length of the stream. Honest streams that are not drawn like the trusted set, such as new
topics, do raise the alarm: that is what it is for.

The reference never moves. What arrives changes evidence and the figures that explain it, nothing else, so nobody can
teach the detector that poison is normal.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from feedback_guard.contribution import TEXT_FIELDS, Kind
from feedback_guard.embedding.interface import Vectors
from feedback_guard.errors import BaselineError
from feedback_guard.evidence.drift_crowd import Crowd
from feedback_guard.evidence.drift_labels import NAME as LABEL
from feedback_guard.evidence.drift_labels import Labels
from feedback_guard.evidence.drift_reference import Reference, vector_of
from feedback_guard.evidence.e_detector import GROWTHS, Floats, average, growth_bets, step
from feedback_guard.signals.interface import Array, Observation, State

CONFIDENCE = 0.95
"""Share of trusted sets for which the run length is guaranteed."""
MIN_TRUSTED = 40
"""Fewest trusted texts of a field that a reference can be made from."""
RECENT = 200
"""Contributions over which the present shares are averaged, with exponentially falling weight."""

WHAT_TO_DO = (
    "Look whether the change is honest. If it is, `feedback-guard baseline propose --changed` chooses what to vet: "
    "read it, add it to the trusted set, build a new baseline and deploy it"
)

_log = logging.getLogger(__name__)

Seen = dict[str, NDArray[np.bool_]]
"""By the name of a text, the events that it falls into."""
FIELDS = tuple(dict.fromkeys(name for kind in Kind for name in TEXT_FIELDS[kind]))


@dataclass(frozen=True, slots=True)
class Growth:
    """One thing that has become more frequent.

    Parameters
    ----------
    field
        Which text it is about: `input`, `output`, `chosen` or `rejected`; or `label`.
    event
        In words, such as `region 7`.
    share_then, share_now
        Shares of the texts, 0..1: in the trusted set, and of late.
    """

    field: str
    event: str
    share_then: float
    share_now: float

    def __str__(self) -> str:
        return f"{self.field}, {self.event}: {self.share_now:.0%} now, {self.share_then:.0%} in the trusted set"


@dataclass(frozen=True, slots=True)
class DriftStatus:
    """How far the stream has moved.

    Parameters
    ----------
    statistic
        0..1; the alarm is raised at 1. It wanders on an honest stream, mostly below 0.6.
    alarm
        True from the alarm until somebody acknowledges it.
    since_n
        Contributions since the alarm was raised; 0 without one.
    n_seen
        Contributions seen in all, without those that could not be used.
    n_skipped
        Contributions with vectors that could not be used.
    message
        A sentence for the person on call.
    attribution
        What has become more frequent, most telling first.
    """

    statistic: float
    alarm: bool
    since_n: int
    n_seen: int
    n_skipped: int
    message: str
    attribution: tuple[Growth, ...]


class DriftDetector:
    """The population alarm. It belongs to the owner of the guard's state and is told of every judged contribution.

    Parameters
    ----------
    state
        As `fit` or `state` returned it.
    expected_run_length
        Average number of contributions between two false alarms. Ten times as rare costs 2.3 more nats of evidence:
        a change is found a little later, since evidence grows in proportion to time.

    References
    ----------
    Shin, J., Ramdas, A., Rinaldo, A. (2022). E-detectors. arXiv:2203.03532.
    """

    def __init__(self, state: State, *, expected_run_length: int = 100_000) -> None:
        self._line = math.log1p(expected_run_length)
        self._references = {name: Reference.restore(name, state.arrays) for name in _names(state)}
        self._labels = Labels.restore(state)
        self._parts: dict[str, Reference | Labels] = {**self._references}
        if self._labels is not None:
            self._parts[LABEL] = self._labels
        self._bets = {name: growth_bets(part.bounds) for name, part in self._parts.items()}
        self._levels = {name: _evidence(state, f"{name}.levels") for name in self._parts}
        self._now = {name: _evidence(state, f"{name}.now") for name in self._parts}
        self._highest = {name: float(levels.max()) for name, levels in self._levels.items()}
        weights = [part.weights().ravel() for part in self._parts.values()]
        self._weights = np.concatenate(weights) / len(weights)
        self._crowd = Crowd(state.arrays["crowd"].astype(np.uint64) if "crowd" in state.arrays else None)
        self._seen = _count(state, "n_seen")
        self._skipped = _count(state, "n_skipped")
        self._alarm = bool(state.values.get("alarm", False))
        self._since = _count(state, "since_n")

    @classmethod
    def fit(cls, trusted: Sequence[Observation], *, seed: int = 0) -> State:
        """Make the frozen reference from the trusted set.

        Parameters
        ----------
        trusted
            Vetted contributions with their vectors.
        seed
            Decides the split and the regions; the same seed gives the same state.

        Raises
        ------
        BaselineError
            If no field has `MIN_TRUSTED` usable texts.
        """
        usable: dict[str, Vectors] = {}
        for name in FIELDS:
            vectors = [v for v in (vector_of(observation, name) for observation in trusted) if v is not None]
            if len(vectors) >= MIN_TRUSTED and len({len(v) for v in vectors}) == 1:
                usable[name] = np.stack(vectors)
        if not usable:
            raise BaselineError(
                f"the drift alarm needs at least {MIN_TRUSTED} trusted contributions with vectors of one length; "
                f"the trusted set has {len(trusted)} contributions"
            )
        error = (1.0 - CONFIDENCE) / (len(usable) + 1)
        parts: dict[str, Reference | Labels] = {
            name: Reference.fit(vectors_of, error, np.random.default_rng([seed, FIELDS.index(name)]))
            for name, vectors_of in usable.items()
        }
        labels = Labels.fit(trusted, MIN_TRUSTED, error, np.random.default_rng([seed, len(FIELDS)]))
        if labels is not None:
            parts[LABEL] = labels
        arrays: dict[str, Array] = {}
        for name, part in parts.items():
            arrays |= part.arrays(name)
            arrays[f"{name}.levels"] = np.zeros((len(part.shares), len(GROWTHS)))
            arrays[f"{name}.now"] = part.shares.copy()
        values = {} if labels is None else labels.values()
        counts = {"n_seen": 0, "n_skipped": 0, "alarm": False, "since_n": 0}
        return State({"fields": list(usable), **values, **counts}, arrays)

    @classmethod
    def from_state(cls, state: State, *, expected_run_length: int = 100_000) -> Self:
        """Restore a detector, with what it had seen."""
        return cls(state, expected_run_length=expected_run_length)

    def look(self, observations: Sequence[Observation]) -> list[Seen]:
        """What is seen in each of some contributions, for `witness`; nothing changes.

        Looking at several at once saves going through all the reference texts for each.
        """
        seen: list[Seen] = [{} for _ in observations]
        for name, reference in self._references.items():
            places, vectors = list[int](), list[Vectors]()
            for place, observation in enumerate(observations):
                if name not in TEXT_FIELDS[observation.contribution.kind]:
                    continue
                vector = vector_of(observation, name, reference.texts.shape[1])
                if vector is not None:
                    places.append(place)
                    vectors.append(vector)
            if vectors:
                for place, vector, nearest in zip(places, vectors, reference.nearest(np.stack(vectors)), strict=True):
                    seen[place][name] = reference.happened(vector, nearest)
        return seen

    def witness(self, observation: Observation, seen: Seen | None = None) -> None:
        """Take in a contribution that was judged, accepted or not. Vectors that cannot be used are counted only.

        Parameters
        ----------
        seen
            What `look` gave for it; None looks now.
        """
        if seen is None:
            [seen] = self.look([observation])
        used, unlike = 0, False
        expected = [name for name in TEXT_FIELDS[observation.contribution.kind] if name in self._references]
        for name in expected:
            events = seen.get(name)
            if events is None:
                continue
            used += 1
            unlike = unlike or bool(events[0])
            self._bet(name, events)
        if used < len(expected):
            self._skipped += 1
        if not used:
            return
        taught = self._labels.happened(observation) if self._labels is not None else None
        if taught is not None:
            self._bet(LABEL, taught)
        self._crowd.note(observation.contribution.contributor, unlike=unlike)
        self._seen += 1
        if self._alarm:
            self._since += 1
        # An average is above the line only where one of its members is, but for rounding.
        elif max(self._highest.values()) >= self._line - 1e-6 and self._level() >= self._line:
            self._alarm = True
            _log.warning("drift alarm after %d contributions: %s", self._seen, self.status.message)

    def is_new(self, observation: Observation) -> bool:
        """Whether a contribution is of the sort that the trusted set hardly has.

        That is: a text that lies farther out than all but `FAR[1]` of the trusted ones, one in a region that has grown,
        or an unknown label. For whoever chooses what to vet.
        """
        taught = self._labels.happened(observation) if self._labels is not None else None
        if taught is not None and bool(taught.any()):
            return True
        for name, reference in self._references.items():
            vector = vector_of(observation, name, reference.texts.shape[1])
            if vector is not None:
                events = reference.happened(vector, *reference.nearest(vector[None]))
                grown = self._levels[name].max(axis=1) > 0.5 * self._line
                grown[: reference.n_far] = False
                if events[1] or bool((events & grown).any()):
                    return True
        return False

    def _bet(self, name: str, events: NDArray[np.bool_]) -> None:
        """Let what a contribution is, or is not, count for the events of one part."""
        self._highest[name] = step(self._levels[name], events, *self._bets[name])
        self._now[name] += (events - self._now[name]) / RECENT

    def acknowledge(self) -> None:
        """Take back the alarm and begin anew. The reference stays: if the stream stays away, the alarm comes again."""
        self._alarm = False
        self._since = 0
        for name, levels in self._levels.items():
            levels[:] = self._highest[name] = 0.0

    @property
    def alarm(self) -> bool:
        """Whether the alarm stands."""
        return self._alarm

    @property
    def crowd(self) -> int:
        """How many contributors sent texts of late that lie far from all trusted ones."""
        return self._crowd.size

    @property
    def status(self) -> DriftStatus:
        """Where the stream stands now."""
        statistic = min(1.0, self._level() / self._line)
        growths = tuple(self._growths())
        if self._alarm:
            what = "; ".join(str(growth) for growth in growths) or "it has come back since"
            message = (
                f"the stream has left the trusted set; the alarm was raised {self._since} contributions ago ({what}). "
                f"{WHAT_TO_DO}"
            )
        else:
            message = f"the stream resembles the trusted set: {statistic:.2f} of the way to an alarm"
        return DriftStatus(statistic, self._alarm, self._since, self._seen, self._skipped, message, growths)

    def state(self) -> State:
        """Reference and evidence as data; a snapshot that later contributions do not change."""
        arrays: dict[str, Array] = {}
        for name, part in self._parts.items():
            arrays |= part.arrays(name)
            arrays[f"{name}.levels"] = self._levels[name].copy()
            arrays[f"{name}.now"] = self._now[name].copy()
        arrays["crowd"] = self._crowd.senders
        labels = {} if self._labels is None else self._labels.values()
        counts = {"n_seen": self._seen, "n_skipped": self._skipped, "alarm": self._alarm, "since_n": self._since}
        return State({"fields": list(self._references), **labels, **counts}, arrays)

    def _level(self) -> float:
        levels = np.concatenate([levels.ravel() for levels in self._levels.values()])
        return float(average(levels, self._weights))

    def _growths(self, most: int = 3) -> Iterator[Growth]:
        """The events with the strongest evidence, once for distance and each region, strongest first."""
        ranked = []
        for name, part in self._parts.items():
            best = self._levels[name].max(axis=1)
            for event in (int(np.argmax(best[: part.n_far])), *range(part.n_far, len(best))):
                then, now = float(part.shares[event]), float(self._now[name][event])
                if now > then and best[event] > 0.5 * self._line:
                    ranked.append((float(best[event]), Growth(name, part.name_of(event), then, now)))
        ranked.sort(key=lambda pair: -pair[0])
        for _, growth in ranked[:most]:
            yield growth


def _names(state: State) -> list[str]:
    names = state.values.get("fields")
    if not isinstance(names, list) or not names or not all(name in FIELDS for name in names):
        raise BaselineError("the state of the drift alarm names no fields; build the baseline again")
    return [str(name) for name in names]


def _evidence(state: State, name: str) -> Floats:
    if name not in state.arrays:
        raise BaselineError(f"the state of the drift alarm lacks {name!r}; build the baseline again")
    return np.array(state.arrays[name], dtype=np.float64)


def _count(state: State, name: str) -> int:
    value = state.values.get(name, 0)
    return value if isinstance(value, int) else 0
