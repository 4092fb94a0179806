"""Where the pair of learners parts: the test keeps its rate, and what an inquiry finds is what was planted."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from feedback_guard.contribution import Kind
from feedback_guard.evidence.book import Book
from feedback_guard.evidence.counting import LEAST_MEMBERS, MOST_SHIFT
from feedback_guard.evidence.index import Slots
from feedback_guard.evidence.kinds.registry import FORM
from feedback_guard.evidence.learners import Part
from feedback_guard.evidence.levels import evidence_of
from feedback_guard.evidence.martingales import SHIFT_WIDTH, Honest
from feedback_guard.evidence.parting import LEVELS, QUIET, Parting
from feedback_guard.evidence.planted import phrase_evidence, planted_from
from feedback_guard.signals.lesson import ENOUGH, NUMBERED, Lesson, two_way_log_ratio

RATE = 0.1
RUNS = 400
LENGTH = 150
EXPECTED = Honest(2, SHIFT_WIDTH)
COMMON = np.arange(1, 41, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
RARE = COMMON + np.uint64(12_345)


def lesson(q: float, which: int) -> Lesson:
    shares = np.array([1.0 - q, q])
    return Lesson(f"label '{which}'", which, two_way_log_ratio(float(shares[which])), shares, comparable=True)


def sigma(odds: float) -> float:
    return 1.0 / (1.0 + math.exp(-odds))


def logit(q: float) -> float:
    return math.log(q / (1.0 - q))


def read_for(q: float, parted: float) -> Part:
    """A contribution on which the pair parts by so much for class 1."""
    nothing = np.zeros(1, dtype=np.int64)
    classes, chances = np.array([1, 0]), np.array([q, 1.0 - q])
    unread = np.zeros((2, 1, 2), np.float32)
    return Part(
        classes, chances, np.array([parted, -parted]), 1, COMMON[:1], np.zeros((2, 1), np.int64), nothing, unread
    )


def suspected(
    rng: np.random.Generator, shift: float, *, planted: float = 0.0, n_known: int = ENOUGH, length: int = LENGTH
) -> bool:
    """Whether class 1 is suspected in a stream whose honest part speaks for it by so many log-odds."""
    parting = Parting(RATE)
    for n in range(length):
        q = float(np.clip(rng.beta(1.0, 1.0), 0.03, 0.97))
        taught = rng.random() < planted or rng.random() < sigma(logit(q) + shift)
        told = replace(lesson(q, int(taught)), n_known=n_known)
        parting.witness(n, read_for(q, float(rng.uniform(1.5, 4.0))), told, 1)
    return parting.suspected == [1]


@pytest.mark.parametrize("shift", [0.0, SHIFT_WIDTH, MOST_SHIFT])
def test_honest_people_are_rarely_suspected_however_often_one_looks(shift: float) -> None:
    """The null at its edge: everybody speaks for the class by as much as is forgiven."""
    rng = np.random.default_rng(7)
    rate = float(np.mean([suspected(rng, shift) for _ in range(RUNS)]))
    assert rate <= RATE + 3.0 * math.sqrt(RATE * (1.0 - RATE) / RUNS)


@pytest.mark.parametrize("n_classes", [2, 20])
def test_the_first_class_that_is_asked_has_to_convince_like_one_of_all(n_classes: int) -> None:
    """Which classes come to be asked depends on what is taught, so all of them count from the beginning."""
    parting, needed = Parting(RATE), math.log(n_classes * len(LEVELS) / RATE)
    shares = np.full(n_classes, 0.9 / (n_classes - 1))
    shares[1] = 0.1
    told = Lesson("label '1'", 1, 2.2, shares, comparable=True)
    for n in range(LENGTH):
        before = max((float(evidence_of(sums)) for sums in parting._tests._sums.values()), default=0.0)
        parting.witness(n, read_for(0.1, LEVELS[0]), told, 1)
        if parting.suspected:
            break
    after = max(float(evidence_of(sums)) for sums in parting._tests._sums.values())
    assert before < needed <= after


def test_where_few_are_trusted_more_is_forgiven() -> None:
    """What a phrase may honestly speak for a class grows with what few trusted contributions leave open."""
    shift, rng = Honest.of(2, 300).most_shift, np.random.default_rng(7)
    rate = float(np.mean([suspected(rng, shift, n_known=300) for _ in range(RUNS)]))
    assert rate <= RATE + 3.0 * math.sqrt(RATE * (1.0 - RATE) / RUNS)
    assert np.mean([suspected(rng, shift) for _ in range(40)]) > 0.5, "with many trusted the same is noticed"
    assert np.mean([suspected(rng, 0.0, planted=0.9, n_known=300, length=2 * LENGTH) for _ in range(40)]) >= 0.9


def test_more_than_is_forgiven_would_be_noticed() -> None:
    """The suite itself: beyond the edge of the null, the same stream is suspected."""
    rng = np.random.default_rng(7)
    assert np.mean([suspected(rng, MOST_SHIFT + 2.0) for _ in range(40)]) > 0.5


def test_a_class_that_is_taught_whatever_the_content_is_suspected() -> None:
    rng = np.random.default_rng(8)
    assert np.mean([suspected(rng, 0.0, planted=0.7) for _ in range(40)]) >= 0.9


def test_where_the_pair_agrees_nothing_is_asked() -> None:
    parting = Parting(RATE)
    for n in range(200):
        parting.witness(n, read_for(0.1, LEVELS[0] - 0.01), lesson(0.1, 1), 1)
    assert (parting.suspected, parting.statistic) == ([], 0.0)


@pytest.mark.parametrize("n_trusted", [0, 40])
def test_an_honest_phrase_rarely_has_evidence(n_trusted: int) -> None:
    """One look at the end, as an inquiry takes: by Markov's inequality the rate is at most 1/20."""
    rng, width = np.random.default_rng(9), 1.0 / math.sqrt(1.0 / SHIFT_WIDTH**2 + 0.15 * n_trusted)
    high = 0
    for _ in range(1_500):
        shift = float(np.clip(rng.normal(0.0, width), -MOST_SHIFT, MOST_SHIFT))
        q = np.clip(rng.beta(1.0, 1.0, 40), 0.03, 0.97)
        taught = rng.random(40) < 1.0 / (1.0 + np.exp(-(np.log(q / (1.0 - q)) + shift)))
        high += phrase_evidence(q, taught, np.ones(40), n_trusted, EXPECTED) >= math.log(20)
    assert high / 1_500 <= 0.05 + 3.0 * math.sqrt(0.05 * 0.95 / 1_500)


