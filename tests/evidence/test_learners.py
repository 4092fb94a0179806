"""The pair of learners: agrees at first, learns what is taught, forgets what is taken back, and stays its size."""

from __future__ import annotations

import numpy as np
import pytest

from feedback_guard.evidence import regression
from feedback_guard.evidence.counting import MOST_SHIFT
from feedback_guard.evidence.learners import MAX_NAMED, NAMED, Pair
from feedback_guard.signals.lesson import Lesson

KEYS = np.arange(1, 9, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
NEW = np.zeros(8, dtype=np.int64)
WORDS, KINDS = tuple(f"w{i}" for i in range(8)), ("word",) * 8


def lesson(which: int = 1, *shares: float) -> Lesson:
    return Lesson(f"label 'c{which}'", which, 1.0, np.array(shares or (0.7, 0.2, 0.1)), comparable=True)


def teach(pair: Pair, times: int, told: Lesson, keys: np.ndarray[tuple[int], np.dtype[np.uint64]] = KEYS) -> float:
    moved = 0.0
    for _ in range(times):
        part = pair.read(keys, NEW[: len(keys)], told)
        assert part is not None
        moved = pair.learn(part, told, WORDS[: len(keys)], KINDS[: len(keys)])
    return moved


def test_at_first_the_two_agree() -> None:
    part = Pair().read(KEYS, NEW, lesson())
    assert part is not None
    assert part.parted.tolist() == [0.0, 0.0]
    assert (part.n_asked, part.classes.tolist()) == (0, [1, 0])


def test_what_is_taught_again_and_again_is_learnt_and_no_further() -> None:
    pair = Pair()
    teach(pair, 40, lesson())
    odds = np.log(0.2 / 0.8) + pair.parted(KEYS, np.array([1]))[0]
    assert 0.7 < 1.0 / (1.0 + np.exp(-odds)) < 1.0
    assert pair.parted(KEYS, np.array([0]))[0] < 0.0


def test_one_contribution_moves_it_by_less_than_an_honest_word_may() -> None:
    assert 0.0 < teach(Pair(), 1, lesson(1, 0.98, 0.02)) < 2.0 * MOST_SHIFT


def test_what_the_trusted_set_knows_is_learnt_more_slowly() -> None:
    pair, told = Pair(), lesson()
    known = np.where(np.arange(8) < 4, 0, 500)
    for _ in range(20):
        part = pair.read(KEYS, known, told)
        assert part is not None
        pair.learn(part, told, WORDS, KINDS)
    new, old = pair.parted(KEYS[:4], np.array([1]))[0], pair.parted(KEYS[4:], np.array([1]))[0]
    assert new > 5.0 * old > 0.0


def test_a_near_copy_counts_for_its_part() -> None:
    told, whole, half = lesson(), Pair(), Pair()
    for pair, nth in ((whole, 1), (half, 2)):
        part = pair.read(KEYS, NEW, told)
        assert part is not None
        pair.learn(part, told, WORDS, KINDS, nth)
    assert half.parted(KEYS, np.array([1]))[0] == pytest.approx(whole.parted(KEYS, np.array([1]))[0] / 2, rel=1e-5)


def test_many_texts_are_read_at_once_as_each_is_by_itself() -> None:
    pair = Pair()
    teach(pair, 20, lesson(), KEYS[:3])
    teach(pair, 10, lesson(2), KEYS[2:6])
    ends, classes = np.array([2, 2, 6, 8]), np.array([[1, 2, -1], [1, 0, 2], [2, -1, 1], [0, 1, 2]])
    wanted = np.zeros(classes.shape)
    for row, (begin, end) in enumerate(zip([0, *ends], ends, strict=False)):
        there = classes[row] >= 0
        wanted[row, there] = pair.parted(KEYS[begin:end], classes[row, there])
    found = pair.parted_of(KEYS, ends, classes)
    assert np.abs(wanted).max() > 0.5
    assert found == pytest.approx(wanted, abs=1e-6)
    sums = np.empty(classes.shape)
    regression.read_texts(np.ones((16, 2), dtype=np.float32), KEYS, ends, classes, np.uint64(60), sums)
    assert np.array_equal(sums, [[2.0, 2.0, 0.0], [0.0, 0.0, 0.0], [4.0, 0.0, 4.0], [2.0, 2.0, 2.0]])


def test_what_is_taken_back_is_unlearnt() -> None:
    pair = Pair()
    moved = [teach(pair, 1, lesson()) for _ in range(20)]
    before = pair.parted(KEYS, np.array([1]))[0]
    assert pair.loudest(1)
    for each in moved:
        pair.unlearn(KEYS, 1, each)
    assert abs(pair.parted(KEYS, np.array([1]))[0]) < 0.05 * before
    assert pair.loudest(1) == []


def test_a_preference_and_a_text_teach_it_nothing() -> None:
    assert Pair().read(KEYS, NEW, Lesson("an answer", -1, 1.0, None, comparable=False)) is None


def test_which_classes_are_asked_about_does_not_depend_on_what_is_taught() -> None:
    """Otherwise the test of where the pair parts would count more of what speaks for it."""
    pair = Pair()
    teach(pair, 30, lesson(2), KEYS[:2])
    asked = []
    for which in range(3):
        part = pair.read(KEYS, NEW, lesson(which))
        assert part is not None
        asked.append(part.classes[: part.n_asked].tolist())
    assert asked == [[2], [2], [2]]


def test_names_are_bounded_and_the_loudest_stay() -> None:
    pair, loud = Pair(), KEYS[:1]
    teach(pair, 60, lesson(), loud)
    for n in range(2 * MAX_NAMED):
        teach(pair, 8, lesson(), np.array([n * 977 + 5], dtype=np.uint64))
    found = pair.loudest()
    assert len(found) <= MAX_NAMED
    assert found[0][0].key == int(loud[0])
    assert all(weight >= NAMED for _, weight, _ in found)


def test_the_same_lessons_give_the_same_learner() -> None:
    one, other = Pair(), Pair()
    for pair in (one, other):
        teach(pair, 15, lesson())
        teach(pair, 5, lesson(2), KEYS[:3])
    assert one.loudest() == other.loudest()


def test_small_weights_are_forgotten_in_time_and_large_ones_fade(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of any size is full one day; new phrases must find as much room as the first."""
    monkeypatch.setattr("feedback_guard.evidence.learners.FADES", 60)
    pair, fresh = Pair(), Pair()
    teach(pair, 1, lesson(), KEYS[2:3])
    teach(pair, 58, lesson(), KEYS[:2])
    before = pair.parted(KEYS[:2], np.array([1]))[0]
    teach(pair, 1, lesson(2), KEYS[3:4])
    assert pair.parted(KEYS[:2], np.array([1]))[0] == pytest.approx(before / 2)
    for each in (pair, fresh):
        teach(each, 1, lesson(), KEYS[2:3])
    assert pair.parted(KEYS[2:3], np.array([1])) == fresh.parted(KEYS[2:3], np.array([1]))


def test_two_phrases_in_one_place_both_have_names() -> None:
    """Or whoever comes first would hide a trigger."""
    pair, classes = Pair(bits=8), np.array([1])
    many = np.random.default_rng(1).integers(1, 2**63, 400).astype(np.uint64)
    places = pair.slots(many, classes)[0]
    shared = many[places == np.bincount(places).argmax()][:2]
    for n in range(2):
        teach(pair, 20, lesson(), shared[n : n + 1])
    assert len(shared) == 2
    assert {named.key for named, _, _ in pair.loudest(1)} == set(shared.tolist())


def test_a_step_is_that_of_logistic_regression_with_a_normal_prior() -> None:
    """Written as the formula: means, spreads and counts of every class that was read, and how far it moved."""
    rng = np.random.default_rng(8)
    weights = np.zeros((64, 2), dtype=np.float32)
    weights[:32] = np.stack([rng.normal(0.0, 0.5, 32), rng.uniform(0.01, 0.3, 32)], axis=1)
    counts, slots = np.zeros(64, dtype=np.int32), np.stack([np.arange(20, 40), np.arange(0, 20)])
    known, chances, parted = rng.integers(0, 9, 20), np.array([0.3, 0.6]), np.array([0.4, -0.2])
    before = weights[slots].copy()
    moved, loudest = regression.learn(weights, counts, slots, before, known, chances, parted, 1, 3, 2.5, 0.15)

    spread = np.where(before[:, :, 1] == 0.0, 1.0 / (2.5 + 0.15 * known), before[:, :, 1])
    p = 1.0 / (1.0 + np.exp(-(np.log(chances / (1.0 - chances)) + parted)))
    gain = spread / (1.0 / (p * (1.0 - p)) + spread.sum(axis=1))[:, None] / 3
    steps = gain * ((np.array([0.0, 1.0]) - p) / (p * (1.0 - p)))[:, None]
    np.testing.assert_allclose(weights[slots, 0], before[:, :, 0] + steps, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(weights[slots, 1], spread * (1.0 - gain), rtol=1e-5)
    assert (moved, loudest) == pytest.approx((steps[1].sum(), weights[slots, 0].max()))
    assert counts.tolist() == [1] * 20 + [0] * 44
