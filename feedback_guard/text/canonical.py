"""The bounded canonical form in which every text is judged, and what was hidden in it.

Every step is linear and bounded, in an order that keeps it so: length, lone surrogates, invisible characters, runs of
combining marks (sorting a long run is quadratic inside NFKC), NFKC (one character may become eighteen), length again,
whitespace. Invisible characters go before the marks are counted: they would break a run in two.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace

from feedback_guard import settings
from feedback_guard.errors import ContributionError
from feedback_guard.text.confusables import skeleton
from feedback_guard.text.obfuscation import Traces, cap_marks, encoded_chars, strip_hidden

__all__ = ["CanonicalText", "Traces", "canonicalise"]

_BRAILLE_BLANK = "\u2800"  # not a space by category, but blank


@dataclass(frozen=True, slots=True)
class CanonicalText:
    """A text as the guard reads it.

    Parameters
    ----------
    text
        NFKC without invisible characters, whitespace collapsed; case kept. At most `settings.MAX_TEXT_CHARS` long.
    skeleton
        For matching: without case, diacritics and look-alikes. At most three times as long as `text`.
    traces
        What was hidden in it.
    """

    text: str
    skeleton: str
    traces: Traces


def canonicalise(text: str) -> CanonicalText:
    r"""Bring a text into canonical form. Linear in its length; doing it twice changes nothing.

    Parameters
    ----------
    text
        As the user sent it.

    Raises
    ------
    ContributionError
        If the text is longer than `settings.MAX_TEXT_CHARS`, before or after NFKC, or holds a lone surrogate.

    References
    ----------
    UAX #15 (normalisation forms), UTS #39 (security mechanisms), UAX #44 (Default_Ignorable_Code_Point).

    Examples
    --------
    >>> form = canonicalise("Ｗhere  is my c\u200barԁ?")  # fullwidth W, zero-width space, Cyrillic d
    >>> form.skeleton
    'where is my card?'
    >>> form.traces.zero_width, form.traces.mixed_script_words
    (1, 1)
    """
    if len(text) > settings.MAX_TEXT_CHARS:
        raise ContributionError(f"the text has {len(text)} characters; at most {settings.MAX_TEXT_CHARS} are read")
    if text.isascii() and text.isprintable():
        canonical = " ".join(text.split())
        traces = Traces(encoded_chars=encoded_chars(canonical), n_chars=len(text))
        return CanonicalText(canonical, canonical.lower(), traces)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ContributionError(f"the text holds a lone surrogate at character {error.start}") from None
    visible, traces = strip_hidden(text)
    capped, mark_excess = cap_marks(visible)
    normal = unicodedata.normalize("NFKC", capped)
    if len(normal) > settings.MAX_TEXT_CHARS:
        raise ContributionError(
            f"the text grows to {len(normal)} characters in normal form (NFKC);"
            f" at most {settings.MAX_TEXT_CHARS} are read"
        )
    normal, _ = cap_marks(normal)  # a single character may have become several marks
    canonical = " ".join(normal.replace(_BRAILLE_BLANK, " ").split())
    folded, mixed = skeleton(canonical)
    return CanonicalText(
        canonical,
        folded,
        replace(traces, mark_excess=mark_excess, mixed_script_words=mixed, encoded_chars=encoded_chars(canonical)),
    )
