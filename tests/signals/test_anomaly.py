"""The anchored and the online forest: what they find, what learning can do, and the traps of half-space trees."""

from __future__ import annotations

import itertools
import math
import random
import string
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from feedback_guard.contribution import Kind
from feedback_guard.errors import BaselineError, SignalError
from feedback_guard.signals import material
from feedback_guard.signals.anomaly import ANCHORED_SHARE, LEAST_RECENT, LEAST_TRUSTED, WINDOW, Anomaly, _farthest
from feedback_guard.signals.checks import same_state
from feedback_guard.signals.forest import Forest, primed, stack, unstack
from feedback_guard.signals.interface import Condition, Observation, State
from feedback_guard.signals.shape import ALONE, features, names, shape
from tests.signals.observations import honest, label, taught

DIGITS = "4929 1102 8837 2210 9913 7742 1029 3847"


@pytest.fixture(scope="module")
def state() -> State:
    return Anomaly.fit(honest(Kind.LABEL, 600, seed=1), seed=0)


def p_value(signal: Anomaly, observation: Observation) -> float:
    p = signal.score(observation).p_value
    assert p is not None
    return p


def learnt(signal: Anomaly, observations: list[Observation]) -> Anomaly:
    for each in observations:
        signal.learn(each)
    return signal


@pytest.mark.parametrize(
    "text",
    [
        DIGITS,
        "GIVE IT BACK NOW AND DO NOT ASK",
        "!!! ### $$$ %%% &&& ???",
        "buy " * 200,
        "привет как дела у вас сегодня",
    ],
    ids=["digits", "capitals", "signs", "repetition", "another script"],
)
def test_an_unusual_shape_is_odd(state: State, text: str) -> None:
    assert p_value(Anomaly.from_state(state), label(text, "card")) <= 0.02


def test_the_message_names_what_is_unusual_with_numbers(state: State) -> None:
    message = Anomaly.from_state(state).score(label(DIGITS, "card")).message
    assert "share of digits (root) of the input is 0.9" in message
    assert "usually 0.00 to 0.00" in message


def _ramp(n: int) -> Iterator[Observation]:
    """From an honest text to one of digits, word by word."""
    plain = "where is my card please help".split()
    for i in range(n):
        cut = i * len(plain) // n
        yield label(" ".join(DIGITS.split()[:cut] + plain[cut:]), "card")