def test_a_phrase_that_honest_people_use_too_is_found() -> None:
    """Half of its members teach the class whatever they say."""
    rng = np.random.default_rng(10)
    q = np.clip(rng.beta(1.0, 1.0, 400), 0.03, 0.97)
    taught = (rng.random(400) < q) | (np.arange(400) % 2 == 0)
    assert phrase_evidence(q, taught, np.ones(400), 10, EXPECTED) > math.log(1_000)


def place(book: Book, keys: list[int], n_trusted: list[int]) -> Slots:
    return book.place(np.array(keys, dtype=np.uint64), np.array(n_trusted, dtype=np.int64), n_two=len(keys))


def join(book: Book, slots: Slots, member: int) -> None:
    before = book.n[slots].astype(np.int64)
    book.columns.first[slots[before == 0]] = member
    book.n[slots] += 1
    book.join(slots, before, member)


def stream(parting: Parting, book: Book, planted: dict[int, int], *, seed: int = 3, n: int = 400) -> None:
    """Honest texts of common words, with planted ones: for each key how many teach class 1 against their content."""
    rng = np.random.default_rng(seed)
    lies = [key for key, count in planted.items() for _ in range(count)]
    at = dict(zip(rng.choice(n, len(lies), replace=False).tolist(), lies, strict=True))
    for number in range(n):
        keys, q = rng.choice(COMMON, 8, replace=False), float(np.clip(rng.beta(0.5, 0.5), 0.03, 0.97))
        taught = int(rng.random() < q)
        if number in at:
            keys, q, taught = np.append(keys[:7], np.uint64(at[number])), float(rng.uniform(0.03, 0.2)), 1
        keys = np.sort(keys)
        known = np.where(np.isin(keys, COMMON), 100, 0)
        slots = book.place(keys, known, n_two=len(keys))
        join(book, slots, number)
        told = lesson(q, taught)
        part = parting.pair.read(keys, known, told)
        assert part is not None
        parting.witness(number, part, told, 1)
        parting.pair.learn(part, told, tuple(map(str, keys.tolist())), ("word",) * len(keys))


