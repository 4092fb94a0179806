"""What a token is, in place of the token: addresses, telephone numbers, amounts, dates, numbers and codes.

Spam from one template carries another address and another number each time, so its texts share fewer words and fewer
runs of characters than they have in common. Read with such tokens replaced by what they are, they do.
"""

from __future__ import annotations

import re
from typing import Final

_ENDINGS: Final = (
    "com|net|org|info|biz|edu|gov|io|co|uk|de|fr|es|it|nl|pl|eu|us|ru|cn|in|br|me|ly|to|cc|tk|ml|ga|cf|gq|tv|ws|gl|gd"
    "|top|xyz|online|site|club|shop|store|app|link|click|live|win|vip|pro|icu"
)
_HINT: Final = re.compile(r"\d|@|://|www\.|\.(?:" + _ENDINGS + r")\b")
_MASKED: Final = re.compile(
    r"(?<!\w)(?:"  # each begins where a word does; every run is bounded, so it takes linear time
    + "|".join(
        (
            r"(?P<mail>[\w.+-]{1,64}@[\w-]{1,63}\.[\w.-]{0,63}\w)",
            rf"(?P<address>[a-z]{{2,12}}\s?:\s?//\s?[^\s<>\"]+|www\.[^\s<>\"]+"
            rf"|(?<![.@])(?:[\w-]{{1,63}}\.){{1,6}}(?:{_ENDINGS})\b(?:[/?#][^\s<>\"]*)?)",
            r"(?P<amount>[$£€¥₹]\s?\d[\d.,]*[km]?\b|\d[\d.,]*\s?(?:[$£€¥₹]|(?:usd|eur|gbp|dollars?|euros?|pounds?)\b))",
            r"(?P<date>\d{4}-\d\d-\d\d\b|\d\d?[:/]\d\d(?:[:/]\d{2,4})?\b|\d\d?\.\d\d?\.\d{2,4}\b)",
            r"(?P<telephone>\+?\(?\d(?:[ ()./-]{0,2}\d){6,24}(?!\w))",
            r"(?P<code>(?=[a-z]{0,32}\d)(?=\d{0,32}[a-z])\w{5,}\b)",
            r"(?P<number>\d+(?:[.,]\d+)*(?![\w]))",
        )
    )
    + ")"
)
_MOST_DIGITS: Final = 6
"""Digits from which numbers are told apart no more by how many they have."""


def mask(text: str) -> str:
    """A text with such tokens replaced by what they are.

    Parameters
    ----------
    text
        In matching form (`CanonicalText.skeleton`).

    Examples
    --------
    >>> mask("win $500 at http://qzx.top/a1 or call 0612345678 before 7 pm, code x7k2p9")
    'win <amount> at <address> or call <telephone> before <1> pm, code <code>'
    """
    return _MASKED.sub(_name_of, text) if _HINT.search(text) else text


def _name_of(found: re.Match[str]) -> str:
    kind = found.lastgroup
    if kind == "number":
        return f"<{min(_MOST_DIGITS, sum(map(str.isdigit, found.group())))}>"
    return f"<{kind}>"
