"""Each way to adapt does adapt: against a judge with a rule that is known."""

from __future__ import annotations

import itertools
import random

import pytest

from feedback_guard.errors import UsageError
from feedback_guard.redteam.covers import HonestWork, Turns
from feedback_guard.redteam.doses import Bisect
from feedback_guard.redteam.paces import Ramp, Steady
from feedback_guard.redteam.registry import ATTACKS, make_attacker
from feedback_guard.redteam.wordings import N_PARTS, Paraphrase, Phrase, Split, new_words


@pytest.mark.parametrize("boundary", [0.0, 0.2, 0.55, 0.9])
def test_the_boundary_is_found_and_kept_to(boundary: float) -> None:
    dose, shares = Bisect(), list[float]()
    for _ in range(60):
        shares.append(dose.share())
        dose.told(dose.share() >= boundary)
    late = shares[20:]
    assert abs(sum(late) / len(late) - boundary) <= 0.12
    assert sum(share >= boundary for share in late) >= 0.6 * len(late)


def test_the_boundary_is_followed_when_it_moves() -> None:
    dose = Bisect()
    for _ in range(30):
        dose.told(dose.share() >= 0.2)
    accepted = 0
    for n in range(60):
        ok = dose.share() >= 0.6
        accepted += ok and n >= 20
        dose.told(ok)
    assert accepted >= 25


def test_what_is_refused_is_replaced_and_what_works_is_asked() -> None:
    rng, split = random.Random(0), Split(3)
    first = {part for _ in range(40) for part in split.write(rng, "a b c").parts}
    assert len(first) == N_PARTS
    bad = sorted(first)[:2]
    for _ in range(60):
        written = split.write(rng, "a b c")
        split.told(written, not set(bad) & set(written.parts))
    now = {part for _ in range(40) for part in split.write(rng, "a b c").parts}
    assert not set(bad) & now
    assert len(now) == N_PARTS
    assert set(split.ask(rng, "a b c").split()) - {"a", "b", "c"} <= (first | now) - set(bad)


def test_there_is_always_another_new_word() -> None:
    made = list(itertools.islice(new_words(random.Random(0)), 40_000))  # more than there are of three syllables
    assert len(set(made)) == len(made)


def test_paraphrases_are_many_and_the_refused_ones_become_rare() -> None:
    rng, paraphrase = random.Random(0), Paraphrase()
    assert len({paraphrase.write(rng, "x").text for _ in range(500)}) > 200
    for _ in range(200):
        written = paraphrase.write(rng, "x")
        paraphrase.told(written, "agreed" not in written.parts)
    assert sum("agreed" in paraphrase.write(rng, "x").text for _ in range(200)) <= 4


def test_a_ramp_begins_slowly_and_slows_down_when_refused() -> None:
    ramp = Ramp()
    slow = ramp.rate(1.0)
    for _ in range(2_000):
        fast = ramp.rate(1.0)
    for _ in range(20):
        ramp.told(False)
    assert slow < 0.2
    assert fast == 5.0
    assert ramp.rate(1.0) < slow
    assert Steady().rate(1.0) == 1.0


def test_refused_accounts_rest_and_honest_work_grows() -> None:
    rng, cover = random.Random(0), HonestWork(4)
    before = cover.owed(0)
    for _ in range(5):
        cover.told(0, False)
    assert cover.owed(1) > before
    assert {cover.account(rng) for _ in range(50)} == {1, 2, 3}
    turns = Turns(2)
    assert [turns.account(rng) for _ in range(4)] == [0, 1, 0, 1]


def test_every_attack_can_be_made_and_an_unknown_one_is_named() -> None:
    assert [make_attacker(name, accounts=3, seed=0).name for name in ATTACKS] == list(ATTACKS)
    with pytest.raises(UsageError, match="no attack 'magic'; there are plain, split"):
        make_attacker("magic", accounts=3, seed=0)


def test_a_phrase_stands_whole_in_every_text() -> None:
    rng = random.Random(0)
    assert all("per priority desk" in Phrase().write(rng, "one two three").text for _ in range(20))
