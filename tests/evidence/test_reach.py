"""What a trusted set is too small for, said before anybody relies on it."""

from __future__ import annotations

import re

import pytest

from feedback_guard.contribution import Kind
from feedback_guard.evidence.reach import least_p_value, notes_on
from feedback_guard.policy.signals import SignalsPolicy
from feedback_guard.signals.interface import Signal
from feedback_guard.signals.registry import SIGNALS
from tests.signals.observations import honest, taught

POLICY = SignalsPolicy(false_hold_rate=0.01)
ODD = "#### 4929 QQQQ xkcd ÄÖÜ " * 60


@pytest.mark.parametrize("name", ["disagreement", "novelty", "anomaly"])
@pytest.mark.parametrize("kind", [Kind.LABEL, Kind.PREFERENCE, Kind.DEMONSTRATION])
def test_no_p_value_is_below_what_is_said_and_the_oddest_comes_to_it(name: str, kind: Kind) -> None:
    trusted = honest(kind, 120, seed=1)
    fields = dict.fromkeys(trusted[0].contribution.texts, ODD)
    probes = [taught(each, **fields) for each in honest(kind, 5, seed=2)]
    signal: Signal = SIGNALS[name].from_state(SIGNALS[name].fit(trusted, seed=0))
    found = [finding.p_value for finding in map(signal.score, probes) if finding.p_value is not None]
    least = least_p_value(name, kind, 120)
    assert min(found) >= least * (1 - 1e-9)
    if name != "disagreement":
        assert min(found) == pytest.approx(least)


def test_the_number_that_is_asked_for_is_just_enough() -> None:
    note = next(note for note in notes_on({"label": 300}, {}, POLICY) if "novelty" in note)
    match = re.search(r"(\d+) are needed", note)
    assert match is not None
    needed = int(match[1])
    assert needed == 666
    assert not any("novelty" in note for note in notes_on({"label": needed}, {}, POLICY))
    assert any("novelty" in note for note in notes_on({"label": needed - 1}, {}, POLICY))


def test_a_large_set_needs_no_note() -> None:
    assert notes_on({"label": 5_000}, {"a": 2_500, "b": 2_500}, POLICY) == ()


def test_a_signal_that_is_off_is_not_missed() -> None:
    off = SignalsPolicy.model_validate(
        {"novelty": {"share": 0}, "anomaly": {"share": 0}, "disagreement": {"share": 1.0}}
        | {name: {"share": 0} for name in ("near_duplicate", "obfuscation")}
    )
    assert notes_on({"label": 200}, {}, off) == ()


def test_a_kind_with_hardly_any_example_is_named_with_all_that_it_is_too_few_for() -> None:
    notes = notes_on({"rating": 12}, {}, POLICY)
    assert notes == ("12 trusted ratings are too few for anomaly, disagreement, novelty; 50 are needed",)


def test_rare_labels_are_named_a_few_at_a_time() -> None:
    labels = {f"rare{i}": 1 for i in range(9)} | {"common": 5_000}
    (note,) = notes_on({"label": 5_009}, labels, POLICY)
    assert "'rare0', 'rare1', 'rare2', 'rare3', 'rare4' and 4 more" in note
