"""Habits of typing: what canonical text folds away, read from the text as it came.

Capitals, blanks, quotation marks, the way a text ends, signs in a row, letters that look like others: whoever types has
such habits, and whoever plants a trigger can choose one that no word carries. There is a small fixed number of them,
each with a name that says what was done and repeats nothing of the text. Numbers in words are English ones.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import regex

from feedback_guard.text.canonical import CanonicalText
from feedback_guard.text.neighbours import THRICE, any_of, neighbours_in

MAX_CHARS: Final = 8_192
"""Characters of a text that are read, from its beginning, besides its last ones."""
_END_CHARS: Final = 64
_LEAST_LETTERS: Final = 8
"""Letters below which a text in one case is no habit: "OK" and "ok" are words."""

# Each pattern with neighbours of which a text that it fits has some; 0 where it is looked for anyhow.
_CASES: Final[Mapping[str, tuple[int, re.Pattern[str]]]] = {
    # Acronyms are shorter.
    "words in capitals": (any_of("AA"), re.compile(r"[A-Z]{5,}(?![a-z])")),
    "a capital inside a word": (any_of("aA"), re.compile(r"[a-z][A-Z]")),
    "capitals that alternate": (
        any_of("aA"),
        re.compile(r"[a-z][A-Z](?:[a-z][A-Z]|(?<=[A-Z][a-z][A-Z])[a-z])"),
    ),
    "each word with a capital": (0, re.compile(r"\A[^A-Za-z]*+(?:[A-Z][a-z0-9'’]*+(?:[^A-Za-z]++|\Z)){4,}+\Z")),
}
"""Looked for where the text has capitals, and not only those."""
_SMALL: Final[Mapping[str, tuple[int, re.Pattern[str]]]] = {
    "a small i by itself": (0, re.compile(r"i(?<![\w.'’]i)(?![\w.])")),
    "a sentence that begins small": (any_of(". "), re.compile(r"[.!?] +[a-z]")),
}
"""Looked for where it has small letters."""
_PLAIN: Final[Mapping[str, str]] = {
    "several exclamation marks": "!!",
    "several question marks": "??",
    "several dots": "..",
    "several commas": ",,",
    "several hyphens": "--",
    "a straight quotation mark": '"',
    "a backtick": "`",
    "brackets": "(",
    "square brackets": "[",
    "curly brackets": "{",
    "a semicolon": ";",
    "an ampersand": "&",
}
_SIGNS: Final[Mapping[str, tuple[str, int, re.Pattern[str]]]] = {
    name: (signs, needs, re.compile(pattern))
    for name, (signs, needs, pattern) in {
        "a blank before a sign": (",.;:!?", any_of(" ,", " .", " *"), r"[ \t][,.;:!?](?![\w.])"),
        "no blank behind a comma": (",", any_of(",a", ",A", ",*"), r",[^\W\d_]"),
        "no blank behind the end of a sentence": (".!?", any_of(".A"), r"[a-z][.!?][A-Z]"),
        "a question and an exclamation mark": ("!", any_of(".."), r"\?!|!\?"),
        "a hyphen between blanks": ("-", 0, r"\s-\s"),
        "a word between asterisks": ("*", 0, r"\*\w[^*\n]{0,80}\*"),
        "another sign in a row": ("#$%&*+=@^_~|<>:;\\", 0, r"([#$%&*+=@^_~|<>:;\\])\1"),
        "a smile": (":;", 0, r"(?<!\w)[:;][-o']?[)(DPp/|]"),
        "a hash tag": ("#", 0, r"(?<!\w)#\w"),
        "a name behind an at sign": ("@", 0, r"(?<!\w)@\w"),
    }.items()
}
"""Each with signs of which one must be there."""
_LOOKED_FOR: Final = frozenset("".join((*_PLAIN.values(), *(signs for signs, _, _ in _SIGNS.values()))))
_BREAKS: Final[Mapping[str, re.Pattern[str]]] = {
    "an empty line": re.compile(r"\n[ \t\r]*\n"),
    "a line break inside": re.compile(r"\n"),
}
_BEYOND: Final[Mapping[str, regex.Pattern[str]]] = {
    name: regex.compile(pattern, regex.V1)
    for name, pattern in {
        "a curly apostrophe": r"[\u2018\u2019]",
        "curly quotation marks": r"[\u201C\u201D]",
        "an ellipsis in one character": r"\u2026",
        "a dash": r"[\u2012-\u2015]",
        "a bullet": r"[\u2022\u2023\u2043\u25A0-\u25FF\u00B7]",
        "an unusual blank": r"[\u00A0\u1680\u2000-\u200A\u202F\u205F\u3000\u2028\u2029\u2800]",
        "an emoji": r"[[\p{Extended_Pictographic}\p{Emoji_Presentation}]--[\x00-\xFF\u2122]]",
        "an arrow or a drawing": r"[\u2190-\u21FF\u2500-\u257F\u2580-\u259F]",
        "letters in another type": r"[[\U0001D400-\U0001D7FF\u2100-\u214F]--[\u2122]]",
        "letters of full width": r"[\uFF01-\uFF5E]",
        "a raised or lowered letter": r"[\u00AA\u00B2\u00B3\u00B9\u00BA\u02B0-\u02FF\u1D2C-\u1D6A\u2070-\u209F]",
        "letters in circles": r"[\u2460-\u24FF\U0001F100-\U0001F1E5]",
        "a character of private use": r"[\p{Co}\p{Cn}]",
        "a ligature": r"[\uFB00-\uFB06]",
    }.items()
}
"""Characters beyond ASCII. Letters of a language are none: a language that the trusted set lacks is misread as a whole,
and whoever writes it has no habit of typing."""
_NUMBERS: Final = frozenset(
    {
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
        "twenty",
        "thirty",
        "forty",
        "fifty",
        "sixty",
        "seventy",
        "eighty",
        "ninety",
        "hundred",
        "thousand",
        "million",
    }
)
_ENDS: Final[Mapping[str, str]] = {
    ".": "ends with a full stop",
    "?": "ends with a question mark",
    "!": "ends with an exclamation mark",
    ",": "ends with a comma",
    ":": "ends with a colon",
}


def habits_of(raw: str, form: CanonicalText) -> list[str]:
    r"""The habits that show in a text, each once, in a fixed order.

    Parameters
    ----------
    raw
        As it came. Of a long one the first `MAX_CHARS` characters and the end are read.
    form
        Its canonical form.

    Examples
    --------
    >>> from feedback_guard.text.canonical import canonicalise
    >>> read = lambda text: habits_of(text, canonicalise(text))
    >>> read("Where is it?"), read("My  card is BLOCKED")
    (['ends with a question mark'], ['words in capitals', 'two blanks', 'ends without a sign'])
    """
    return list(dict.fromkeys(_habits(raw, form)))


def _habits(raw: str, form: CanonicalText) -> Iterator[str]:
    text = raw[:MAX_CHARS]
    held = set(text)
    near = neighbours_in(text)
    yield from _cases(text, near)
    if near & THRICE and _thrice(text):
        yield "a letter three times or more"
    plain, patterns = _to_look_for(frozenset(held & _LOOKED_FOR))
    yield from (name for name, signs in plain if signs in text)
    for name, needs, pattern in patterns:
        if (not needs or near & needs) and pattern.search(text):
            yield name
    middle = text.strip()
    if "  " in middle:
        yield "two blanks"
    if "\t" in middle:
        yield "a tabulator"
    if "\n" in middle:
        yield from (name for name, pattern in _BREAKS.items() if pattern.search(middle))
    yield from _ends(raw)
    if not text.isascii():
        for character in sorted(held):
            if character > "\x7f":
                yield from _beyond(character)
    traces = form.traces
    if traces.zero_width or traces.bidi or traces.tags or traces.variation_selectors:
        yield "hidden characters"
    if traces.mixed_script_words:
        yield "look-alike letters in a word"
    if traces.mark_excess:
        yield "many marks on a letter"
    if not _NUMBERS.isdisjoint(form.skeleton[:MAX_CHARS].split()):
        yield "a number in words"


@functools.lru_cache(maxsize=1_024)
def _to_look_for(
    held: frozenset[str],
) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, int, re.Pattern[str]], ...]]:
    """Which of `_PLAIN` and `_SIGNS` a text with these signs may show."""
    plain = tuple((name, signs) for name, signs in _PLAIN.items() if held.issuperset(signs))
    found = _SIGNS.items()
    return plain, tuple((name, needs, each) for name, (signs, needs, each) in found if not held.isdisjoint(signs))


class _Cases(dict[int, str]):
    """Letters beyond ASCII as letters of ASCII of the same case, for patterns of case."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        case = character if code < 128 else "A" if character.isupper() else "a" if character.islower() else character
        if len(self) < 65_536:
            self[code] = case
        return case


