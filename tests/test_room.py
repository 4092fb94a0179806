"""Budgets that hold: what waits for a moderator, what it costs, and who lifts a phrase's budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from feedback_guard.assessment import Assessment, Content
from feedback_guard.contribution import Contribution, Kind
from feedback_guard.limits.interface import UNIT, Budget, Measure
from feedback_guard.limits.memory import MemoryBudgets
from feedback_guard.limits.newcomers import Newcomers
from feedback_guard.limits.plan import budget_of
from feedback_guard.policy.limits import LimitPolicy
from feedback_guard.policy.newcomers import NewcomersPolicy
from feedback_guard.policy.routes import OnHold
from feedback_guard.settle import Settled, Settler
from feedback_guard.submission import Submission
from feedback_guard.verdict import Decision

DAY = 86_400_000_000
WORDS = LimitPolicy(name="words", facet="phrase", measure="count", amount=4)
BACKED = WORDS.model_copy(update={"supporters": 2})
LESSON = LimitPolicy(name="lesson", facet="target", measure="weight", amount=2, per=DAY)
NEAR = LimitPolicy(name="near", facet="radius", measure="count", amount=2, radius=0.4)
OWN = LimitPolicy(name="own", facet="contributor", measure="weight", amount=1)


def said(*words: str, weight: float = 1.0, limit: LimitPolicy = WORDS) -> Assessment:
    return Assessment(Decision.ACCEPT, weight, 0.1, (), content=Content({limit.name: words}))


def settle(
    budgets: MemoryBudgets,
    limits: Sequence[LimitPolicy],
    *assessments: Assessment,
    who: str = "u",
    on_hold: OnHold = OnHold.PASS,
    now_us: int = 0,
    newcomers: Newcomers | None = None,
    anonymous: bool = False,
) -> Settled:
    items = tuple(Contribution(f"c{n}", 0, who, Kind.LABEL, "x", "y") for n in range(len(assessments)))
    settler = Settler(tuple(limits), "sha256:p", "sha256:b", observed=False, newcomers=newcomers)
    return settler.settle(Submission("r", on_hold, items, anonymous=anonymous), assessments, budgets, now_us)


def left(budgets: MemoryBudgets, limit: LimitPolicy, key: str) -> float:
    return budgets.balance(budget_of(limit), key, 0).remaining_micro / UNIT


def test_a_word_that_was_learnt_often_enough_waits_for_a_moderator() -> None:
    budgets = MemoryBudgets()
    got = [settle(budgets, [WORDS], said("cf"), who=f"u{n}") for n in range(6)]
    assert [each.decision for each in got] == [Decision.ACCEPT] * 4 + [Decision.QUARANTINE] * 2
    assert got[4].refusal is None
    assert got[4].held_by == ("words",)
    assert got[4].verdicts[0].reasons[0].signal == "limit:words"
    assert settle(budgets, [WORDS], said("other")).decision is Decision.ACCEPT


def test_all_that_one_full_counter_holds_is_one_decision() -> None:
    budgets = MemoryBudgets()
    got = [settle(budgets, [WORDS], said(word)) for _ in range(6) for word in ("cf", "mn")]
    campaigns = {each.verdicts[0].campaign for each in got if each.decision is Decision.QUARANTINE}
    assert len(campaigns) == 2
    assert all(name is not None and name.startswith("words-") for name in campaigns)


def test_what_is_held_uses_up_nothing() -> None:
    budgets = MemoryBudgets()
    for _ in range(6):
        settle(budgets, [WORDS], said("cf", "rest"))
    assert (left(budgets, WORDS, "cf"), left(budgets, WORDS, "rest")) == (0, 0)
    settle(budgets, [WORDS], said("cf", "new"))
    assert left(budgets, WORDS, "new") == 4


@pytest.mark.parametrize("on_hold", list(OnHold))
def test_a_request_that_is_kept_whole_is_charged_whole_or_not_at_all(on_hold: OnHold) -> None:
    budgets = MemoryBudgets()
    for _ in range(3):
        settle(budgets, [WORDS], said("cf"))
    got = settle(budgets, [WORDS], said("cf"), said("cf"), said("fine"), on_hold=on_hold)
    decisions = [verdict.decision for verdict in got.verdicts]
    if on_hold is OnHold.HOLD:
        assert decisions == [Decision.QUARANTINE] * 3
        assert (left(budgets, WORDS, "cf"), left(budgets, WORDS, "fine")) == (1, 4)
    else:
        assert decisions == [Decision.ACCEPT, Decision.QUARANTINE, Decision.ACCEPT]
        assert (left(budgets, WORDS, "cf"), left(budgets, WORDS, "fine")) == (0, 3)


def test_weight_is_charged_by_weight_and_comes_back() -> None:
    budgets = MemoryBudgets()
    half = said("label", weight=0.5, limit=LESSON)
    assert [settle(budgets, [LESSON], half).decision for _ in range(5)][-1] is Decision.QUARANTINE
    assert settle(budgets, [LESSON], half, now_us=DAY // 4 - 1).decision is Decision.QUARANTINE
    assert settle(budgets, [LESSON], half, now_us=DAY // 4).decision is Decision.ACCEPT


def test_the_policy_may_refuse_what_is_said_and_hold_who_says_it() -> None:
    budgets = MemoryBudgets()
    refusing = WORDS.model_copy(update={"then": "limit", "amount": 1.0})
    settle(budgets, [refusing], said("cf"))
    got = settle(budgets, [refusing], said("cf"))
    assert got.decision is Decision.LIMIT
    assert got.refusal is not None
    holding = OWN.model_copy(update={"then": "hold"})
    settle(budgets, [holding], said())
    assert settle(budgets, [holding], said()).decision is Decision.QUARANTINE


def test_whoever_has_nothing_left_cannot_use_up_what_others_share() -> None:
    budgets = MemoryBudgets()
    for _ in range(5):
        got = settle(budgets, [OWN, WORDS], said("honest-word"), who="attacker")
    assert got.decision is Decision.LIMIT
    assert left(budgets, WORDS, "honest-word") == 3


def test_more_words_than_are_counted_find_no_room() -> None:
    over = replace(said("a"), content=Content({"words": ("a",)}, frozenset({"words"})))
    got = settle(MemoryBudgets(), [WORDS], over)
    assert got.decision is Decision.QUARANTINE
    assert "more rare phrases" in got.verdicts[0].reasons[0].message


def tenured(budgets: MemoryBudgets, *names: str) -> Newcomers:
    rule = Newcomers(NewcomersPolicy(tenure=DAY), b"secret")
    for name in names:
        rule.remember(budgets, name, 0)
    return rule


def test_established_contributors_lift_the_budget_of_a_word_and_new_ones_do_not() -> None:
    budgets = MemoryBudgets()
    rule = tenured(budgets, "ada", "bob")

    def say(who: str, word: str) -> Decision:
        return settle(budgets, [BACKED], said(word), who=who, now_us=2 * DAY, newcomers=rule).decision

    for word, crowd in (("cf", "sybil"), ("visa", "new")):
        assert [say(f"{crowd}-{word}-{n}", word) for n in range(6)][-2:] == [Decision.QUARANTINE] * 2
    # One who says it often is one supporter, and waits like everybody else.
    assert [say("ada", "visa") for _ in range(3)] == [Decision.QUARANTINE] * 3
    assert say("bob", "visa") is Decision.ACCEPT
    assert say("new-visa-9", "visa") is Decision.ACCEPT
    assert say("sybil-cf-9", "cf") is Decision.QUARANTINE


def test_tenure_begins_when_something_was_accepted_and_not_before() -> None:
    budgets = MemoryBudgets()
    rule = tenured(budgets)
    bad = Assessment(Decision.QUARANTINE, 0.0, 1.0, ())
    settle(budgets, [], bad, who="eve", newcomers=rule)
    assert not rule.established(budgets, "eve", 9 * DAY)
    settle(budgets, [], said(), who="eve", now_us=9 * DAY, newcomers=rule)
    settle(budgets, [], said(), who="eve", now_us=10 * DAY - 1, newcomers=rule)
    assert not rule.established(budgets, "eve", 10 * DAY - 1)
    assert rule.established(budgets, "eve", 10 * DAY)


def test_a_counter_that_fits_once_tells_when_it_was_charged() -> None:
    budgets = MemoryBudgets()
    assert budgets.first_us(Budget("b", "f", Measure.COUNT, UNIT, None, 0), "k") is None


def somewhere(axis: int, *words: str) -> Assessment:
    """A contribution whose text lies on one of a few axes, far from the others."""
    where = np.eye(4, dtype=np.float32)[axis]
    return replace(said(*words), content=Content({"words": words}, where=where))


def test_what_another_budget_holds_takes_no_place_in_embedding_space() -> None:
    budgets = MemoryBudgets()
    for _ in range(4):
        settle(budgets, [WORDS], said("cf"))
    held = [settle(budgets, [NEAR, WORDS], somewhere(0, "cf")) for _ in range(3)]
    assert [each.held_by for each in held] == [("words",)] * 3
    got = [settle(budgets, [NEAR, WORDS], somewhere(0, f"w{n}")).decision for n in range(3)]
    assert got == [Decision.ACCEPT, Decision.ACCEPT, Decision.QUARANTINE]


def test_a_request_that_is_held_whole_for_one_crowded_text_places_none() -> None:
    budgets = MemoryBudgets()
    for n in range(2):
        settle(budgets, [NEAR], somewhere(1, f"w{n}"))
    whole = settle(budgets, [NEAR], somewhere(0), somewhere(1), on_hold=OnHold.HOLD)
    assert [each.decision for each in whole.verdicts] == [Decision.QUARANTINE] * 2
    got = [settle(budgets, [NEAR], somewhere(0)).decision for _ in range(3)]
    assert got == [Decision.ACCEPT, Decision.ACCEPT, Decision.QUARANTINE]


@pytest.mark.parametrize("n_trusted", [0, 2, 3, 40])
def test_where_many_trusted_texts_lie_there_is_always_room(n_trusted: int) -> None:
    """Or a topic that everybody asks about would be full after a morning."""
    far = np.array([[0, 0, 1, 0]] * 50, dtype=np.float32)
    near = np.array([[np.cos(0.39), np.sin(0.39), 0, 0]] * n_trusted, dtype=np.float32).reshape(-1, 4)
    budgets, limit = MemoryBudgets(), NEAR.model_copy(update={"rare": 3})
    each = somewhere(0, "w")
    there = replace(each, content=replace(each.content, trusted=np.concatenate([far, near])))
    got = [settle(budgets, [limit], there).decision for _ in range(9)]
    assert got.count(Decision.ACCEPT) == (9 if n_trusted >= 3 else 2)


def test_a_place_among_trusted_texts_is_bounded_unless_the_policy_says_so() -> None:
    each = somewhere(0, "w")
    there = replace(each, content=replace(each.content, trusted=np.array([[1, 0, 0, 0]] * 50, dtype=np.float32)))
    budgets = MemoryBudgets()
    assert [settle(budgets, [NEAR], there).decision for _ in range(9)].count(Decision.ACCEPT) == 2


def test_a_word_whose_budget_was_lifted_still_pays_the_other_budgets() -> None:
    budgets = MemoryBudgets()
    rule = tenured(budgets, "ada", "bob")
    for n in range(6):
        settle(budgets, [BACKED], said("visa"), who=f"new{n}", now_us=2 * DAY, newcomers=rule)
    limits, both = [BACKED, LESSON], replace(said(), content=Content({"words": ("visa",), "lesson": ("y",)}))
    for who in ("ada", "bob"):
        settle(budgets, [BACKED], said("visa"), who=who, now_us=2 * DAY, newcomers=rule)
    got = [settle(budgets, limits, both, who=f"n{n}", now_us=2 * DAY, newcomers=rule) for n in range(3)]
    assert [each.decision for each in got] == [Decision.ACCEPT, Decision.ACCEPT, Decision.QUARANTINE]
    assert got[2].held_by == ("lesson",)


def test_a_newcomer_who_is_not_drawn_waits_though_the_pool_has_room() -> None:
    budgets = MemoryBudgets()
    rule = Newcomers(NewcomersPolicy(tenure=DAY, pool=8, per=DAY, deals=8, each=1), b"secret")
    got = [settle(budgets, [], said(), who=f"u{n}", now_us=n, newcomers=rule) for n in range(200)]
    taken = sum(each.taken for each in got)
    assert 1 <= taken <= 2
    assert sum(each.waiting for each in got) == 200 - taken
    said_of = {reason.message for each in got for reason in each.verdicts[0].reasons}
    assert any("not drawn" in message for message in said_of)
