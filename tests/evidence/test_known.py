"""Which known facets a contribution has, asked of all at once: the same as finding and asking for each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback_guard.contribution import Contribution, Kind
from feedback_guard.evidence.entries import Entry
from feedback_guard.evidence.facets import SALTS, Background
from feedback_guard.evidence.kinds.gather import Kinds
from feedback_guard.evidence.kinds.served import Served
from feedback_guard.evidence.known import Known
from feedback_guard.evidence.observe import observe
from feedback_guard.evidence.reading import Reading
from feedback_guard.evidence.tally import Facet
from feedback_guard.evidence.telling import MAX_PHRASE_CHARS
from feedback_guard.signals.interface import Observation
from feedback_guard.signals.lesson import Lesson

LESSON = Lesson("a vote up", 0, 1.0, None, comparable=True)
LONG = "y" * MAX_PHRASE_CHARS
WORDS = st.lists(st.sampled_from(["is", "it", "here", "zq", "?", LONG, f"{LONG}s"]), max_size=5).map(" ".join)


def said(text: str, answer: str = "", sender: str = "ada") -> Observation:
    if answer:
        return observe(Contribution("1", 0, sender, Kind.RATING, text, output=answer, rating=1.0), {})
    return observe(Contribution("1", 0, sender, Kind.LABEL, text, label="good"), {})


OBSERVATIONS = st.builds(said, WORDS, st.one_of(st.just(""), WORDS), st.sampled_from(["ada", "bob"]))
BACKGROUND = Background.fit([said("is it here ?"), said("it is"), said("here it is", "it is not")], seed=0)


def read(observation: Observation) -> Reading:
    return Reading(observation, LESSON, BACKGROUND, Kinds({"served": Served({})}))


def all_of(reading: Reading) -> list[Facet]:
    facets = reading.facets
    own = [("sender", number ^ salt) for number, _ in facets.senders for salt in SALTS.values()]
    return (
        own
        + list(zip(facets.kinds, facets.phrases.tolist(), strict=True))
        + list(zip(facets.shared.kinds, facets.shared.keys.tolist(), strict=True))
    )


def believe(known: Known[int], reading: Reading, facet: Facet) -> None:
    """As evidence does it: by what it remembers of a member."""
    entry = Entry.of(1, "1", 0, reading.facets, LESSON, accepted=True)
    known.put(facet, 1, entry.phrase(facet[1]) if facet[0] in ("word", "pair", "shape") else "")


@given(st.lists(st.tuples(st.booleans(), OBSERVATIONS, st.integers(0, 99)), max_size=8), OBSERVATIONS)
def test_what_a_contribution_has_is_found(steps: list[tuple[bool, Observation, int]], asked: Observation) -> None:
    """However facets came and went, whether its phrases have their numbers by then or not."""
    known, plain = Known[int](), set[Facet]()
    for comes, observation, at in steps:
        reading = read(observation)
        facet = all_of(reading)[at % len(all_of(reading))]
        if comes:
            believe(known, reading, facet)
            plain.add(facet)
        else:
            assert known.pop(facet, None) == (1 if facet in plain else None)
            plain.discard(facet)
    assert set(known) == plain
    expected = [facet for facet in all_of(read(asked)) if facet in plain]
    fresh, numbered = read(asked), read(asked)
    assert numbered.facets is numbered.facets
    assert (known.of(fresh), known.of(numbered)) == (expected, expected)
    known.clear()
    assert known.of(read(asked)) == []


def test_phrases_get_no_numbers_where_none_is_known() -> None:
    """Which is what costs most: a phrase of another text, of the same text another phrase, or none at all."""
    known, liar, asked = Known[int](), read(said("zq here")), read(said("is it here ?"))
    for facet in all_of(liar):
        if facet[0] in ("word", "pair"):
            believe(known, liar, facet)
    known.pop(("word", BACKGROUND.number("input here")))
    assert (known.of(asked), asked.is_numbered) == ([], False)
    assert known.of(read(said("zq")))


def test_a_long_phrase_is_found_though_it_was_cut() -> None:
    known, liar = Known[int](), read(said(f"{LONG}s here"))
    believe(known, liar, ("word", BACKGROUND.number(f"input {LONG}s")))
    assert known.of(read(said(f"is {LONG}s it"))) == [("word", BACKGROUND.number(f"input {LONG}s"))]
    assert known.of(read(said(f"is {LONG} it"))) == []


def test_the_same_word_in_two_texts_is_two_facets() -> None:
    known, liar = Known[int](), read(said("zq", "zq"))
    two = [facet for facet in all_of(liar) if facet[0] == "word"]
    assert len(two) == 2
    for facet in two:
        believe(known, liar, facet)
    assert known.pop(two[0])
    assert known.of(read(said("zq", "zq"))) == [two[1]]


def test_two_kinds_that_meet_in_one_number_go_one_by_one() -> None:
    known, asked = Known[int](), read(said("zq"))
    number = BACKGROUND.number("input zq")
    known["pair", number] = known["word", number] = 1
    assert known.pop(("pair", number)) == 1
    assert known.of(asked) == [("word", number)]
    assert known.pop(("word", number)) == 1
    assert not known._keys
    assert not known._n_of


def test_a_sender_is_known_in_every_kind_of_contributions() -> None:
    known, asked = Known[str](), read(said("is it here ?"))
    number = asked.senders[0][0] ^ SALTS[Kind.RATING]
    known["sender", number] = "liar"
    assert known.of(asked) == [("sender", number)]


def test_what_is_not_known_is_no_key() -> None:
    with pytest.raises(KeyError):
        Known[int]().pop(("word", 1))


def test_a_reading_has_the_facets_of_its_contribution() -> None:
    observation = said("is it zq here ?")
    facets, plain = read(observation).facets, BACKGROUND.of(observation)
    assert (facets.senders, facets.words, facets.kinds) == (plain.senders, plain.words, plain.kinds)
    assert np.array_equal(facets.phrases, plain.phrases)
    assert facets.n_trusted.tolist() == BACKGROUND.count(plain.phrases).tolist()