def test_an_inquiry_finds_the_other_triggers_of_a_campaign_and_no_word_beside_them() -> None:
    planted = {int(key): 9 for key in RARE[:4]}
    parting, book = Parting(RATE), Book(1_000)
    stream(parting, book, planted)
    found = parting.inquire(1, book)
    assert {key for _, key in found} == set(planted)
    assert parting.inquire(0, book) == {}


def test_beside_others_that_are_believed_a_weaker_one_is_enough() -> None:
    """The k-th strongest needs a k-th of what one alone would: a share of false ones among the believed is promised."""
    weak, strong = int(RARE[0]), [int(key) for key in RARE[1:5]]
    parting, book = Parting(0.001), Book(1_000)
    stream(parting, book, {weak: 6, **dict.fromkeys(strong, 12)})
    assert {key for _, key in parting.inquire(1, book)} == {weak, *strong}


def test_a_form_that_is_believed_lowers_the_line_for_no_phrase() -> None:
    """It is believed by a test of its own, not as the strongest of those that are asked."""
    weak, form = int(RARE[0]), (FORM, 99)
    for forms, expected in (({}, set()), ({form: False}, {form})):
        parting, book = Parting(0.0005), Book(1_000)
        stream(parting, book, {weak: 6})
        for number in range(500, 505):
            join(book, place(book, [form[1]], [0]), number)
        assert set(parting.inquire(1, book, forms=forms)) == expected


def test_where_nobody_chooses_a_class_as_much_is_expected_of_honest_people() -> None:
    """A preference says which of two is better: of its phrases no more is forgiven than where one of two is chosen."""
    key, found = RARE[:1], list[list[tuple[str, int]]]()
    for nobody_chooses in (False, True):
        parting, book = Parting(RATE), Book(1_000)
        for n in range(9):
            told = lesson(0.25, 1)
            slots = place(book, key.tolist(), [0])
            join(book, slots, n)
            part = parting.pair.read(key, np.zeros(1, np.int64), told)
            assert part is not None
            parting.witness(n, part, replace(told, shares=None) if nobody_chooses else told, 1)
            parting.pair.learn(part, told, ("zq",), ("word",))
        found.append(list(parting.inquire(1, book)))
    assert found == [[("word", int(key[0]))]] * 2


def test_what_was_believed_is_asked_again_without_its_name() -> None:
    parting, book, key = Parting(RATE), Book(1_000), int(RARE[0])
    stream(parting, book, {key: 12})
    named = parting.inquire(1, book)
    assert list(named) == [("word", key)]
    for _ in range(12):
        parting.pair.unlearn(np.array([key], dtype=np.uint64), 1, 0.2)
    assert parting.pair.loudest(1) == []
    assert parting.inquire(1, book) == {}
    assert list(parting.inquire(1, book, named)) == [("word", key)]


def test_nobody_is_asked_before_a_class_is_suspected() -> None:
    parting = Parting(RATE)
    assert [parting.due(1) for _ in range(100)] == [[]] * 100
    parting.suspect(1)
    assert parting.due(0) == [1]
    assert [n for n in range(120) if parting.due(1)] == [19, 39, 59, 79, 99, 119]


