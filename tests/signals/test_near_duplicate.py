"""Near duplicates: honest streams are forgiven their popular questions, campaigns are found within a few copies."""

from __future__ import annotations

import gzip
import itertools
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback_guard.contribution import ANONYMOUS, Contribution, Kind
from feedback_guard.errors import BaselineError, SignalError
from feedback_guard.evidence.observe import observe
from feedback_guard.signals.families import MAX_MEMBERS, Family
from feedback_guard.signals.interface import Condition, Finding, Observation
from feedback_guard.signals.near_duplicate import LEAST_TRUSTED, NearDuplicate, _counts

LINE = 0.0015
"""What the balanced policy lets this signal spend: a share of 0.15 of a false-hold rate of 0.01."""
QUESTIONS = (Path(__file__).parent / "data" / "banking77_questions.txt.gz").read_bytes()


@pytest.fixture(scope="module")
def questions() -> list[str]:
    return gzip.decompress(QUESTIONS).decode().splitlines()


def label(text: str, account: str, **groups: str) -> Observation:
    made = Contribution(
        id="c", at_us=0, contributor=account, kind=Kind.LABEL, input=text, label="intent", groups=groups
    )
    return observe(made, {})


@pytest.fixture(scope="module")
def fitted(questions: list[str]) -> NearDuplicate:
    trusted = [label(text, f"staff-{number % 3}") for number, text in enumerate(questions[:800])]
    popular = [label(f"where is my card {word}", "staff-0") for word in ("please", "thanks", "then", "now", "today")]
    return NearDuplicate.from_state(NearDuplicate.fit(trusted + popular * 2, seed=0))


@pytest.fixture
def detector(fitted: NearDuplicate) -> NearDuplicate:
    return NearDuplicate.from_state(fitted.state())


def honest_account(rng: random.Random) -> str:
    return f"person-{min(int(rng.paretovariate(0.8)), 300)}"


def judge(detector: NearDuplicate, observation: Observation) -> Finding:
    finding = detector.score(observation)
    detector.witness(observation)
    return finding


def p_of(finding: Finding) -> float:
    assert finding.p_value is not None
    return finding.p_value


def campaign(seed: int, text: str) -> Iterator[Observation]:
    """Copies of one text, a word dropped or added here and there, an account each."""
    rng = random.Random(seed)
    for number in range(10_000):
        words = [word for word in text.split() if rng.random() > 0.06]
        if rng.random() < 0.5:
            words.insert(rng.randrange(len(words)), rng.choice(["so", "very", "really", "..."]))
        yield label(" ".join(words), f"sybil-{number}")


TEXT = "novak contemplates a heartland so overwhelmed by its lack of purpose that it seeks excitement in high drama"


def test_honest_questions_are_rarely_a_surprise(detector: NearDuplicate, questions: list[str]) -> None:
    rng = random.Random(1)
    p_values = np.array([p_of(judge(detector, label(text, honest_account(rng)))) for text in questions[800:]])
    for level in (LINE, 0.01, 0.05, 0.2):
        assert (p_values <= level).mean() <= level + 2 * np.sqrt(level / len(p_values))
    assert (p_values < 1.0).mean() > 0.02, "some honest questions do repeat"


@pytest.mark.parametrize("busy", [0, 1_500])
def test_a_campaign_is_found_within_its_first_five_copies(
    detector: NearDuplicate, questions: list[str], busy: int
) -> None:
    rng = random.Random(2)
    for text in questions[800 : 800 + busy]:
        detector.witness(label(text, honest_account(rng)))
    copies = campaign(3, TEXT)
    findings = []
    for text in questions[-60:]:
        findings.append(judge(detector, next(copies)))
        detector.witness(label(text, honest_account(rng)))
    held = [p_of(finding) <= LINE for finding in findings]
    assert held.index(True) < 5
    assert np.mean(held[5:]) >= 0.9
    facets = {finding.facet for finding, is_held in zip(findings, held, strict=True) if is_held}
    assert len(facets) <= 2
    assert all(facet is not None and facet.startswith("family:") for facet in facets)


def test_a_popular_question_is_forgiven(detector: NearDuplicate, questions: list[str]) -> None:
    rng = random.Random(4)
    for text in questions[800:1_800]:
        detector.witness(label(text, honest_account(rng)))
    asked = [label(f"where is my card {number}", f"customer-{number}") for number in range(12)]
    p_values = [p_of(judge(detector, one)) for one in asked]
    assert min(p_values) > 0.01
    assert p_values[-1] < 1.0


def test_one_account_that_repeats_itself_is_no_campaign(detector: NearDuplicate) -> None:
    for number in range(50):
        assert judge(detector, label(f"{TEXT} {number}", "the same person")).p_value == 1.0


