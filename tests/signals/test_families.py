"""The index of families: bounded, an account counts once, and whatever it forgets it forgets in order."""

from __future__ import annotations

import random

import numpy as np
import pytest

from feedback_guard.errors import BaselineError
from feedback_guard.signals.families import ACCOUNT_SHARE, ALIKE, MAX_COMPARED, WAYS, FamilyIndex
from feedback_guard.signals.hashing import displace, place, similarity
from feedback_guard.signals.sketch import BANDS, Sketch, Sketcher

SKETCHER = Sketcher(b"a key for tests, kept nowhere")


def text(seed: float, n_words: int = 9) -> str:
    rng = random.Random(seed)
    return " ".join("".join(rng.choices("abcdefghijklm", k=rng.randint(3, 8))) for _ in range(n_words))


def sketch(seed: int) -> Sketch:
    return SKETCHER.sketch(text(seed))


def accounts(index: FamilyIndex, of: Sketch) -> set[int]:
    return {account for family in index.near(of) for account in family.members}


def test_accounts_of_a_family_are_found() -> None:
    index = FamilyIndex(SKETCHER, 100)
    for account in range(5):
        index.add(SKETCHER.sketch(f"{text(1)} {account}"), account)
    index.add(sketch(2), 77)
    assert accounts(index, sketch(1)) == {0, 1, 2, 3, 4}
    assert accounts(index, sketch(2)) == {77}
    assert accounts(index, sketch(3)) == set()


def test_an_account_counts_once_however_often_it_repeats() -> None:
    index = FamilyIndex(SKETCHER, 1_000)
    for _ in range(500):
        index.add(sketch(1), 7)
    assert accounts(index, sketch(1)) == {7}
    assert index.n_seen == 1, "repetitions do not move the window"


def test_a_text_between_families_is_near_to_all_of_them() -> None:
    """Each leader has another quarter of the text replaced, so they are alike to it and not to each other."""
    words = text(1, n_words=24).split()
    leaders = []
    for quarter in range(4):
        other = text(100 + quarter, n_words=6).split()
        leaders.append(SKETCHER.sketch(" ".join(words[: 6 * quarter] + other + words[6 * quarter + 6 :])))
    assert all(similarity(a.hashes, b.hashes) < ALIKE for n, a in enumerate(leaders) for b in leaders[:n])
    index = FamilyIndex(SKETCHER, 100)
    for account, leader in enumerate(leaders):
        index.add(leader, account)
    assert accounts(index, SKETCHER.sketch(" ".join(words))) == {0, 1, 2, 3}


def test_the_window_forgets_the_oldest_first() -> None:
    index = FamilyIndex(SKETCHER, 50)
    for seed in range(80):
        index.add(sketch(seed), seed)
    assert [accounts(index, sketch(seed)) for seed in (0, 29)] == [set(), set()]
    assert [accounts(index, sketch(seed)) for seed in (30, 79)] == [{30}, {79}]


def test_one_account_cannot_push_the_others_out() -> None:
    index = FamilyIndex(SKETCHER, 500)
    for seed in range(100):
        index.add(sketch(seed), seed)
    for seed in range(1_000, 3_000):
        index.add(sketch(seed), 666)
    assert accounts(index, sketch(0)) == {0}
    remembered = sum(accounts(index, sketch(seed)) == {666} for seed in range(1_000, 3_000))
    assert remembered == 500 // ACCOUNT_SHARE


def test_a_family_that_grows_without_end_stays_bounded() -> None:
    index = FamilyIndex(SKETCHER, 1_000, max_members=30)
    for account in range(200):
        index.add(sketch(1), account)
    assert accounts(index, sketch(1)) == set(range(170, 200))


def test_a_full_bucket_keeps_answering() -> None:
    """More leaders than a bucket holds: neighbours that are less than half alike, all with the same beginning."""
    index = FamilyIndex(SKETCHER, 400)
    beginning = text(1, 4)
    sketches = [SKETCHER.sketch(f"{beginning} {text(seed, 6)}") for seed in range(300)]
    for account, one in enumerate(sketches):
        index.add(one, account)
    assert int((index._table > 0).sum(axis=1).max()) == WAYS
    found = sum(account in accounts(index, one) for account, one in enumerate(sketches))
    assert found >= 290


def test_a_leader_takes_a_vacant_place_before_that_of_another() -> None:
    table, bands = np.zeros((BANDS * 4, WAYS), dtype=np.int32), np.full(BANDS, 6, dtype=np.uint32)
    leaders = [WAYS * n for n in range(WAYS)]  # where there is none, all of them would have the first
    for ident in leaders:
        place(table, bands, ident)
    rows = np.arange(BANDS) * 4 + 2
    assert table[rows].tolist() == [[ident + 1 for ident in leaders]] * BANDS
    place(table, bands, 5 + WAYS * WAYS)
    leaders[5] = 5 + WAYS * WAYS
    assert table[rows].tolist() == [[ident + 1 for ident in leaders]] * BANDS
    displace(table, bands, leaders[3])
    place(table, bands, 1)
    leaders[3] = 1
    assert table[rows].tolist() == [[ident + 1 for ident in leaders]] * BANDS
    assert np.count_nonzero(table) == BANDS * WAYS


