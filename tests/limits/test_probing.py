"""Searching for the boundary is budgeted: exactly, whatever the verdict, and given back by time alone."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections import Counter
from pathlib import Path

import pytest

from feedback_guard.assessment import Assessment
from feedback_guard.clock import MICROSECONDS
from feedback_guard.contribution import Contribution, Kind
from feedback_guard.evidence.observe import canonical_texts
from feedback_guard.ledger.verify import verify
from feedback_guard.limits.checks import over_admitted
from feedback_guard.limits.interface import UNIT, Budget, Measure
from feedback_guard.limits.memory import MemoryBudgets
from feedback_guard.limits.probing import HELD, NEAR_COPIES, Probing
from feedback_guard.limits.variants import Variants
from feedback_guard.policy.loader import load_policy
from feedback_guard.policy.probing import ProbingPolicy
from feedback_guard.policy.routes import OnHold
from feedback_guard.signals.interface import Observation
from feedback_guard.submission import Submission
from feedback_guard.verdict import Decision
from tests.guards import START_US, labelled, make_guard, sentence, submit
from tests.limits.wrong_arithmetic import ARITHMETIC, Bug, Stale

HOUR = 3_600 * MICROSECONDS
ACCEPTED = Assessment(Decision.ACCEPT, 1.0, 0.0, ())
HELD_ONE = Assessment(Decision.QUARANTINE, 0.0, 1.0, ())
UNSCORED = Assessment(Decision.QUARANTINE, 0.0, 0.0, (), unscored=True)
DATA = Path(__file__).parents[2] / "examples" / "bank_assistant" / "data" / "stream.jsonl.gz"
KEY = b"sixteen bytes..."


def item(who: str = "ada", text: str = "where is my card?", network: str = "n") -> Contribution:
    return Contribution("c", START_US, who, Kind.LABEL, text, "card", groups={"network": network})


def keys(text: str, key: bytes = KEY) -> set[str]:
    observed = item(text=text)
    return set(Variants(key).of(Observation(observed, canonical_texts(observed), {})))


def probing(**parts: object) -> Probing:
    return Probing(ProbingPolicy.model_validate(parts))


def ask(
    rule: Probing,
    budgets: MemoryBudgets,
    at_us: int,
    each: Assessment = HELD_ONE,
    one: Contribution | None = None,
    *,
    anonymous: bool = False,
) -> str | None:
    submission = Submission("r", OnHold.HOLD, (one or item(),), anonymous=anonymous)
    refusal = rule.charge(submission, [each], budgets, at_us)
    return None if refusal is None else refusal.charge.budget.name


def test_near_copies_share_a_key_and_other_texts_do_not() -> None:
    rng = random.Random(3)
    texts = [sentence(rng, topic) + " " + sentence(rng, topic) for topic in ("card", "cash", "pin") * 60]
    near = 0
    for text in texts:
        words = text.split()
        words[rng.randrange(len(words))] = "changed"
        near += bool(keys(text) & keys(" ".join(words)))
    assert near >= 0.9 * len(texts)
    assert keys("Where is my CARD?") == keys("where is my card?")
    foreign = [bool(keys(one) & keys(other)) for one, other in zip(texts, texts[3:], strict=False)]
    assert sum(foreign) <= 2
    assert not keys(texts[0]) & keys(texts[0], b"another key of mine")


def over(rule: Probing, budgets: MemoryBudgets, seed: int) -> str | None:
    """Ask whenever one likes; an interval that holds more answers that tell than promised, by brute force."""
    rng, now_us, told = random.Random(seed), START_US, []
    for _ in range(120):
        now_us += rng.choice([0, 1, HOUR // 20, HOUR // 5, HOUR, -HOUR, 9 * HOUR])
        each = rng.choice([HELD_ONE, ACCEPTED])
        if ask(rule, budgets, now_us, each) is None and each is HELD_ONE:
            told.append((now_us, UNIT))
    if len(told) <= 5:
        return "nothing was told at all"
    return over_admitted(Budget(HELD, "contributor", Measure.TOLD, 5 * UNIT, HOUR, 3 * UNIT), told)


RULE = {"amount": 5, "per": "1h", "burst": 3}


@pytest.mark.parametrize("seed", range(5))
def test_no_interval_holds_more_held_answers_than_promised(seed: int) -> None:
    assert over(probing(held=RULE), MemoryBudgets(), seed) is None


@pytest.mark.parametrize("bug", ARITHMETIC)
def test_the_oracle_finds(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)
    assert any(over(probing(held=RULE), MemoryBudgets(), seed) for seed in range(5))


def test_the_oracle_finds_what_reads_before_it_writes_and_one_too_many() -> None:
    assert any(over(probing(held=RULE), Stale(), seed) for seed in range(5))
    assert any(over(probing(held=RULE | {"burst": 4}), MemoryBudgets(), seed) for seed in range(5))


def test_without_room_the_limit_does_not_tell_what_it_would_have_been() -> None:
    rule = probing(held={"amount": 1, "per": "1h", "burst": 2})
    for each in (HELD_ONE, ACCEPTED, UNSCORED):
        budgets = MemoryBudgets()
        assert [ask(rule, budgets, START_US) for _ in range(2)] == [None, None]
        assert ask(rule, budgets, START_US + HOUR - 1, each) == HELD
        assert ask(rule, budgets, START_US + HOUR, each) is None


def test_what_is_accepted_or_could_not_be_scored_costs_nothing() -> None:
    rule, budgets = probing(held={"amount": 1, "per": "1h"}), MemoryBudgets()
    assert {ask(rule, budgets, START_US, each) for each in [ACCEPTED, UNSCORED] * 20} == {None}
    assert [ask(rule, budgets, START_US) for _ in range(2)] == [None, HELD]


def test_near_copies_of_one_text_are_counted_whatever_is_decided() -> None:
    rule, budgets = probing(near_copies={"amount": 4, "per": "1h"}), MemoryBudgets()

    def send(text: str, each: Assessment, who: str = "ada", at_us: int = START_US) -> str | None:
        found = Assessment(each.decision, each.weight, 0.0, (), variants=tuple(sorted(keys(text))))
        return ask(rule, budgets, at_us, found, item(who, text))

    text = "please tell me where my new card is, it should have come by now"
    outcomes = [send(text + "!" * n, ACCEPTED if n % 2 else HELD_ONE) for n in range(6)]
    assert outcomes == [None] * 4 + [NEAR_COPIES] * 2
    assert send(text, ACCEPTED, "eve") is None
    assert send("how do I change my PIN at a cash machine?", ACCEPTED) is None
    assert send(text, ACCEPTED, at_us=START_US + HOUR) is None


def test_who_has_no_name_shares_with_the_same_network_only() -> None:
    rule, budgets = probing(held={"amount": 1, "per": "1h"}), MemoryBudgets()

    def send(network: str) -> str | None:
        return ask(rule, budgets, START_US, HELD_ONE, item("(anonymous)", network=network), anonymous=True)

    assert [send("a"), send("a"), send("b")] == [None, HELD, None]
    assert ask(rule, budgets, START_US, one=item("anonymous:a")) is None


def test_many_at_once_are_told_exactly_as_many_as_there_is_room_for(tmp_path: Path) -> None:
    guard = make_guard(tmp_path, probing={"held": {"amount": 5, "per": "1d", "burst": 5}}, evidence={"enabled": False})
    wrong = list(labelled(60, seed=5, who="eve", flip=True))

    async def race() -> list[Decision]:
        await guard.start()
        judged = await asyncio.gather(*(guard.judge(submit(each)) for each in wrong))
        more = [await guard.judge(submit(each)) for each in labelled(5, seed=6, who="eve")]
        assert {each.decision for each in more} == {Decision.LIMIT}
        assert [each.refusal.charge.budget.name for each in more if each.refusal] == [HELD] * 5
        other = await guard.judge(submit(*labelled(1, seed=7, who="ada")))
        assert other.decision is Decision.ACCEPT
        await guard.stop()
        return [each.decision for each in judged]

    counted = Counter(asyncio.run(race()))
    assert counted[Decision.QUARANTINE] == 5
    assert counted[Decision.LIMIT] >= 20
    assert verify(f"sqlite:///{tmp_path}/guard.db").clean


def test_a_concealed_limit_is_answered_like_everything_else(tmp_path: Path) -> None:
    from feedback_guard.middleware.answers import Answers

    held_answer = {"status": 200, "body": "{id: id()}"}
    route = {"name": "r", "path": "/r", "extract": "@", "acknowledge": "uniform", "held_answer": held_answer}
    guard = make_guard(
        tmp_path,
        routes=[route],
        probing={"held": {"amount": 1}, "near_copies": {"amount": 2}},
        evidence={"enabled": False},
    )
    answers = Answers(guard.policy.routes[0], [], guard.metrics)

    async def send() -> list[tuple[str, bool]]:
        await guard.start()
        found = []
        for each in [*labelled(20, seed=5, who="eve", flip=True), *list(labelled(1, seed=8, who="bob")) * 3]:
            copy = Contribution(guard.new_id(), START_US, each.contributor, each.kind, each.input, each.label)
            judgement = await guard.judge(Submission("r", OnHold.HOLD, (copy,), b"", conceal=True))
            name = judgement.refusal.charge.budget.name if judgement.refusal else judgement.decision.value
            found.append((name, answers.conceals(judgement)))
        await guard.stop()
        return found

    found = asyncio.run(send())
    # What is left of answers that tell depends on the detectors; how often one text was sent, its sender knows.
    assert (HELD, True) in found
    assert (HELD, False) not in found
    assert found[-1] == (NEAR_COPIES, False)


def test_who_halves_the_distance_to_the_boundary_is_stopped_on_the_way(tmp_path: Path) -> None:
    """From a held text to an accepted one, word by word: near copies run out before the boundary is found."""
    policy = load_policy("balanced").policy.probing
    guard = make_guard(tmp_path, probing=policy.model_dump(), evidence={"enabled": False})
    rng = random.Random(1)
    base = " ".join(sentence(rng, "card") for _ in range(4)).split()

    async def search() -> Counter[str]:
        await guard.start()
        seen: Counter[str] = Counter()
        for number in range(200):
            words = base.copy()
            words[rng.randrange(len(words))] = rng.choice(["transfer", "iban", "cash", "pin", "atm"])
            one = Contribution(f"q{number}", START_US + number, "eve", Kind.LABEL, " ".join(words), "transfer")
            seen[(await guard.judge(submit(one))).decision.value] += 1
        await guard.stop()
        return seen

    seen = asyncio.run(search())
    assert policy.held is not None
    assert seen["quarantine"] <= (policy.held.burst or 0)
    assert seen["limit"] >= 150


def test_real_questions_by_real_people_are_no_near_copies() -> None:
    """The default is far from what honest people do: each of 50 users sends a part of the example's questions."""
    policy = load_policy("balanced").policy.probing
    assert policy.near_copies is not None
    with gzip.open(DATA, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["input"] for line in lines]
    most = Counter((place % 50, key) for place, text in enumerate(texts[:3_000]) for key in keys(text))
    assert max(most.values()) * 3 <= policy.near_copies.amount


@pytest.mark.parametrize("name", ["balanced", "strict", "observe"])
def test_the_presets_have_both_budgets(name: str) -> None:
    policy = load_policy(name).policy.probing
    assert policy.held is not None
    assert policy.near_copies is not None