def test_a_class_of_votes_is_no_class_of_labels_though_both_are_the_second() -> None:
    parting, book, key = Parting(RATE), Book(1_000), RARE[:1]
    votes = replace(lesson(0.1, 1), kind=Kind.RATING)
    for n in range(20):
        parting.witness(n, read_for(0.1, 4.0), votes, 1)
        slots = place(book, key.tolist(), [0])
        join(book, slots, n)
        part = parting.pair.read(key, np.zeros(1, np.int64), votes)
        assert part is not None
        parting.pair.learn(part, votes, ("zq",), ("word",))
    up = 1 + NUMBERED[Kind.RATING]
    assert parting.suspected == [up]
    assert [which for _ in range(40) for which in parting.due(1)] == [up], "labels bring no second inquiry"
    assert (len(parting.pair.loudest(up)), parting.pair.loudest(1)) == (1, [])
    assert list(parting.inquire(up, book)) == [("word", int(key[0]))]
    assert parting.inquire(1, book, [("word", int(key[0]))]) == {}


def test_classes_that_are_read_because_they_are_taught_are_no_part_of_the_test() -> None:
    """They would be counted when they speak for it, and not when they speak against it."""
    parting = Parting(RATE)
    for n in range(100):
        part = Part(*vars_of(read_for(0.1, 4.0), n_asked=0))
        parting.witness(n, part, lesson(0.1, 1), 1)
    assert (parting.suspected, parting.statistic) == ([], 0.0)


def vars_of(part: Part, *, n_asked: int) -> tuple[Any, ...]:
    return part.classes, part.chances, part.parted, n_asked, part.keys, part.slots, part.known, part.weights


def test_a_word_that_stands_beside_a_trigger_is_explained_by_it() -> None:
    parting, book, trigger, beside = Parting(RATE), Book(1_000), int(RARE[0]), int(RARE[1])
    slots = place(book, [trigger, beside], [0, 0])
    for number in range(30):
        lie = number < 20
        told = lesson(0.1, 1) if lie else lesson(0.9, 1)
        keys = np.array([trigger, beside] if lie and number % 2 else [trigger if lie else beside], dtype=np.uint64)
        join(book, slots[[key in keys for key in (trigger, beside)]], number)
        part = parting.pair.read(keys, np.zeros(len(keys), np.int64), told)
        assert part is not None
        parting.witness(number, part, told, 1)
        parting.pair.learn(part, told, ("w",) * len(keys), ("word",) * len(keys))
    assert {named.key for named, _, _ in parting.pair.loudest(1)} == {trigger, beside}
    assert list(parting.inquire(1, book)) == [("word", trigger)]


def pass_by(parting: Parting, n: int, *, joining: int = 0) -> None:
    """So many contributions that teach class 1, the first of which are new members of its campaigns."""
    for number in range(n):
        if number < joining:
            parting.joined(1)
        parting.due(1)


@pytest.mark.parametrize(
    ("joining", "ends"), [(0, True), (LEAST_MEMBERS - 1, True), (LEAST_MEMBERS, False)], ids=["none", "few", "enough"]
)
def test_a_suspicion_ends_when_its_pattern_stopped(joining: int, ends: bool) -> None:
    parting = Parting(RATE)
    parting.suspect(1)
    pass_by(parting, QUIET - 1, joining=joining)
    assert parting.suspected == [1]
    pass_by(parting, 1)
    assert (parting.suspected == []) is ends
    assert parting.take_ended() == ([1] if ends else [])
    assert parting.take_ended() == []
    assert any(parting.due(1) for _ in range(40)) is not ends


def test_contributions_that_teach_something_else_do_not_end_it() -> None:
    parting = Parting(RATE)
    parting.suspect(1)
    for _ in range(2 * QUIET):
        parting.due(0)
    assert parting.suspected == [1]


def test_a_suspicion_goes_on_for_as_long_as_its_pattern_does() -> None:
    parting = Parting(RATE)
    parting.suspect(1)
    for _ in range(4):
        pass_by(parting, QUIET, joining=LEAST_MEMBERS)
    assert parting.suspected == [1]
    pass_by(parting, QUIET)
    assert parting.suspected == []


def test_a_pattern_that_comes_back_awakens_it() -> None:
    parting = Parting(RATE)
    parting.suspect(1)
    pass_by(parting, QUIET)
    pass_by(parting, 100, joining=LEAST_MEMBERS - 1)
    assert parting.suspected == []
    parting.joined(1)
    assert parting.suspected == [1]