def test_leaders_are_found_as_brute_force_finds_them() -> None:
    rng = random.Random(8)
    index = FamilyIndex(SKETCHER, 2_000)
    leaders = [sketch(seed) for seed in range(300)]
    for account, leader in enumerate(leaders):
        index.add(leader, account)
    missed = wanted = 0
    for account in range(300):
        varied = " ".join(word if rng.random() < 0.85 else "something" for word in text(account).split())
        probe = SKETCHER.sketch(varied)
        for number, leader in enumerate(leaders):
            if similarity(probe.hashes, leader.hashes) >= ALIKE:
                wanted += 1
                missed += number not in accounts(index, probe)
    assert wanted > 150
    assert missed <= 0.06 * wanted


def test_those_that_agree_in_most_bands_are_compared_and_the_most_alike_come_first() -> None:
    """Word for word as it is said; a leader that was pushed out of a bucket does not agree in that band."""
    index, rng = FamilyIndex(SKETCHER, 2_000), random.Random(9)
    beginning = text(1, 6)
    sketches = [SKETCHER.sketch(f"{beginning} {text(seed, 5)}") for seed in range(60)]
    for account, one in enumerate(sketches):
        index.add(one, account)
    leaders, slots = sorted(index._members), len(index._table) // BANDS
    n_left_out = n_found = 0
    for _ in range(200):
        probe = SKETCHER.sketch(f"{beginning} {text(rng.randrange(60), rng.randint(1, 5))} {text(rng.random(), 1)}")
        buckets = index._table[np.arange(BANDS) * slots + probe.bands % slots]
        votes = {
            ident: int(((index._keys[ident] == probe.bands) & (buckets == ident + 1).any(axis=1)).sum())
            for ident in leaders
        }
        agree = sorted((ident for ident in leaders if votes[ident]), key=lambda ident: (-votes[ident], ident))
        n_left_out += len(agree) > MAX_COMPARED
        like = {
            ident: similarity(probe.hashes, index._leaders[ident, : index._lengths[ident]])
            for ident in agree[:MAX_COMPARED]
        }
        wanted = sorted((ident for ident in like if like[ident] >= ALIKE), key=lambda ident: (-like[ident], ident))
        found = index.near(probe)
        assert [(family.ident, family.likeness) for family in found] == [(ident, like[ident]) for ident in wanted]
        n_found += len(found) > 1
    assert min(n_left_out, n_found) > 50


@pytest.mark.parametrize("n", [0, 1, 40, 400])
def test_a_restored_index_goes_on_as_the_original(n: int) -> None:
    rng = random.Random(n)
    index = FamilyIndex(SKETCHER, 120, max_members=5)
    for _ in range(n):
        index.add(sketch(rng.randrange(90)), rng.randrange(60))
    restored = FamilyIndex(SKETCHER, 120, max_members=5)
    restored.load(index.arrays())
    for _ in range(300):
        one, account = sketch(rng.randrange(90)), rng.randrange(60)
        assert restored.near(one) == index.near(one)
        index.add(one, account)
        restored.add(one, account)
    one_state, other_state = index.arrays(), restored.arrays()
    assert one_state.keys() == other_state.keys()
    for name, array in one_state.items():
        assert np.array_equal(array, other_state[name]), name


def test_an_index_of_another_size_is_refused() -> None:
    """Compiled code would read beyond its own."""
    index = FamilyIndex(SKETCHER, 60)
    for seed in range(60):
        index.add(sketch(seed), seed)
    with pytest.raises(BaselineError, match="another index"):
        FamilyIndex(SKETCHER, 59).load(index.arrays())
    with pytest.raises(BaselineError, match="another index"):
        FamilyIndex(SKETCHER, 60).load({**index.arrays(), "placed": -index.arrays()["placed"].astype(np.int32)})


def test_nothing_grows_beyond_the_window() -> None:
    index = FamilyIndex(SKETCHER, 60)
    for seed in range(2_000):
        index.add(sketch(seed), seed)
    arrays = index.arrays()
    assert len(arrays["entries"]) <= 60
    assert len(arrays["families"]) <= 60
    assert len(index._of_account) <= 60
    assert int(arrays["counters"][1]) <= 60


def test_what_is_asked_again_after_something_was_added_is_looked_up_again() -> None:
    """The same sketch, as whoever judges and then remembers a text has it; a family that came, grew, went."""
    index, one = FamilyIndex(SKETCHER, 40), sketch(1)
    assert accounts(index, one) == set()
    index.add(one, 1)
    assert accounts(index, one) == {1}
    index.add(one, 2)
    assert accounts(index, one) == {1, 2}
    assert index.near(one) is index.near(one), "nothing was added in between"
    for seed in range(100, 150):
        index.add(sketch(seed), seed)
    assert accounts(index, one) == set()
    restored, last = FamilyIndex(SKETCHER, 40), sketch(149)
    assert accounts(restored, last) == set()
    restored.load(index.arrays())
    assert accounts(restored, last) == {149}
