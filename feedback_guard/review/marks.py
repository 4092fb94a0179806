"""What a moderator must not overlook in a text: hidden characters, look-alike letters, and gaps that push text away.

A text is cut into pieces. `TEXT` is shown as it is; every other piece is shown as something that can be seen. The cut
is linear in the length of the text. It follows UAX #9 (bidirectional controls), UAX #44 (default-ignorable code
points) and the idea of UTS #39 (confusable letters), and it errs on the side of showing too much.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import groupby

import regex

from feedback_guard.text.confusables import table

BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that reorder what stands around them."""

_TAG_FIRST, _TAG_LAST = 0xE0020, 0xE007E
_SHORT = {
    "\x00": "NUL",
    "\x07": "BEL",
    "\x08": "BS",
    "\x0b": "VT",
    "\x0c": "FF",
    "\r": "CR",
    "\x1b": "ESC",
    "\x7f": "DEL",
    "\x85": "NEL",
    "\x9b": "CSI",
    "\xa0": "NBSP",
    "\xad": "SHY",
    "\u061c": "ALM",
    "\u200b": "ZWSP",
    "\u200c": "ZWNJ",
    "\u200d": "ZWJ",
    "\u200e": "LRM",
    "\u200f": "RLM",
    "\u2028": "LSEP",
    "\u2029": "PSEP",
    "\u202a": "LRE",
    "\u202b": "RLE",
    "\u202c": "PDF",
    "\u202d": "LRO",
    "\u202e": "RLO",
    "\u202f": "NNBSP",
    "\u2060": "WJ",
    "\u2066": "LRI",
    "\u2067": "RLI",
    "\u2068": "FSI",
    "\u2069": "PDI",
    "\u3000": "IDSP",
    "\ufe0e": "VS15",
    "\ufe0f": "VS16",
    "\ufeff": "BOM",
}

_LATIN = regex.compile(r"\p{Latin}")

_SCRIPTS = {
    name: regex.compile(rf"\p{{Script={name}}}") for name in ("Latin", "Cyrillic", "Greek", "Armenian", "Cherokee")
}
"""Scripts whose letters are taken for one another. Others are mixed for good reasons (kana and kanji, for one)."""

_HIDDEN = (
    r"[\p{Cf}\p{Default_Ignorable_Code_Point}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\u2800[\p{Cc}--[\n\t]][\p{Zs}--[\u0020]]]"
)
_EMOJI = r"\p{Extended_Pictographic}\p{Emoji_Modifier}?\ufe0f?"
_TOKENS = regex.compile(
    rf"(?V1)(?P<emoji>{_EMOJI}(?:\u200d{_EMOJI}){{0,7}}|[#*0-9]\ufe0f\u20e3)"
    rf"|(?P<hidden>{_HIDDEN}+)"
    r"|(?P<marks>\p{M}{4,})"
    r"|(?P<gap>\u0020{4,}|\n{3,}|\t+)"
    r"|(?P<word>[\p{L}\p{N}]+)"
)
"""What is looked at, in order of precedence. An emoji may hold joiners; any other joiner is hidden."""


@cache
def looks_like() -> Mapping[str, str]:
    """Letters of other scripts that most fonts draw like an ASCII letter, with that letter in lower case."""
    return {chr(code): letter for code, letter in table().items() if not _LATIN.match(chr(code))}


class Mark(StrEnum):
    """What a piece of text is."""

    TEXT = "text"
    HIDDEN = "hidden"
    """Characters that would not be seen, or that reorder the rest."""
    LOOKALIKE = "lookalike"
    """Letters that pass for others."""
    GAP = "gap"
    """So much white space that what follows could be overlooked."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text with what is to be said about it.

    Parameters
    ----------
    mark
        What it is.
    source
        The characters as they were sent.
    label
        What to show: the characters themselves, or the names of those that cannot be seen.
    note
        What it is in words; empty for plain text.
    """

    mark: Mark
    source: str
    label: str
    note: str = ""


def code_point(char: str) -> str:
    r"""The code point and its name.

    Examples
    --------
    >>> code_point("\u202e")
    'U+202E RIGHT-TO-LEFT OVERRIDE'
    """
    number = f"U+{ord(char):04X}"
    if unicodedata.category(char) == "Cc":
        return f"{number} control character"
    return f"{number} {unicodedata.name(char, 'unnamed')}"


def short_name(char: str) -> str:
    r"""A few letters that stand for a character that cannot be seen.

    Examples
    --------
    >>> short_name("\u200b"), short_name("\ue000")
    ('ZWSP', 'U+E000')
    """
    return _SHORT.get(char) or f"U+{ord(char):04X}"


def pieces(text: str, *, identifier: bool = False) -> Iterator[Piece]:
    r"""Cut a text into what can be shown as it is and what must be pointed out.

    Parameters
    ----------
    text
        Any text, lone surrogates included.
    identifier
        True for names: then every letter that looks like an ASCII letter is pointed out, and so is a space at
        either end.

    Examples
    --------
    >>> [(p.mark.value, p.label) for p in pieces("pay\u200bpal")]
    [('text', 'pay'), ('hidden', 'ZWSP'), ('text', 'pal')]
    """
    plain_from = 0
    strict = identifier or _mostly_latin(text)
    for match in _TOKENS.finditer(text):
        found = list(_of(match.lastgroup or "", match[0], strict=strict, identifier=identifier))
        if not found:
            continue
        if plain_from < match.start():
            yield from _plain(text, plain_from, match.start(), identifier=identifier)
        yield from found
        plain_from = match.end()
    if plain_from < len(text):
        yield from _plain(text, plain_from, len(text), identifier=identifier)