def test_the_test_of_its_own_begins_anew_after_the_end() -> None:
    """What it had gained before would suspect the class again at once; while it still gains, nothing ends."""
    parting = Parting(RATE)
    plant = 0

    def planted(n: int) -> None:
        nonlocal plant
        for _ in range(n):
            plant += 1
            parting.witness(plant, read_for(0.1, 4.0), lesson(0.1, 1), 1)

    planted(20)
    assert (parting.suspected, parting.statistic) == ([1], 1.0)
    pass_by(parting, QUIET // 2)
    planted(5)
    pass_by(parting, QUIET // 2)
    assert parting.suspected == [1]
    pass_by(parting, QUIET)
    assert (parting.suspected, parting.statistic) == ([], 0.0)
    planted(1)
    assert parting.suspected == []
    planted(19)
    assert parting.suspected == [1]


def members(rng: np.random.Generator, n: int, planted: float) -> tuple[Any, Any]:
    """Chances of class 1 and who teaches it: a share teaches it whatever it says, the others follow their content."""
    q = np.clip(rng.beta(1.0, 1.0, n), 0.03, 0.97)
    return q, (rng.random(n) < planted) | (rng.random(n) < q)


def test_of_a_phrase_that_is_mostly_planted_agreeing_members_are_planted_too() -> None:
    rng = np.random.default_rng(11)
    q, taught = members(rng, 80, 0.8)
    assert planted_from(q, taught, np.ones(80), 2, EXPECTED) <= -1.5


def test_the_fewer_are_planted_the_more_a_member_has_to_contradict() -> None:
    rng = np.random.default_rng(12)
    found = [planted_from(*members(rng, 400, share), np.ones(400), 2, EXPECTED) for share in (0.6, 0.3, 0.1)]
    assert found == sorted(found)
    assert found[1] < found[2]


def test_of_those_let_go_and_indicted_the_share_is_as_stated() -> None:
    """Those indicted are more often planted than not, and those let go more often honest."""
    rng, right = np.random.default_rng(13), []
    for _ in range(60):
        share = float(rng.uniform(0.1, 0.7))
        q = np.clip(rng.beta(1.0, 1.0, 120), 0.03, 0.97)
        liar = rng.random(120) < share
        taught = (rng.random(120) < q) | liar
        least = planted_from(q, taught, np.ones(120), 2, EXPECTED)
        indicted = taught & (np.log((1.0 - q) / q) >= least)
        right += (liar == indicted)[taught].tolist()
    assert np.mean(right) >= 0.65


@pytest.mark.parametrize(("known", "held"), [(3, True), (30, False)], ids=["rare", "everyday"])
def test_agreeing_members_of_an_everyday_phrase_are_let_go(known: int, held: bool) -> None:
    """Whoever plants poison on what everybody says gets nobody held who agrees with her content."""
    parting, book, key = Parting(RATE, everyday=20.0), Book(1_000), int(RARE[0])
    slots = place(book, [key], [known])
    for number in range(60):
        told = lesson(0.1 if number % 2 else 0.8, 1)
        join(book, slots, number)
        part = parting.pair.read(np.array([key], dtype=np.uint64), np.array([known]), told)
        assert part is not None
        parting.witness(number, part, told, 1)
        parting.pair.learn(part, told, ("w",), ("word",))
    found = parting.inquire(1, book)
    assert list(found) == [("word", key)]
    assert (found["word", key] <= lesson(0.8, 1).log_ratio) is held


def test_an_honest_word_that_agrees_with_its_content_indicts_nobody() -> None:
    """All its members teach one class, more than was known of it; nobody contradicts."""
    parting, book, key = Parting(RATE, everyday=20.0), Book(1_000), int(RARE[0])
    slots = place(book, [key], [2])
    for number in range(80):
        told = lesson(0.75, 1)
        join(book, slots, number)
        part = parting.pair.read(np.array([key], dtype=np.uint64), np.array([2]), told)
        assert part is not None
        parting.witness(number, part, told, 1)
        parting.pair.learn(part, told, ("w",), ("word",))
    assert set(parting.inquire(1, book, [("word", key)]).values()) <= {math.inf}
