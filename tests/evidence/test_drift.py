"""The population alarm on made-up streams: how soon it is raised, what leaves it calm, and what cannot move it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from feedback_guard.contribution import Contribution, Kind
from feedback_guard.embedding.interface import Vectors
from feedback_guard.errors import BaselineError
from feedback_guard.evidence.drift import MIN_TRUSTED, DriftDetector, Seen
from feedback_guard.evidence.drift_reference import Reference
from feedback_guard.evidence.e_detector import growth_bets
from feedback_guard.signals.checks import round_trip, same_state
from feedback_guard.signals.interface import Observation, State

DIMENSION = 48
TOPICS = np.random.default_rng(0).standard_normal((8, DIMENSION))
EVEN = [1 / 6] * 6 + [0.0, 0.0]
NEW_TOPICS = [0.7 / 6] * 6 + [0.15, 0.15]
ONE_GROWS = [0.1] * 5 + [0.5, 0.0, 0.0]


def texts(n: int, mix: list[float], seed: int) -> Vectors:
    """Vectors of texts on topics, rounded as embeddings are."""
    rng = np.random.default_rng(seed)
    points = TOPICS[rng.choice(len(TOPICS), p=mix, size=n)] + rng.standard_normal((n, DIMENSION))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return np.asarray(points.astype(np.float16), dtype=np.float32)


def observed(vector: Vectors, field: str = "input") -> Observation:
    contribution = Contribution(id="c", at_us=0, contributor="u", kind=Kind.LABEL, input="text", label="a")
    return Observation(contribution, {}, {field: np.atleast_2d(vector)})


def stream(n: int, mix: list[float], seed: int) -> list[Observation]:
    return [observed(vector) for vector in texts(n, mix, seed)]


@pytest.fixture(scope="module")
def fitted() -> State:
    return DriftDetector.fit(stream(1_000, EVEN, seed=1))


def alarm_after(detector: DriftDetector, observations: list[Observation]) -> int | None:
    for number, observation in enumerate(observations, start=1):
        detector.witness(observation)
        if detector.status.alarm:
            return number
    return None


def test_an_honest_stream_leaves_it_calm(fitted: State) -> None:
    detector = DriftDetector.from_state(fitted, expected_run_length=20_000)
    assert alarm_after(detector, stream(4_000, EVEN, seed=2)) is None
    assert 0.0 <= detector.status.statistic < 0.8
    assert detector.status.n_seen == 4_000


def test_a_small_trusted_set_keeps_the_promised_run_length() -> None:
    """The whole detector, with distances and regions of its own: 40 trusted sets, each with a stream of its own."""
    line, lengths = 200, []
    for seed in range(40):
        detector = DriftDetector.from_state(
            DriftDetector.fit(stream(80, EVEN, seed=1_000 + seed), seed=seed), expected_run_length=line
        )
        lengths.append(alarm_after(detector, stream(3 * line, EVEN, seed=2_000 + seed)) or 3 * line)
    assert np.mean(lengths) >= line


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("mix", "within"),
    [(NEW_TOPICS, 250), (ONE_GROWS, 250), ([0.0] * 6 + [0.5, 0.5], 60)],
    ids=["30 % on new topics", "one topic from 17 to 50 %", "nothing but new topics"],
)
def test_a_change_is_found_in_time(fitted: State, mix: list[float], within: int, seed: int) -> None:
    detector = DriftDetector.from_state(fitted)
    assert alarm_after(detector, stream(500, EVEN, seed=10 + seed)) is None
    after = alarm_after(detector, stream(within, mix, seed=20 + seed))
    assert after is not None, f"no alarm within {within} contributions: {detector.status.statistic:.2f}"


def test_the_message_says_what_grew_without_anybodys_words(fitted: State) -> None:
    detector = DriftDetector.from_state(fitted)
    for observation in stream(600, ONE_GROWS, seed=3):
        detector.witness(observation)
    status = detector.status
    assert status.alarm
    assert "input, region" in status.message
    grown = status.attribution[0]
    assert grown.event.startswith("region ")
    assert grown.share_now > 1.5 * grown.share_then
    assert "build a new baseline" in status.message


def test_a_rarer_alarm_is_a_later_one(fitted: State) -> None:
    changed = stream(400, NEW_TOPICS, seed=4)
    soon = alarm_after(DriftDetector.from_state(fitted, expected_run_length=1_000), changed)
    later = alarm_after(DriftDetector.from_state(fitted, expected_run_length=10**9), changed)
    assert soon is not None
    assert later is not None
    assert soon < later


def test_the_alarm_stays_until_it_is_acknowledged(fitted: State) -> None:
    detector = DriftDetector.from_state(fitted)
    assert alarm_after(detector, stream(300, NEW_TOPICS, seed=5)) is not None
    before = detector.status.since_n
    for observation in stream(1_500, EVEN, seed=6):
        detector.witness(observation)
    assert detector.status.alarm, "an attacker who stops must not clear the alarm"
    assert detector.status.since_n == before + 1_500
    detector.acknowledge()
    status = detector.status
    assert (status.alarm, status.since_n, status.statistic) == (False, 0, 0.0)
    assert alarm_after(detector, stream(300, NEW_TOPICS, seed=7)) is not None


FROZEN = ("texts", "centres", "sizes", "far", "shares", "bounds")


def test_a_half_hostile_month_does_not_move_the_reference(fitted: State) -> None:
    detector = DriftDetector.from_state(fitted)
    fresh = alarm_after(DriftDetector.from_state(fitted), stream(300, NEW_TOPICS, seed=9))
    for observation in stream(6_000, [0.5 / 6] * 6 + [0.5, 0.0], seed=8):
        detector.witness(observation)
    state = detector.state()
    for part in FROZEN:
        assert np.array_equal(state.arrays[f"input.{part}"], fitted.arrays[f"input.{part}"])
    detector.acknowledge()
    assert alarm_after(detector, stream(300, NEW_TOPICS, seed=9)) == fresh, "the month bought the attacker nothing"


class Adopting(DriftDetector):
    """The planted fault: what arrives becomes what is normal."""

    def witness(self, observation: Observation, seen: Seen | None = None) -> None:
        super().witness(observation, seen)
        for name, shares in self._now.items():
            self._bets[name] = growth_bets(np.minimum(1.0, 1.25 * shares + 0.02))


def test_a_slow_frog_boils_only_a_detector_that_adopts_the_stream(fitted: State) -> None:
    ramp = [
        observation
        for step in range(40)
        for observation in stream(75, [(1 - step / 80) / 6] * 6 + [step / 80, 0.0], seed=100 + step)
    ]
    assert alarm_after(DriftDetector.from_state(fitted), ramp) is not None
    assert alarm_after(Adopting.from_state(fitted), ramp) is None


def test_how_near_a_text_is_does_not_come_from_the_product_that_found_the_nearest(fitted: State) -> None:
    reference = Reference.restore("input", fitted.arrays)
    vector = reference.texts[3]
    [nearest] = reference.nearest(vector[None])
    assert nearest == 3
    farthest = int((reference.texts @ vector).argmin())
    far = slice(0, reference.n_far)
    assert not reference.happened(vector, nearest)[far].any()
    assert reference.happened(vector, farthest)[far].all()


@pytest.mark.parametrize("size", [2, 7, 32])
def test_what_is_looked_at_together_leaves_the_same_state(fitted: State, size: int) -> None:
    arrived = stream(640, NEW_TOPICS, seed=11)
    arrived[100] = observed(np.full(DIMENSION, np.nan, np.float32))
    arrived[200] = observed(texts(3, NEW_TOPICS, seed=12))  # a long text has several windows
    arrived[300] = observed(arrived[0].vectors["input"][0], field="another")
    alone, together = (DriftDetector.from_state(fitted) for _ in range(2))
    for observation in arrived:
        alone.witness(observation)
    for start in range(0, len(arrived), size):
        part = arrived[start : start + size]
        for observation, seen in zip(part, together.look(part), strict=True):
            together.witness(observation, seen)
    assert same_state(alone.state(), together.state())
    assert alone.status == together.status


@pytest.mark.parametrize("odd", [np.nan, np.inf, 0.0, 1e30])
def test_one_odd_vector_does_not_blind_it(fitted: State, odd: float) -> None:
    detector = DriftDetector.from_state(fitted)
    spoilt = texts(1, EVEN, seed=1)[0].copy()
    spoilt[3 if np.isnan(odd) else slice(None)] = odd
    detector.witness(observed(spoilt))
    status = detector.status
    assert (status.n_seen, status.n_skipped) == (0, 1)
    assert np.isfinite(status.statistic)
    assert alarm_after(detector, stream(300, NEW_TOPICS, seed=11)) is not None


def test_missing_and_misshapen_vectors_are_counted(fitted: State) -> None:
    detector = DriftDetector.from_state(fitted)
    one = stream(1, EVEN, seed=1)[0]
    detector.witness(replace(one, vectors={}))
    detector.witness(observed(np.ones(3, dtype=np.float32) / np.sqrt(np.float32(3))))
    detector.witness(observed(np.zeros((0, DIMENSION), dtype=np.float32)))
    assert detector.status.n_skipped == 3
    assert detector.status.n_seen == 0


def test_a_text_of_several_windows_counts_once(fitted: State) -> None:
    detector = DriftDetector.from_state(fitted)
    detector.witness(observed(texts(4, EVEN, seed=1)))
    assert detector.status.n_seen == 1


def test_several_fields_share_one_promise() -> None:
    def both(n: int, answers: list[float], seed: int) -> list[Observation]:
        base = Contribution(id="c", at_us=0, contributor="u", kind=Kind.DEMONSTRATION, input="q", output="a")
        inputs, outputs = texts(n, EVEN, seed), texts(n, answers, seed + 1_000)
        return [
            Observation(base, {}, {"input": one[None], "output": other[None]})
            for one, other in zip(inputs, outputs, strict=True)
        ]

    state = DriftDetector.fit(both(1_000, EVEN, seed=1))
    assert state.values["fields"] == ["input", "output"]
    detector = DriftDetector.from_state(state)
    assert alarm_after(detector, both(1_000, EVEN, seed=2)) is None
    assert alarm_after(detector, both(300, ONE_GROWS, seed=3)) is not None
    assert "output, region" in detector.status.message
    assert "input" not in detector.status.message


def test_restored_from_data_it_goes_on_where_it_was(fitted: State) -> None:
    detector = DriftDetector.from_state(fitted)
    for observation in stream(120, NEW_TOPICS, seed=12):
        detector.witness(observation)
    taken = detector.state()
    json.dumps(dict(taken.values), allow_nan=False)
    restored = DriftDetector.from_state(round_trip(taken))
    assert restored.status == detector.status
    for observation in stream(300, NEW_TOPICS, seed=13):
        detector.witness(observation)
        restored.witness(observation)
    assert restored.status == detector.status
    assert detector.status.alarm
    assert same_state(restored.state(), detector.state())
    assert not same_state(taken, detector.state()), "a snapshot does not follow"


def test_the_same_seed_gives_the_same_state() -> None:
    trusted = stream(300, EVEN, seed=1)
    assert same_state(DriftDetector.fit(trusted, seed=4), DriftDetector.fit(trusted, seed=4))
    assert not same_state(DriftDetector.fit(trusted, seed=4), DriftDetector.fit(trusted, seed=5))


def test_too_small_a_trusted_set_is_refused_with_the_number_it_needs() -> None:
    with pytest.raises(BaselineError, match=f"at least {MIN_TRUSTED} trusted contributions"):
        DriftDetector.fit(stream(MIN_TRUSTED - 1, EVEN, seed=1))
    assert DriftDetector.fit(stream(MIN_TRUSTED, EVEN, seed=1)).values["fields"] == ["input"]


def test_a_trusted_set_of_one_text_makes_a_detector() -> None:
    state = DriftDetector.fit([stream(1, EVEN, seed=1)[0]] * 60)
    detector = DriftDetector.from_state(state)
    assert alarm_after(detector, stream(200, EVEN, seed=2)) is not None


def test_a_state_that_is_not_a_drift_state_is_refused(fitted: State) -> None:
    with pytest.raises(BaselineError, match="names no fields"):
        DriftDetector.from_state(State())
    for missing in fitted.arrays:
        arrays = {name: array for name, array in fitted.arrays.items() if name != missing}
        with pytest.raises(BaselineError, match=f"lacks '{missing}'"):
            DriftDetector.from_state(State(fitted.values, arrays))


def with_labels(n: int, known: int, *, seed: int) -> list[Observation]:
    """Observations of one unchanging stream of texts that are given the first so many labels."""
    rng = np.random.default_rng(seed)
    return [
        replace(each, contribution=replace(each.contribution, kind=Kind.LABEL, label=f"intent-{rng.integers(known)}"))
        for each in stream(n, EVEN, seed=seed)
    ]


def test_labels_that_nobody_knows_raise_it_where_texts_do_not() -> None:
    detector = DriftDetector.from_state(DriftDetector.fit(with_labels(600, 20, seed=1)))
    assert alarm_after(detector, with_labels(2_000, 20, seed=2)) is None
    soon = alarm_after(detector, with_labels(400, 26, seed=3))
    assert soon is not None
    assert soon < 60
    assert str(detector.status.attribution[0]).startswith("label, one that the trusted set has never seen")


def test_a_trusted_set_that_brings_new_labels_itself_is_allowed_for() -> None:
    """With as many labels as contributions nearly, a further one is no news."""
    detector = DriftDetector.from_state(DriftDetector.fit(with_labels(600, 600, seed=1)))
    assert alarm_after(detector, with_labels(2_000, 900, seed=2)) is None


def test_a_state_without_labels_looks_at_texts_alone() -> None:
    whole = DriftDetector.fit(with_labels(100, 5, seed=1))
    values = {name: value for name, value in whole.values.items() if name != "labels"}
    arrays = {name: array for name, array in whole.arrays.items() if not name.startswith("label.")}
    assert alarm_after(DriftDetector.from_state(State(values, arrays)), with_labels(300, 50, seed=2)) is None
    with pytest.raises(BaselineError, match=r"lacks 'label\.shares'"):
        DriftDetector.from_state(State(whole.values, arrays))