def test_people_without_a_name_are_told_apart_by_their_network(detector: NearDuplicate) -> None:
    one_network = [judge(detector, label(TEXT, ANONYMOUS, network="192.0.2.0/24")) for _ in range(8)]
    assert {finding.p_value for finding in one_network} == {1.0}
    many = [judge(detector, label(TEXT, ANONYMOUS, network=f"198.51.{n}.0/24")) for n in range(8)]
    assert p_of(many[-1]) <= LINE


def test_a_slow_campaign_shows_in_the_long_window(detector: NearDuplicate, questions: list[str]) -> None:
    """One copy in 180 texts: never more than three within the shortest window."""
    rng = random.Random(5)
    copies = campaign(6, TEXT)
    p_values = []
    for _ in range(25):
        p_values.append(p_of(judge(detector, next(copies))))
        for number in range(180):
            words = rng.choice(questions[800:]).split()
            rng.shuffle(words)
            detector.witness(label(" ".join(words), f"person-{rng.randrange(2_000)}-{number}"))
    assert p_values[-1] <= LINE / 10
    assert max(p_values[10:]) <= LINE


def test_copies_of_a_victims_text_reach_nothing_else_of_the_victim(
    detector: NearDuplicate, questions: list[str]
) -> None:
    mine = questions[800:1_800:20]
    before = [detector.score(label(text, "victim")) for text in mine]
    for copy, _ in zip(campaign(7, mine[0]), range(300), strict=False):
        detector.witness(copy)
    after = [detector.score(label(text, "victim")) for text in mine]
    assert p_of(after[0]) <= LINE, "the family itself is held, for whoever sends it"
    worse = [number for number in range(1, len(mine)) if p_of(after[number]) < p_of(before[number])]
    assert not worse


def test_answers_are_compared_as_well_as_questions(questions: list[str]) -> None:
    def correction(number: int, text: str, answer: str, account: str) -> Observation:
        made = Contribution(
            id=str(number), at_us=0, contributor=account, kind=Kind.CORRECTION, input=text, output=answer
        )
        return observe(made, {})

    trusted = [correction(n, questions[n], questions[-1 - n], "staff") for n in range(400)]
    detector = NearDuplicate.from_state(NearDuplicate.fit(trusted, seed=0))
    findings = [judge(detector, correction(n, questions[500 + n], TEXT, f"sybil-{n}")) for n in range(8)]
    assert p_of(findings[-1]) <= LINE
    assert "almost the same output" in findings[-1].message


def test_what_the_model_served_is_not_held_against_those_who_rate_it(questions: list[str]) -> None:
    def rating(number: int, account: str) -> Observation:
        made = Contribution(
            id=str(number), at_us=0, contributor=account, kind=Kind.RATING, input=questions[number],
            output="Please look into the app.", rating=1.0,
        )  # fmt: skip
        return observe(made, {})

    detector = NearDuplicate.from_state(NearDuplicate.fit([rating(n, "staff") for n in range(400)], seed=0))
    assert all(p_of(judge(detector, rating(500 + n, f"person-{n}"))) > LINE for n in range(60))


def test_the_finding_is_a_sentence_with_numbers(detector: NearDuplicate) -> None:
    copies = campaign(8, TEXT)
    calm = judge(detector, next(copies))
    assert calm.message == "none of the last 0 texts by other accounts is almost the same"
    assert calm.facet is None
    judge(detector, next(copies))
    found = detector.score(next(copies))
    assert found.message.startswith("2 other accounts sent almost the same input among the last 2 texts; at most ")
    assert "would be expected" in found.message


def test_a_kind_the_trusted_set_lacks_is_not_scored(detector: NearDuplicate) -> None:
    made = Contribution(id="c", at_us=0, contributor="u", kind=Kind.PREFERENCE, input="a", chosen="b", rejected="c")
    finding = detector.score(observe(made, {}))
    assert finding.condition is Condition.SCORED, "its input can be compared"
    few = [label(f"text number {number}", "staff") for number in range(LEAST_TRUSTED)]
    other = NearDuplicate.from_state(NearDuplicate.fit(few, seed=0))
    state = other.state()
    empty = NearDuplicate.from_state(replace(state, values={**state.values, "fields": []}))
    assert empty.score(few[0]).condition is Condition.ABSTAINED


def test_too_small_a_trusted_set_is_refused() -> None:
    few = [label(f"text number {number}", "staff") for number in range(LEAST_TRUSTED - 1)]
    with pytest.raises(BaselineError, match=f"at least {LEAST_TRUSTED} trusted"):
        NearDuplicate.fit(few, seed=0)


def test_a_text_that_was_not_read_is_an_error(detector: NearDuplicate) -> None:
    with pytest.raises(SignalError, match="input has no canonical text"):
        detector.score(replace(label("text", "u"), texts={}))