def _of(group: str, chars: str, *, strict: bool, identifier: bool) -> Iterator[Piece]:
    if group == "hidden":
        for what, same in groupby(chars, _group_of):
            run = "".join(same)
            yield Piece(Mark.HIDDEN, run, _names(run), what)
    elif group == "marks":
        yield Piece(Mark.HIDDEN, chars, _names(chars), "combining marks")
    elif group == "gap" and (chars != "\t" or identifier):
        what = {" ": "space", "\n": "line break", "\t": "tab"}[chars[0]]
        label = f"{len(chars)} {what}s" if len(chars) > 1 else what
        yield Piece(Mark.GAP, chars, label, "white space")
    elif group == "word" and not chars.isascii():
        yield from _letters(chars, strict=strict, identifier=identifier)


def _plain(text: str, start: int, end: int, *, identifier: bool) -> Iterator[Piece]:
    """Plain text; in a name, spaces at its very ends are made visible."""
    part = text[start:end]
    if not identifier:
        yield Piece(Mark.TEXT, part, part)
        return
    lead = len(part) - len(part.lstrip(" \n")) if start == 0 else 0
    trail = len(part) - len(part.rstrip(" \n")) if end == len(text) and lead < len(part) else 0
    if lead:
        yield Piece(Mark.GAP, part[:lead], _names(part[:lead]).replace("U+0020", "space"), "white space")
    if part[lead : len(part) - trail]:
        yield Piece(Mark.TEXT, part[lead : len(part) - trail], part[lead : len(part) - trail])
    if trail:
        yield Piece(Mark.GAP, part[-trail:], _names(part[-trail:]).replace("U+0020", "space"), "white space")


def _names(chars: str) -> str:
    """Short names with run lengths; text smuggled in tag characters is spelt out."""
    out: list[str] = []
    for is_tag, run in groupby(chars, lambda char: _TAG_FIRST <= ord(char) <= _TAG_LAST):
        if is_tag:
            out.append("TAG “" + "".join(chr(ord(char) - 0xE0000) for char in run) + "”")
            continue
        for char, same in groupby(run):
            count = sum(1 for _ in same)
            out.append(short_name(char) + (f" ×{count}" if count > 1 else ""))
    return " ".join(out)


def _group_of(char: str) -> str:
    """What sort of hidden character it is, in words."""
    if char in BIDI:
        return "direction controls"
    if 0xE0000 <= ord(char) <= 0xE007F:
        return "hidden tag characters"
    category = unicodedata.category(char)
    if category == "Cc":
        return "control characters"
    return "unusual spaces" if category[0] == "Z" else "invisible or undefined characters"


def _mostly_latin(text: str) -> bool:
    """Whether a reader takes the text for Latin script, so that a foreign look-alike deceives."""
    if text.isascii():
        return True
    latin = sum(1 for char in text if char.isascii() and char.isalpha())
    others = sum(1 for char in text if char in looks_like() or (not char.isascii() and char.isalpha()))
    return latin >= others


def _script(char: str) -> str:
    return next((name for name, pattern in _SCRIPTS.items() if pattern.match(char)), "")


def _letters(word: str, *, strict: bool, identifier: bool) -> Iterator[Piece]:
    """The pieces of a word with letters beyond ASCII; nothing when none of them is suspect."""
    scripts = [_script(char) for char in word]
    counts = {name: scripts.count(name) for name in set(scripts) if name}
    # The script of most letters is the one that the word pretends to be in; at a tie it is Latin.
    main = max(counts, key=lambda name: (counts[name], name == "Latin"), default="")
    # Outside of names, a word of another script is suspect only when each of its letters passes for an ASCII one.
    passes = strict and (identifier or all(char in looks_like() or char.isascii() for char in word))
    suspect = [
        _disguise(char) is not None
        or (len(counts) > 1 and script not in ("", main))
        or (passes and char in looks_like())
        for char, script in zip(word, scripts, strict=True)
    ]
    if not any(suspect):
        return
    for is_suspect, group in groupby(zip(word, suspect, strict=True), lambda pair: pair[1]):
        chars = "".join(char for char, _ in group)
        if not is_suspect:
            yield Piece(Mark.TEXT, chars, chars)
            continue
        for char, same in groupby(chars):
            run = "".join(same)
            like = looks_like().get(char) or _disguise(char)
            note = code_point(char) + (f", looks like {like}" if like else f", among {main or 'other'} letters")
            yield Piece(Mark.LOOKALIKE, run, run, note)


def _disguise(char: str) -> str | None:
    """The ASCII letter or digit that a styled character (full-width, mathematical, circled) stands for."""
    if char.isascii() or char in "ªº¹²³":
        return None
    plain = unicodedata.normalize("NFKC", char)
    return plain if len(plain) == 1 and plain.isascii() and plain.isalnum() else None