ATTACKS: dict[str, Callable[[], list[Observation]]] = {
    "the attack itself, a thousand times": lambda: [label(DIGITS, "card")] * 1_000,
    "a slow ramp towards it, then the attack": lambda: [*_ramp(600), *[label(DIGITS, "card")] * 600],
    "shapes much odder, to stretch the online ruler": lambda: [label("#" * 900, "card")] * 1_000,
    "noise of every shape": lambda: [label("zZ9! " * (i % 90 + 1), "card") for i in range(1_000)],
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_whatever_is_learnt_an_oddity_never_becomes_more_normal_than_the_anchor_says(state: State, attack: str) -> None:
    probes = [label(DIGITS, "card"), label("#" * 900, "card"), *honest(Kind.LABEL, 40, seed=5)]
    fresh = Anomaly.from_state(state)
    before = [p_value(fresh, each) for each in probes]
    fed = learnt(Anomaly.from_state(state), ATTACKS[attack]())
    assert fed._online[Kind.LABEL].counts
    after = [p_value(fed, each) for each in probes]
    assert all(now <= then for now, then in zip(after, before, strict=True))
    assert min(before[:2]) <= 0.02


def test_the_anchor_keeps_its_share_from_the_first_contribution_on(state: State) -> None:
    ruler = Anomaly.from_state(state)._anchored[Kind.LABEL].ruler
    assert p_value(Anomaly.from_state(state), label(DIGITS, "card")) == pytest.approx(ruler.resolution / ANCHORED_SHARE)


def test_the_online_forest_finds_what_is_odd_against_the_recent_past(state: State) -> None:
    """Of late everybody writes short; a long text is usual for the trusted set, and odd now."""
    long = label("where is my card and why has it still not come please help me with it today", "card")
    short = [label(f"card {word}", "card") for word in ("chip", "pin", "post")]
    signal = Anomaly.from_state(state)
    before = p_value(signal, long)
    learnt(signal, [short[i % len(short)] for i in range(900)])
    after = signal.score(long)
    assert before > 0.1
    assert after.p_value is not None
    assert after.p_value <= 0.02
    assert "recent accepted contributions" in after.message


def test_the_online_forest_does_not_count_while_it_warms_up(state: State) -> None:
    probe, signal = label(DIGITS, "card"), Anomaly.from_state(state)
    fed = honest(Kind.LABEL, WINDOW + LEAST_RECENT, seed=6)
    p = p_value(signal, probe)
    for i, each in enumerate(fed):
        assert signal._online[Kind.LABEL].counts is False, i
        signal.learn(each)
    assert signal._online[Kind.LABEL].counts is True
    assert p_value(signal, probe) <= p


def test_witnessing_is_not_learning(state: State) -> None:
    signal = Anomaly.from_state(state)
    for each in honest(Kind.LABEL, 50, seed=6):
        signal.witness(each)
    assert len(signal.state().arrays["label.current"]) == 0


def test_what_has_no_vectors_teaches_nothing_and_stops_nothing(state: State) -> None:
    signal = Anomaly.from_state(state)
    blind = label("a text", "card", np.zeros((1, material.DIMENSION), dtype=np.float32))
    with pytest.raises(SignalError):
        signal.score(blind)
    signal.learn(blind)
    assert len(signal.state().arrays["label.current"]) == 0


def test_a_forest_is_restored_in_the_middle_of_a_window(state: State) -> None:
    stream = honest(Kind.LABEL, WINDOW * 2 + 77, seed=7)
    signal = learnt(Anomaly.from_state(state), stream)
    restored = Anomaly.from_state(signal.state())
    assert same_state(restored.state(), signal.state())
    assert len(restored.state().arrays["label.current"]) == 77
    more = honest(Kind.LABEL, WINDOW, seed=8)
    learnt(signal, more)
    learnt(restored, more)
    assert same_state(restored.state(), signal.state())
    for each in honest(Kind.LABEL, 20, seed=9):
        assert signal.score(each) == restored.score(each)


def test_usual_ranges_of_other_features_are_refused(state: State) -> None:
    """Compiled code would read beyond them."""
    arrays = {**state.arrays, "label.usual": state.arrays["label.usual"][:, :-1]}
    with pytest.raises(BaselineError, match="other features"):
        Anomaly.from_state(State(state.values, arrays))


def test_trees_that_come_out_otherwise_than_when_they_were_calibrated_are_refused(state: State) -> None:
    """As after an update of river that splits otherwise."""
    arrays = {**state.arrays, "label.proof": state.arrays["label.proof"].astype(np.float64) + 0.01}
    with pytest.raises(BaselineError, match="build the baseline again"):
        Anomaly.from_state(State(state.values, arrays))


def test_too_few_of_a_kind_is_warming_up() -> None:
    few = honest(Kind.RATING, LEAST_TRUSTED - 1, seed=1)
    finding = Anomaly.from_state(Anomaly.fit(few, seed=0)).score(few[0])
    assert (finding.condition, finding.p_value) == (Condition.WARMING, None)


def test_a_forest_that_has_seen_no_full_window_is_not_asked_for_normal() -> None:
    forest = Forest(("input",), window=3, seed=0)
    row = {"input": np.full(len(ALONE), 0.5, dtype=np.float32)}
    forest.learn(row)
    with pytest.raises(SignalError, match="full window"):
        forest.score(row)


def test_a_forest_ranks_a_far_point_above_a_crowd() -> None:
    rng = np.random.default_rng(0)
    crowd = [{"input": rng.uniform(0.4, 0.6, len(ALONE)).astype(np.float32)} for _ in range(200)]
    forest = primed(("input",), crowd, seed=0)
    far = {"input": np.full(len(ALONE), 0.95, dtype=np.float32)}
    assert forest.score(far) > max(forest.score(row) for row in crowd)


def test_rows_survive_being_stacked() -> None:
    fields = ("input", "output")
    rng = np.random.default_rng(0)
    rows = [{field: rng.random(len(names(field))).astype(np.float32) for field in fields} for _ in range(4)]
    again = unstack(fields, stack(fields, rows))
    assert all(
        np.array_equal(one[field], other[field]) for one, other in zip(rows, again, strict=True) for field in fields
    )
    assert unstack(fields, stack(fields, [])) == []


@pytest.mark.parametrize("text", material.odd_texts().values(), ids=material.odd_texts())
def test_every_feature_of_every_text_lies_between_0_and_1(text: str) -> None:
    values = shape(text)
    assert len(values) == len(ALONE) - 1
    assert all(0.0 <= value <= 1.0 for value in values)


def test_a_trusted_text_is_not_its_own_nearest() -> None:
    observation = label("where is my card", "card")
    anchors = {"input": np.concatenate([material.embed("where is my card"), material.embed("galaxies")])}
    near = list(ALONE).index("near")
    assert features(observation, anchors)["input"][near] == pytest.approx(0.0, abs=1e-3)
    assert features(observation, anchors, own=0)["input"][near] > 0.3


def test_an_answer_is_also_measured_against_its_input() -> None:
    each = taught(honest(Kind.CORRECTION, 1, seed=1)[0], input="card pin", output="card pin " * 50)
    anchors = {field: material.embed("anything") for field in ("input", "output")}
    row = dict(zip(names("output"), features(each, anchors)["output"].tolist(), strict=True))
    assert row["likeness"] == pytest.approx(1.0, abs=1e-3)
    assert row["ratio"] > 0.9


@pytest.mark.parametrize("seed", range(30))
def test_a_text_is_counted_as_python_counts_it(seed: int) -> None:
    rng = random.Random(seed)
    text = "".join(rng.choices("abcXYZ019 \t\x0b\x1c\x00~!?éß漢👍\x7f\x80", k=rng.choice([0, 1, 2, 3, 40, 900])))
    pairs = Counter((31 * ord(one) + ord(other)) % 1_024 for one, other in itertools.pairwise(text))
    n, n_pairs = max(1, len(text)), max(1, pairs.total())
    entropy = -sum(each / n_pairs * math.log(each / n_pairs) for each in pairs.values())
    signs = sum(1 for each in text if each.isascii() and not each.isalnum() and each not in "\t\n\v\f\r ")
    wanted = [
        math.sqrt(sum(each in string.ascii_uppercase for each in text) / n),
        math.sqrt(sum(each in string.digits for each in text) / n),
        math.sqrt(signs / n),
        math.sqrt(sum(not each.isascii() for each in text) / n),
    ]
    found = shape(text)
    assert found[2:6] == wanted
    assert found[7] == (1.0 if len(text) < 3 else pytest.approx(min(1.0, entropy / math.log(n_pairs))))


@pytest.mark.parametrize(
    ("row", "place"),
    [((0.5, 0.1), -1), ((0.25, 0.5), -1), ((0.1, 0.4), 0), ((0.55, 0.9), 1), ((0.7, 0.8), 0), ((0.625, 0.75), 0)],
)
def test_what_lies_farthest_beyond_its_range_is_named(row: tuple[float, float], place: int) -> None:
    """As a share of the range, which is wider for the second; of two that lie equally far the first is."""
    low, high, spans, values = np.array([[0.25, 0.0], [0.5, 0.5], [0.125, 0.25], row], dtype=np.float32)
    assert _farthest(values, low, high, spans) == place


@pytest.mark.parametrize("window", [1, 7, 64])
def test_the_folded_trees_say_what_river_says(window: int) -> None:
    """In each window anew, on lines and beyond them, where many rows are and where few."""
    rng = np.random.default_rng(3)
    fields = ("input", "output")
    forest = Forest(fields, window=window, seed=5)

    def by_river(row: dict[str, np.ndarray[tuple[int], np.dtype[np.float32]]]) -> float:
        named = {field: dict(zip(names(field), row[field].tolist(), strict=True)) for field in fields}
        return float(sum(forest._trees[field].score_one(named[field]) for field in fields)) / len(fields)

    said = set()
    for n in range(4 * window):
        row = {field: rng.beta(0.5, 2.0, len(names(field))).astype(np.float32) for field in fields}
        if n >= window:
            said.add(forest.score(row))
            assert forest.score(row) == by_river(row)
            line = next(iter(forest._trees["input"].trees)).threshold
            edge: Any = {field: np.full(len(names(field)), line) for field in fields}
            assert forest.score(edge) == by_river(edge)
        forest.learn(row)
    assert len(said) > 1