def test_the_key_comes_from_the_trusted_set(questions: list[str]) -> None:
    def key(texts: list[str]) -> object:
        return NearDuplicate.fit([label(text, "staff") for text in texts], seed=0).values["key"]

    assert key(questions[:60]) == key(questions[:60])
    assert key(questions[:60]) != key([*questions[:59], "another text"])


def test_crafted_neighbours_cost_no_more_than_honest_texts(detector: NearDuplicate, questions: list[str]) -> None:
    """Thousands of texts that are all a little less than half alike: the worst that can be done to the buckets."""
    rng = random.Random(9)
    base = "my card has not arrived and i need it before travelling to spain on friday morning please".split()
    honest = [label(text, f"person-{number}") for number, text in enumerate(questions[800:1_100])]
    quiet = _median_us(detector, honest)
    for number in range(3_000):
        words = [word if rng.random() < 0.7 else rng.choice(questions).split()[0] for word in base]
        detector.witness(label(" ".join(words), f"sybil-{number}"))
    crafted = [
        label(" ".join(word if rng.random() < 0.7 else "else" for word in base), f"probe-{number}")
        for number in range(300)
    ]
    assert _median_us(detector, crafted) <= 8 * quiet + 200.0
    assert _median_us(detector, honest) <= 4 * quiet + 100.0


def _median_us(detector: NearDuplicate, observations: list[Observation]) -> float:
    times = []
    for observation in observations:
        start = time.thread_time()
        detector.score(observation)
        times.append(time.thread_time() - start)
    return float(np.median(times)) * 1e6


def spam(n: int) -> list[str]:
    rng = random.Random(9)
    return [
        f"You are selected for a free voucher, see http://{''.join(rng.choices('bcdfgklmnprst', k=9))}.top/"
        f"{rng.randrange(10**6)} or call 0{rng.randrange(10**8, 10**9)} before {rng.randrange(10, 29)}/07"
        for _ in range(n)
    ]


def test_spam_from_one_template_is_one_family_whatever_its_addresses_and_numbers(
    fitted: NearDuplicate, detector: NearDuplicate, questions: list[str]
) -> None:
    state = fitted.state()
    before = NearDuplicate.from_state(replace(state, values={**state.values, "masked": False}))
    found = {}
    for name, each in (("masked", detector), ("as it was", before)):
        for text in questions[2_000:2_200]:
            judge(each, label(text, text))
        found[name] = [p_of(judge(each, label(text, f"spammer-{n}"))) for n, text in enumerate(spam(12))]
    assert max(found["masked"][5:]) < 0.001
    assert sum(p < 0.001 for p in found["as it was"]) <= 2, "without masks it passes"


def test_honest_questions_about_different_amounts_and_days_are_no_family(detector: NearDuplicate) -> None:
    """They share what they ask about, and are as far from each other as before."""
    texts = [
        "I was charged $12.50 twice on 3/04, can I have it back?",
        "Why is there a fee of 3.20 euros for the transfer on 14/05?",
        "My top up of 200 pounds on 12/03 has not arrived yet",
        "The cash machine gave me $40 instead of $60 on 2/02",
        "Do you exchange 1,000 dollars at the rate of 10:30?",
        "On 07/08 a payment of €9.99 was declined, what happened?",
    ]
    for n, text in enumerate(texts):
        assert p_of(judge(detector, label(text, f"customer-{n}"))) > 0.05


@given(
    st.lists(st.dictionaries(st.integers(0, 9), st.integers(1, 60), max_size=8), min_size=1, max_size=4),
    st.integers(0, 9),
    st.lists(st.integers(0, 60), min_size=1, max_size=3),
)
def test_accounts_are_counted_by_when_they_last_came(came: list[dict[int, int]], but: int, after: list[int]) -> None:
    orders = [sorted(members.items(), key=lambda item: item[1]) for members in came]
    families = [Family(ident, 1.0, dict(order)) for ident, order in enumerate(orders)]
    last = dict[int, int]()
    for account, when in sorted(itertools.chain(*orders), key=lambda item: item[1]):
        last[account] = when
    last.pop(but, None)
    assert _counts(families, but, after) == [sum(when > line for when in last.values()) for line in after]


def test_members_of_a_family_are_in_the_order_in_which_they_came(detector: NearDuplicate) -> None:
    """Which is what counting them relies on; also once some were pushed out, and after a restart."""
    rng = random.Random(4)
    for number in range(2_000):
        detector.witness(label(f"where is my card {'please ' * (number % 3)}", f"person-{rng.randrange(900)}"))
    restored = NearDuplicate.from_state(detector.state())
    for each in (detector, restored):
        members = each._fields["input"].stream._members
        assert max(map(len, members.values())) == MAX_MEMBERS
        for family in members.values():
            assert list(family.values()) == sorted(family.values())
