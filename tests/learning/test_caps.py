"""Share caps against brute force: exact, the largest possible, whatever the order, and empty when they must be."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback_guard.learning import caps as module
from feedback_guard.learning.caps import Cap, Cell, cap_weights, split, water_fill
from feedback_guard.policy.snapshot import ShareCap

FACETS = ["contributor", "group:network", "group:tenant"]
shares = st.fractions(min_value=Fraction(1, 9), max_value=1, max_denominator=9)
weights = st.integers(0, 40)
CELLS: st.SearchStrategy[Cell] = st.tuples(
    st.sampled_from([f"={name}" for name in "abcdefgh"]),
    st.sampled_from(["", "=n1", "=n2", "=n3"]),
    st.sampled_from(["", "=t1", "=t2"]),
)


@st.composite
def snapshots(draw: st.DrawFn) -> tuple[dict[Cell, int], list[Cap]]:
    """Cells of up to eight contributors in up to three networks and two tenants, and caps on some of them."""
    cells: dict[Cell, int] = draw(
        st.dictionaries(
            CELLS,
            weights,
            max_size=14,
        )
    )
    caps = [
        Cap(facet, draw(st.none() | shares), draw(st.none() | st.integers(1, 60)))
        for facet in draw(st.permutations(FACETS))[: draw(st.integers(1, 3))]
    ]
    return cells, caps


def totals(cells: Mapping[Cell, int], place: int) -> dict[str, int]:
    out: dict[str, int] = {}
    for cell, weight in cells.items():
        if cell[place]:
            out[cell[place]] = out.get(cell[place], 0) + weight
    return out


def broken(cells: Mapping[Cell, int], caps: Sequence[Cap]) -> list[str]:
    """Every cap that does not hold, by the definition, in exact fractions."""
    whole, out = sum(cells.values()), []
    for cap in caps:
        for name, weight in totals(cells, FACETS.index(cap.facet)).items():
            if cap.share is not None and Fraction(weight) > cap.share * whole:
                out.append(f"{cap.facet} {name}: {weight} of {whole} is more than {cap.share}")
            if cap.weight_micro is not None and weight > cap.weight_micro:
                out.append(f"{cap.facet} {name}: {weight} is more than {cap.weight_micro}")
    return out


def largest(have: Sequence[int], share: Fraction, most: int) -> int:
    """The largest whole of which nobody has more than the share: every whole is tried."""
    for whole in range(sum(have), -1, -1):
        # Everybody can have anything up to what she has, so a whole can be made exactly if it is not too much.
        room = sum(min(weight, most, whole * share.numerator // share.denominator) for weight in have)
        if room >= whole:
            return whole
    raise AssertionError("nothing at all always holds")


@given(snapshots())
@settings(max_examples=400, deadline=None)
def test_all_caps_hold_exactly_and_nobody_gains(drawn: tuple[dict[Cell, int], list[Cap]]) -> None:
    cells, caps = drawn
    after = cap_weights(cells, FACETS, caps)
    assert broken(after, caps) == []
    assert after.keys() == cells.keys()
    assert all(0 <= after[cell] <= weight for cell, weight in cells.items())


@given(snapshots(), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_order_does_not_matter_and_a_second_time_changes_nothing(
    drawn: tuple[dict[Cell, int], list[Cap]], rng: random.Random
) -> None:
    cells, caps = drawn
    after = cap_weights(cells, FACETS, caps)
    shuffled = list(cells.items())
    rng.shuffle(shuffled)
    assert cap_weights(dict(shuffled), FACETS, rng.sample(caps, len(caps))) == after
    assert cap_weights(after, FACETS, caps) == after


@given(st.lists(weights, max_size=7), shares, st.integers(1, 60))
@settings(max_examples=300, deadline=None)
def test_of_one_facet_as_much_is_kept_as_can_be(have: list[int], share: Fraction, most: int) -> None:
    cells: dict[Cell, int] = {(f"={number}",): weight for number, weight in enumerate(have)}
    after = cap_weights(cells, ["contributor"], [Cap("contributor", share, most)])
    assert sum(after.values()) == largest(have, share, most)


@given(snapshots())
@settings(max_examples=200, deadline=None)
def test_what_fits_is_left_alone(drawn: tuple[dict[Cell, int], list[Cap]]) -> None:
    cells, caps = drawn
    if not broken(cells, caps):
        assert cap_weights(cells, FACETS, caps) == cells


@pytest.mark.parametrize("needed", [1, 2, 3, 7, 50, 100])
def test_one_too_few_is_nothing_and_just_enough_is_everything(needed: int) -> None:
    cap = Cap("contributor", Fraction(1, needed))
    assert cap.needed == needed
    cells: dict[Cell, int] = {(f"={number}",): 1_000_000 + number % 2 for number in range(needed)}
    few: dict[Cell, int] = dict(itertools.islice(cells.items(), needed - 1))
    assert sum(cap_weights(few, ["contributor"], [cap]).values()) == 0
    enough = cap_weights(cells, ["contributor"], [cap])
    assert set(enough.values()) == {min(cells.values())}


def test_a_third_as_people_write_it_needs_four() -> None:
    # 0.333 is less than a third: three contributors with 0.333 each are not the whole.
    cap = Cap.of(ShareCap(facet="contributor", max_share=0.333))
    assert (cap.share, cap.needed) == (Fraction(333, 1000), 4)
    three: dict[Cell, int] = {("=a",): 5, ("=b",): 5, ("=c",): 5}
    assert set(cap_weights(three, ["contributor"], [cap]).values()) == {0}


def test_a_hundredth_is_a_hundredth_not_the_nearest_float() -> None:
    cap = Cap.of(ShareCap(facet="contributor", max_share=0.01))
    assert Fraction(0.01) > Fraction(1, 100)  # the float would allow a little more
    assert cap.at(100 * 10**15) == 10**15


def test_many_accounts_behind_one_network_have_what_the_network_has() -> None:
    caps = [Cap("contributor", Fraction(1, 20)), Cap("group:network", Fraction(1, 10))]
    honest: dict[Cell, int] = {(f"=h{number}", f"=net{number}"): 10_000 for number in range(40)}
    for n in (1, 10, 1_000):
        hostile: dict[Cell, int] = {(f"=x{number}", "=crew"): 10_000 for number in range(n)}
        after = cap_weights({**honest, **hostile}, FACETS[:2], caps)
        crew = sum(after[cell] for cell in hostile)
        assert Fraction(crew) <= Fraction(sum(after.values()), 10)
        assert all(after[cell] == 10_000 for cell in honest)


def test_inside_a_capped_network_the_small_are_not_pushed_out_by_the_large() -> None:
    cap = Cap("group:network", None, 100)
    cells: dict[Cell, int] = {("=honest", "=n"): 10, **{(f"=x{number}", "=n"): 1_000 for number in range(5)}}
    after = cap_weights(cells, FACETS[:2], [cap])
    assert after["=honest", "=n"] == 10
    assert {after[f"=x{number}", "=n"] for number in range(5)} == {18}


@given(st.lists(weights, max_size=8), st.integers(0, 200))
def test_water_filling_gives_exactly_what_there_is_at_one_level(have: list[int], most: int) -> None:
    given_ = water_fill(have, most)
    assert sum(given_) == min(sum(have), most)
    assert all(part <= weight for part, weight in zip(given_, have, strict=True))
    cut = [part for part, weight in zip(given_, have, strict=True) if part < weight]
    if cut:
        # Whoever lost anything has as much as anybody, but for the one unit that cannot be divided.
        assert max(given_) - min(cut) <= 1


@given(st.lists(weights, min_size=1, max_size=8), st.data())
def test_splitting_loses_nothing_and_no_part_grows(parts: list[int], data: st.DataObject) -> None:
    amount = data.draw(st.integers(0, sum(parts)))
    got = split(amount, parts)
    assert sum(got) == amount
    assert all(0 <= part <= before for part, before in zip(got, parts, strict=True))


def test_steps_are_few_even_for_heavy_tails(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, steps = random.Random(4), 0
    once = module._Arithmetic.once

    def counted(self: module._Arithmetic, total: int) -> list[int]:
        nonlocal steps
        steps += 1
        return once(self, total)

    monkeypatch.setattr(module._Arithmetic, "once", counted)
    cells: dict[Cell, int] = {(f"={number}",): int(1_000_000 * rng.paretovariate(0.5)) for number in range(51)}
    cap_weights(cells, ["contributor"], [Cap("contributor", Fraction(1, 50))])
    assert steps <= 60  # one by one, each takes two hundredths off the rest of the way


def wrong(rng: random.Random) -> str | None:
    """Cap a snapshot that was made up, and say what the definition finds wrong with the result."""
    cells: dict[Cell, int] = {
        (f"={name}", rng.choice(["", "=n1", "=n2", "=n3"])): rng.randrange(41)
        for name in "abcdefgh"[: rng.randint(1, 8)]
    }
    share, most = Fraction(rng.randint(1, 4), rng.randint(4, 9)), rng.choice([None, rng.randint(1, 60)])
    after = module.cap_weights(cells, FACETS[:2], [Cap("contributor", share, most)])
    if sum(after.values()) != largest(list(totals(cells, 0).values()), share, most or 10**9):
        return "more, or less, is kept than can be"
    caps = [Cap("contributor", share, most), Cap("group:network", Fraction(1, rng.randint(1, 3)))]
    return next(iter(broken(module.cap_weights(cells, FACETS[:2], caps), caps)), None)


def a_micro_unit_too_many(patch: pytest.MonkeyPatch) -> None:
    right = Cap.at
    patch.setattr(Cap, "at", lambda cap, total: None if (most := right(cap, total)) is None else most + 1)


def a_share_of_what_was_sent(patch: pytest.MonkeyPatch) -> None:
    """Of the whole before anything is taken away, not of what is left."""

    def once(cells: Mapping[Cell, int], facets: Sequence[str], caps: Sequence[Cap]) -> dict[Cell, int]:
        sums = module._Arithmetic(cells, facets, module.in_order(caps))
        return dict(zip(sums.names, sums.once(sum(sums.before)), strict=True))

    patch.setattr(module, "cap_weights", once)


def in_floats(patch: pytest.MonkeyPatch) -> None:
    def at(cap: Cap, total: int) -> int | None:
        shared = None if cap.share is None else round(total * float(cap.share))
        bounds = [bound for bound in (shared, cap.weight_micro) if bound is not None]
        return min(bounds) if bounds else None

    patch.setattr(Cap, "at", at)


def contributors_alone(patch: pytest.MonkeyPatch) -> None:
    """The last cap is forgotten."""
    right = module.in_order
    patch.setattr(module, "in_order", lambda caps: right(caps)[:1])


def jumps_too_far(patch: pytest.MonkeyPatch) -> None:
    right = module._Arithmetic.ceiling
    patch.setattr(module._Arithmetic, "ceiling", lambda sums, total: right(sums, total) - 1)


WRONG = (a_micro_unit_too_many, a_share_of_what_was_sent, in_floats, contributors_alone, jumps_too_far)


def test_the_oracle_finds_nothing_wrong() -> None:
    rng = random.Random(2)
    assert [wrong(rng) for _ in range(300)] == [None] * 300


@pytest.mark.parametrize("bug", WRONG)
def test_the_oracle_finds(bug: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)
    rng = random.Random(2)
    assert any(wrong(rng) for _ in range(300))
