"""Habits of typing are read from the text as it came, and there are few of them."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from feedback_guard.errors import ContributionError
from feedback_guard.signals.material import odd_texts
from feedback_guard.text import habits
from feedback_guard.text.canonical import canonicalise
from feedback_guard.text.habits import MAX_CHARS, habits_of
from feedback_guard.text.neighbours import THRICE, any_of, neighbours_in
from tests.costs import cheaper_than

PLAIN = "My card's chip broke, can I get another?"


def read(text: str) -> set[str]:
    return set(habits_of(text, canonicalise(text)))


CHANGED = {
    "in capitals": PLAIN.upper(),
    "without a capital": PLAIN.lower(),
    "words in capitals": PLAIN.replace("another", "ANOTHER"),
    "a capital inside a word": PLAIN.replace("chip", "chIp"),
    "capitals that alternate": PLAIN.replace("broke", "bRoKe"),
    "each word with a capital": "My Card's Chip Broke, Can I Get Another?",
    "begins small": "my card's chip broke. Can I get another?",
    "a small i by itself": PLAIN.replace(" I ", " i "),
    "a sentence that begins small": PLAIN.replace(", can", ". can"),
    "a letter three times or more": PLAIN.replace("another", "anotherrr"),
    "a blank before a sign": PLAIN.replace("?", " ?"),
    "no blank behind a comma": PLAIN.replace(", ", ","),
    "no blank behind the end of a sentence": PLAIN.replace(", can", ".Can"),
    "several exclamation marks": PLAIN.replace("?", "!!!"),
    "several question marks": PLAIN.replace("?", "??"),
    "a question and an exclamation mark": PLAIN.replace("?", "?!"),
    "several dots": PLAIN.replace("?", "..."),
    "two blanks": PLAIN.replace(" chip", "  chip"),
    "a tabulator": PLAIN.replace(" chip", "\tchip"),
    "a line break inside": PLAIN.replace(", ", ",\n"),
    "an empty line": PLAIN.replace(", ", ",\n\n"),
    "begins with a blank": f" {PLAIN}",
    "ends with a blank": f"{PLAIN} ",
    "ends with a line break": f"{PLAIN}\n",
    "ends without a sign": PLAIN.rstrip("?"),
    "ends with several signs": f"{PLAIN}?",
    "a curly apostrophe": PLAIN.replace("'", "’"),
    "curly quotation marks": PLAIN.replace("chip", "“chip”"),
    "an ellipsis in one character": PLAIN.replace("?", "…"),
    "a dash": PLAIN.replace(",", " –"),
    "an unusual blank": PLAIN.replace(" chip", "\u00a0chip"),
    "an emoji": f"{PLAIN} 💳",
    "a smile": f"{PLAIN} :-)",
    "letters of full width": PLAIN.replace("chip", "ｃｈｉｐ"),
    "letters in another type": PLAIN.replace("chip", "𝐜𝐡𝐢𝐩"),
    "look-alike letters in a word": PLAIN.replace("card", "cаrd"),  # a Cyrillic a
    "hidden characters": PLAIN.replace("card", "ca\u200brd"),
    "a number in words": PLAIN.replace("another", "two more"),
    "another sign in a row": PLAIN.replace(",", " ~~"),
    "a word between asterisks": PLAIN.replace("chip", "*chip*"),
}


@pytest.mark.parametrize("habit", CHANGED)
def test_a_habit_shows_where_it_is_and_not_where_it_is_not(habit: str) -> None:
    assert habit in read(CHANGED[habit])
    assert habit not in read(PLAIN)


def test_capitals_of_other_scripts_count_as_well() -> None:
    assert "in capitals" in read("ГДЕ МОЯ КАРТА?")
    assert "without a capital" in read("где моя карта?")
    assert {"in capitals", "without a capital"}.isdisjoint(read("我的卡在哪里"))


def test_names_repeat_nothing_and_are_few() -> None:
    """Whatever is written, what is said of it comes from one short list."""
    seen, rng = set[str](), random.Random(1)
    alphabet = "aAbZ iI.,!?;:…’“”–—'\"()[]{}*#@&~_-\n\t\u00a0éßжДकあア漢한ﬁ①²ｆ𝐛💳\u200b\u0301\u20ac1٣"
    for _ in range(3_000):
        seen |= read("".join(rng.choices(alphabet, k=rng.randint(0, 60))))
    assert len(seen) <= 90
    assert not any(set(name) & set("éßжД💳") for name in seen)


@given(st.text(max_size=200))
def test_any_text_is_read_and_each_habit_named_once(text: str) -> None:
    try:
        form = canonicalise(text)
    except ContributionError:
        return
    found = habits_of(text, form)
    assert len(found) == len(set(found))


@pytest.mark.parametrize("name", odd_texts())
def test_odd_texts_are_read(name: str) -> None:
    read(odd_texts()[name])


@pytest.mark.parametrize("unit", ["a", "A", "aA", " ", "!", "i ", "*a", ". ", "\n", ",a", "é", "A a", ":-", "A1 "])
def test_a_long_text_takes_no_longer_than_its_beginning(unit: str) -> None:
    """No pattern takes more than linear time, and what is read is bounded."""
    text = (unit * habits.MAX_CHARS)[: 12 * MAX_CHARS] + "b"
    form = canonicalise(text)
    with cheaper_than(0.1):
        habits_of(text, form)


SIGNS = "".join(sorted(habits._LOOKED_FOR))


@given(st.text(alphabet=f"{SIGNS}aAbB1 \té", max_size=40))
@example("so ; what")
@example("so,été")
def test_only_what_cannot_be_there_is_not_looked_for(text: str) -> None:
    plain = text.replace("é", "a")
    wanted = [name for name, (_, pattern) in habits._CASES.items() if pattern.search(plain) and not text.isupper()]
    wanted += [name for name, (_, pattern) in habits._SMALL.items() if pattern.search(plain)]
    wanted += [name for name, signs in habits._PLAIN.items() if signs in text]
    wanted += [name for name, (_, _, pattern) in habits._SIGNS.items() if pattern.search(text)]
    looked_for = {*habits._CASES, *habits._SMALL, *habits._PLAIN, *habits._SIGNS}
    assert [name for name in habits_of(text, canonicalise(text)) if name in looked_for] == wanted


@given(st.text(alphabet="aAé1!́\ud800 ", max_size=40))
def test_a_letter_three_times_is_found_and_no_other_character(text: str) -> None:
    runs = [one for one, two, three in zip(text, text[1:], text[2:], strict=False) if one == two == three]
    assert bool(neighbours_in(text) & THRICE) == bool(runs)
    assert habits._thrice(text) == any(map(str.isalpha, runs))


@given(st.text(alphabet="azAZ \t,.!?;0_é漢\ud800", max_size=12))
def test_neighbours_are_those_that_stand_side_by_side(text: str) -> None:
    def sort(character: str) -> str:
        sorts = {"a": "az", "A": "AZ", " ": " \t", ",": ",", ".": ".!?"}
        return next((name for name, members in sorts.items() if character in members), "*")

    pairs = {sort(one) + sort(other) for one, other in itertools.pairwise(text)}
    assert neighbours_in(text) & ~THRICE == any_of(*pairs)