_CASE_OF: Final = _Cases()


def _cases(text: str, near: int) -> Iterator[str]:
    plain = text
    if not text.isascii():
        plain = text.translate(_CASE_OF)
        near = neighbours_in(plain)
    small, capitals = plain.islower(), plain.isupper()
    if small or capitals:
        if sum(map(str.isalpha, plain[: 8 * _LEAST_LETTERS])) >= _LEAST_LETTERS:
            yield "without a capital" if small else "in capitals"
    else:
        first = next((character for character in plain if character.isalpha()), "")
        if first.islower():
            yield "begins small"
        for name, (needs, pattern) in _CASES.items():
            if (not needs or near & needs) and pattern.search(plain):
                yield name
    if not capitals:
        for name, (needs, pattern) in _SMALL.items():
            if (not needs or near & needs) and pattern.search(plain):
                yield name


def _thrice(text: str) -> bool:
    codes = np.frombuffer(text.encode("utf-32-le", "replace"), dtype=np.uint32)
    same = codes[:-1] == codes[1:]
    return any(chr(code).isalpha() for code in set(codes[:-2][same[:-1] & same[1:]].tolist()))


def _ends(raw: str) -> Iterator[str]:
    end = raw[-_END_CHARS:]
    stripped = end.rstrip()
    if raw[:1].isspace():
        yield "begins with a blank"
    if stripped != end:
        yield "ends with a line break" if "\n" in end[len(stripped) :] else "ends with a blank"
    if not stripped:
        return
    last = stripped[-1]
    if last.isalnum() or unicodedata.category(last).startswith("M"):
        yield "ends without a sign"
    elif last in ".?!" and stripped[-2:-1] in (".", "?", "!", ","):
        yield "ends with several signs"
    else:
        yield _ENDS.get(last, "ends with another sign")


@functools.lru_cache(maxsize=65_536)
def _beyond(character: str) -> tuple[str, ...]:
    return tuple(name for name, pattern in _BEYOND.items() if pattern.match(character))
