"""The skeleton of a text: letters that look alike become one, so that disguised copies meet (after UTS #39).

UTS #39 compares identifiers; here whole texts are matched, so three things differ. Digits stay digits. Words that are
plainly written in their own script stay in it. A word that mixes scripts goes to the one it reads as: look-alikes
within a Latin word to Latin, Latin letters within a Cyrillic or Greek word to that script.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

import regex

_DIACRITIC = regex.compile(
    r"[\u0300-\u036F\u1AB0-\u1AFF\u1DC0-\u1DFF\u20D0-\u20FF\uFE20-\uFE2F"  # Latin, Cyrillic, Greek and overlays
    r"\u0591-\u05BD\u05BF\u05C1\u05C2\u05C4\u05C5\u05C7\u064B-\u0652\u0670]+"  # points, optional in Hebrew and Arabic
)
_LATIN = regex.compile(r"\p{Latin}")
_NOT_LATIN = regex.compile(r"[\p{L}--\p{Latin}]", regex.V1)
_SAME_SHAPES = regex.compile(r"[\p{Cyrillic}\p{Greek}\p{Coptic}\p{Cherokee}\p{Armenian}\p{Lisu}\p{M}\p{N}]+", regex.V1)
_GREEK = regex.compile(r"\p{Greek}")
_CYRILLIC = regex.compile(r"\p{Cyrillic}")

_TO_CYRILLIC: Final = str.maketrans("aceopxyijskABCEHIJKMOPSTXY", "асеорхуіјѕкАВСЕНІЈКМОРЅТХУ")
_TO_GREEK: Final = str.maketrans("aovikpxuynABEHIKMNOPTXYZ", "αονικρχυγηΑΒΕΗΙΚΜΝΟΡΤΧΥΖ")


@cache
def table() -> Mapping[int, str]:
    """ASCII letter for each confusable letter, by code point; read once from `confusables.tsv`."""
    lines = files("feedback_guard.text").joinpath("confusables.tsv").read_text(encoding="utf-8").splitlines()
    rows = (line.split("\t") for line in lines if line and not line.startswith("#"))
    return {int(code, 16): letter for code, letter in rows}


@cache
def _words() -> regex.Pattern[str]:
    """Words that folding may change. Possessive, and anchored at the start of a word: linear."""
    letters = rf"[\p{{Cyrillic}}\p{{Greek}}{''.join(map(chr, table()))}]"
    word = r"[\p{L}\p{M}\p{N}]"
    return regex.compile(rf"(?<!{word})(?=[{word}--{letters}]*+{letters}){word}++", regex.V1)


def skeleton(text: str) -> tuple[str, int]:
    """Fold a canonical text for matching.

    Parameters
    ----------
    text
        In canonical form.

    Returns
    -------
    tuple of str and int
        The skeleton, at most three times as long as the text, and how many words mix scripts to deceive.

    Examples
    --------
    >>> skeleton("PаyPal à lа carte")  # two Cyrillic letters
    ('paypal a la carte', 2)
    >>> skeleton("Вода USBшный TNFα 5 µm")
    ('вода usbшhыи tnfa 5 μm', 0)
    """
    if text.isascii():
        return text.lower(), 0
    bare = unicodedata.normalize("NFC", _DIACRITIC.sub("", unicodedata.normalize("NFD", text)))
    seen: dict[str, tuple[str, bool]] = {}
    mixed = 0

    def fold(match: regex.Match[str]) -> str:
        nonlocal mixed
        word = match.group()
        if word not in seen:
            seen[word] = _fold(word)
        folded, deceives = seen[word]
        mixed += deceives
        return folded

    folded = _words().sub(fold, bare)
    return " ".join(unicodedata.normalize("NFKC", folded.casefold()).split()), mixed


def _fold(word: str) -> tuple[str, bool]:
    """One word that holds a confusable letter: its folded form, and whether it mixes scripts to deceive."""
    letters = table()
    foreign = _NOT_LATIN.findall(word)
    if not _LATIN.search(word):
        alike = _SAME_SHAPES.fullmatch(word) and all(ord(letter) in letters for letter in foreign)
        return (word.translate(letters) if alike else word), False
    if not foreign:
        return word.translate(letters), False
    own = [letter for letter in foreign if ord(letter) not in letters]
    normal = _is_indexed(word, foreign)
    if not own:
        return word.translate(letters), not normal
    for script, back in ((_CYRILLIC, _TO_CYRILLIC), (_GREEK, _TO_GREEK)):
        if script.search("".join(own)):
            returned = word.translate(back)
            if not _LATIN.search(returned):
                return returned, not normal
    return word.translate(letters), False


def _is_indexed(word: str, foreign: list[str]) -> bool:
    """Whether two scripts in one word are normal: TNFα and VPNом (acronym and index or ending), dα (formula)."""
    latin = _LATIN.findall(word)
    acronym = len(latin) > 1 and all(map(str.isupper, latin)) and all(map(str.islower, foreign))
    return acronym or (len(word) <= 3 and len(_GREEK.findall(word)) == len(foreign))
