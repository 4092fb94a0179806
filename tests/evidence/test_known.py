"""Which known facets a contribution has, asked by their numbers all at once: the same as asking for each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback_guard.contribution import Kind
from feedback_guard.evidence.facets import SALTS, Facets
from feedback_guard.evidence.kinds.gather import Gathered
from feedback_guard.evidence.known import Facet, Known

NUMBERS = st.integers(0, 3)
KINDS = st.sampled_from(["word", "pair", "region", "sender"])


def facets_of(senders: list[int], phrases: list[tuple[int, str]], shared: list[tuple[int, str]]) -> Facets:
    numbers = np.array([number for number, _ in shared], dtype=np.uint64)
    kinds = tuple(kind for _, kind in shared)
    return Facets(
        tuple((number, "contributor") for number in senders),
        np.array([number for number, _ in phrases], dtype=np.uint64),
        ("",) * len(phrases),
        tuple(kind for _, kind in phrases),
        Gathered(numbers, np.zeros(len(shared), np.int64), kinds, ("",) * len(shared)),
        keys=tuple(number for number, _ in (*phrases, *shared)),
    )


def slowly(known: Known[int], facets: Facets) -> list[Facet]:
    own = [("sender", number ^ salt) for number, _ in facets.senders for salt in SALTS.values()]
    own += zip((*facets.kinds, *facets.shared.kinds), facets.keys, strict=True)
    return [facet for facet in own if facet in known]


@given(
    st.lists(st.tuples(st.booleans(), KINDS, NUMBERS, st.sampled_from([0, SALTS[Kind.RATING]]))),
    st.lists(NUMBERS, max_size=2),
    st.lists(st.tuples(NUMBERS, KINDS), max_size=5),
    st.lists(st.tuples(NUMBERS, KINDS), max_size=3),
)
def test_what_a_contribution_has_is_found(
    steps: list[tuple[bool, str, int, int]],
    senders: list[int],
    phrases: list[tuple[int, str]],
    shared: list[tuple[int, str]],
) -> None:
    """However facets came and went."""
    known, plain = Known[int](), dict[Facet, int]()
    for step, (comes, kind, number, salt) in enumerate(steps):
        facet = kind, number ^ salt
        if comes:
            known[facet] = plain[facet] = step
        else:
            assert known.pop(facet, None) == plain.pop(facet, None)
    assert dict(known) == plain
    facets = facets_of(senders, phrases, shared)
    assert known.of(facets) == slowly(known, facets)
    known.clear()
    assert known.of(facets) == []


def test_two_kinds_that_meet_in_one_number_go_one_by_one() -> None:
    known, facets = Known[str](), facets_of([], [(7, "pair")], [])
    known["word", 7] = known["pair", 7] = "both"
    assert known.pop(("word", 7)) == "both"
    assert known.of(facets) == [("pair", 7)]
    known["pair", 7] = "again"
    assert known.pop(("pair", 7)) == "again"
    assert known.of(facets) == []
    assert not known._keys


def test_a_sender_is_known_in_every_kind_of_contributions() -> None:
    known = Known[str]()
    known["sender", 5 ^ SALTS[Kind.RATING]] = "liar"
    assert known.of(facets_of([5], [(7, "word")], [])) == [("sender", 5 ^ SALTS[Kind.RATING])]


def test_what_is_not_known_is_no_key() -> None:
    with pytest.raises(KeyError):
        Known[int]().pop(("word", 1))
