"""The words and signs of a text, in any script.

Most scripts put blanks between words. Chinese, Japanese, Thai and some others do not, and where a word ends there is
a question for a dictionary; a run of such letters would be one word that never comes again. So each letter stands for
itself there, with its marks, and pairs of letters do the work of words, as in search engines.

References
----------
Nie, J.-Y., Gao, J., Zhang, J., Zhou, M. (2000). On the use of words and n-grams for Chinese information retrieval.
IRAL.
Unicode Standard Annex 29, 4.1 (scripts whose words need a dictionary).
"""

from __future__ import annotations

import re
from typing import Final

import regex

_LETTERS: Final = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Yi}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
_UNSPACED: Final = regex.compile(rf"[{_LETTERS}]")
_TOKEN: Final = regex.compile(r"\w+|[^\w\s]")
_TOKEN_OF_ASCII: Final = re.compile(_TOKEN.pattern, re.ASCII)
"""Quicker, and unlike `regex` it holds on to the interpreter: a thread that lets go of it for a microsecond may have to
wait for milliseconds until it gets it back."""
_TOKEN_OF_ANY: Final = regex.compile(rf"(?V1)[{_LETTERS}--[\p{{M}}\W]]\p{{M}}*|[\w--[{_LETTERS}]]+|\w|[^\w\s]")


def tokens(text: str) -> list[str]:
    """Words and signs in their order; in scripts that put no blanks between words, letters.

    Examples
    --------
    >>> tokens("is it here?")
    ['is', 'it', 'here', '?']
    >>> tokens("卡在哪里? visa")
    ['卡', '在', '哪', '里', '?', 'visa']
    """
    if text.isascii():
        return _TOKEN_OF_ASCII.findall(text)
    return (_TOKEN_OF_ANY if _is_unspaced(text) else _TOKEN).findall(text)


def words(text: str) -> list[str]:
    """What stands between blanks, signs included; in scripts that put no blanks between words, letters and signs.

    Examples
    --------
    >>> words("is it here?")
    ['is', 'it', 'here?']
    >>> words("卡在哪里? visa")
    ['卡', '在', '哪', '里', '?', 'visa']
    """
    if not _is_unspaced(text):
        return text.split()
    found = list[str]()
    for run in text.split():
        found += _TOKEN_OF_ANY.findall(run) if _is_unspaced(run) else [run]
    return found


def _is_unspaced(text: str) -> bool:
    return not text.isascii() and _UNSPACED.search(text) is not None
