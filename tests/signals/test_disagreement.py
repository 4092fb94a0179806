"""What is taught against the content: labels, votes, preferences, answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from feedback_guard.contribution import Kind
from feedback_guard.errors import BaselineError
from feedback_guard.signals import material
from feedback_guard.signals.disagreement import LEAST_PER_CLASS, LEAST_TRUSTED, Disagreement
from feedback_guard.signals.interface import Condition, Observation, State
from tests.signals.observations import honest, label, taught

OTHER = {name: list(material.TOPICS)[(i + 1) % len(material.TOPICS)] for i, name in enumerate(material.TOPICS)}


@pytest.fixture(scope="module")
def signal() -> Disagreement:
    trusted = [each for kind in Kind for each in honest(kind, 400, seed=1)]
    return Disagreement.from_state(Disagreement.fit(trusted, seed=0))


def held(signal: Disagreement, observations: list[Observation], level: float = 0.1) -> float:
    found = [signal.score(each).p_value for each in observations]
    return float(np.mean([p is not None and p <= level for p in found]))


def flipped(each: Observation) -> Observation:
    """The same contribution, teaching the opposite or something from elsewhere."""
    item = each.contribution
    if item.kind is Kind.LABEL:
        return taught(each, label=OTHER[item.label or ""])
    if item.kind is Kind.RATING:
        return taught(each, rating=1.0 - (item.rating or 0.0))
    if item.kind is Kind.PREFERENCE:
        return taught(each, chosen=item.rejected, rejected=item.chosen)
    return taught(each, output="you are worth nothing and always will be")


@pytest.mark.parametrize("kind", list(Kind))
def test_contradictions_are_found_and_honest_ones_pass(signal: Disagreement, kind: Kind) -> None:
    fresh = honest(kind, 150, seed=2)
    assert held(signal, [flipped(each) for each in fresh]) >= 0.7
    assert held(signal, fresh) <= 0.18


def test_an_unknown_label_is_not_judged_and_not_repeated(signal: Disagreement) -> None:
    finding = signal.score(label("where is my card", "<b>never seen before</b>"))
    assert (finding.condition, finding.p_value) == (Condition.ABSTAINED, None)
    assert finding.message == "label never seen in the trusted set"
    assert finding.facet is not None
    assert "never" not in finding.facet


def test_two_contributions_with_one_label_share_a_facet(signal: Disagreement) -> None:
    one, two, other = (
        signal.score(label(text, name)).facet for text, name in (("a", "card"), ("b", "card"), ("b", "x"))
    )
    assert one == two != other


def test_a_label_with_few_examples_is_not_judged_and_says_how_many_it_has() -> None:
    trusted = honest(Kind.LABEL, 200, seed=1)
    rare = [taught(each, label="rare") for each in honest(Kind.LABEL, LEAST_PER_CLASS - 1, seed=3)]
    signal = Disagreement.from_state(Disagreement.fit([*trusted, *rare], seed=0))
    finding = signal.score(taught(trusted[0], label="rare"))
    assert (finding.condition, finding.p_value) == (Condition.ABSTAINED, None)
    assert f"only {LEAST_PER_CLASS - 1} times" in finding.message


def test_a_trusted_set_with_one_label_teaches_no_contradiction() -> None:
    trusted = [taught(each, label="same") for each in honest(Kind.LABEL, 100, seed=1)]
    finding = Disagreement.from_state(Disagreement.fit(trusted, seed=0)).score(trusted[0])
    assert (finding.condition, finding.p_value) == (Condition.ABSTAINED, None)
    assert "one label only" in finding.message


def test_too_few_of_a_kind_is_warming_up_for_that_kind_alone() -> None:
    few = honest(Kind.RATING, LEAST_TRUSTED - 1, seed=1)
    signal = Disagreement.from_state(Disagreement.fit([*honest(Kind.LABEL, 100, seed=1), *few], seed=0))
    finding = signal.score(few[0])
    assert (finding.condition, finding.p_value) == (Condition.WARMING, None)
    assert f"{LEAST_TRUSTED} are needed" in finding.message
    assert signal.score(honest(Kind.LABEL, 1, seed=2)[0]).condition is Condition.SCORED


def test_a_contradiction_cannot_hide_in_a_long_text(signal: Disagreement) -> None:
    """Windows that agree do not average out one that does not."""
    agrees = material.embed("card plastic chip pin arrive delivery")
    contradicts = material.embed("travel holiday currency hotel ticket foreign country")
    text = "card plastic chip pin arrive delivery post replacement"
    calm = signal.score(label(text, "card", np.repeat(agrees, 9, axis=0)))
    odd = signal.score(label(text, "card", np.concatenate([np.repeat(agrees, 8, axis=0), contradicts])))
    assert calm.p_value is not None
    assert odd.p_value is not None
    assert odd.p_value < calm.p_value / 3


def test_stars_count_as_up_or_down_by_the_middle_of_what_the_trusted_set_uses() -> None:
    stars = {0.0: (1.0, 2.0), 1.0: (4.0, 5.0)}

    def starred(each: Observation, i: int) -> Observation:
        return taught(each, rating=stars[each.contribution.rating or 0.0][i % 2])

    trusted = [starred(each, i) for i, each in enumerate(honest(Kind.RATING, 300, seed=1))]
    signal = Disagreement.from_state(Disagreement.fit(trusted, seed=0))
    fresh = [starred(each, i) for i, each in enumerate(honest(Kind.RATING, 60, seed=2))]
    for each in fresh[:10]:
        same = taught(each, rating=6.0 - (1.0 if (each.contribution.rating or 0) > 3 else 5.0))
        assert signal.score(same).p_value == signal.score(each).p_value
    assert held(signal, [taught(each, rating=6.0 - (each.contribution.rating or 0.0)) for each in fresh]) >= 0.5


def test_turning_a_preference_turns_the_odds(signal: Disagreement) -> None:
    each = honest(Kind.PREFERENCE, 1, seed=4)[0]
    as_it_is, turned = signal.score(each), signal.score(flipped(each))
    share = as_it_is.message.split("probability of ")[1].split("%")[0]
    other = turned.message.split("another ")[1].split("%")[0]
    assert share == other


def test_an_answer_that_trusted_people_gave_to_such_prompts_is_likely_even_if_it_is_unlike_the_prompt() -> None:
    """`positive` is nothing like a film review, and yet the right answer where everybody answers so."""
    reviews = honest(Kind.DEMONSTRATION, 120, seed=1)
    trusted = [taught(each, output="positive" if i % 2 else "negative") for i, each in enumerate(reviews)]
    signal = Disagreement.from_state(Disagreement.fit(trusted, seed=0))
    fresh = honest(Kind.DEMONSTRATION, 40, seed=2)
    assert held(signal, [taught(each, output="positive") for each in fresh]) <= 0.2
    assert held(signal, [taught(each, output="transfer everything abroad") for each in fresh]) >= 0.9


def test_a_large_label_is_calibrated_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A label that any text may have contradicts every text a little: together with the others it would be held."""
    rng = np.random.default_rng(0)

    def mixed(n: int, seed: int) -> list[Observation]:
        made = honest(Kind.LABEL, n, seed=seed)
        return [taught(each, label="mixed") if rng.random() < 0.1 else each for each in made]

    state = Disagreement.fit(mixed(1_200, 1), seed=0)
    fresh = [each for each in mixed(1_000, 2) if each.contribution.label == "mixed"]
    assert held(Disagreement.from_state(state), fresh) >= 0.4
    monkeypatch.setattr("feedback_guard.signals.disagreement.OWN_RULER", 100)
    assert held(Disagreement.from_state(state), fresh) <= 0.2


def test_a_part_of_a_large_set_is_fitted_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feedback_guard.signals.disagreement.MAX_FITTED", 100)
    monkeypatch.setattr("feedback_guard.signals.disagreement.MAX_REFERENCE", 60)
    trusted = [*honest(Kind.LABEL, 200, seed=1), *honest(Kind.CORRECTION, 200, seed=1)]
    state = Disagreement.fit(trusted, seed=0)
    assert state.values["label"]["n"] == 100  # type: ignore[index, call-overload]
    assert state.values["correction"]["n"] == 60  # type: ignore[index, call-overload]
    assert Disagreement.from_state(state).score(replace(trusted[0])).condition is Condition.SCORED


@pytest.mark.parametrize("name", ["idf", "sparse"])
def test_a_classifier_with_another_number_of_buckets_is_refused(name: str) -> None:
    """Compiled code would read beyond it."""
    state = Disagreement.fit(honest(Kind.LABEL, 100, seed=1), seed=0)
    arrays = {**state.arrays, f"label.{name}": state.arrays[f"label.{name}"][:-1]}
    with pytest.raises(BaselineError, match="does not fit this version"):
        Disagreement.from_state(State(state.values, arrays))
