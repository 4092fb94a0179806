"""Contributed text on its way to a moderator's eyes: in a page, and in a terminal.

Contributed text is hostile. In a page it is escaped, isolated from the direction of what surrounds it, and everything
that `marks` points out becomes a box with a name. In a terminal nothing but printable characters gets through.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup, escape

from feedback_guard.review.marks import BIDI, Mark, Piece, pieces, short_name

PREVIEW_CHARS = 600
"""Characters of a text on the page of an item; the rest must be opened before an approval."""
PREVIEW_LINES = 12
"""Lines of a text on the page of an item."""
EXCERPT_CHARS = 140
"""Characters of a text in a list."""
NOTICES = 6
"""Most remarks about one text."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A text made fit for a page.

    Parameters
    ----------
    html
        Safe to insert between tags.
    more_chars
        Characters that were left off.
    notices
        What to look out for, in words.
    """

    html: Markup
    more_chars: int = 0
    notices: tuple[str, ...] = ()


def cut(text: str, max_chars: int, max_lines: int) -> tuple[str, int]:
    r"""The beginning of a text, and how many characters follow it.

    Examples
    --------
    >>> cut("one\ntwo\nthree", 100, 2)
    ('one\ntwo', 6)
    """
    head = text[:max_chars]
    lines = head.split("\n", max_lines)
    if len(lines) > max_lines:
        head = "\n".join(lines[:max_lines])
    return head, len(text) - len(head)


def show(text: str, *, max_chars: int | None = None, max_lines: int | None = None, identifier: bool = False) -> Shown:
    r"""Make a text fit for a page.

    Parameters
    ----------
    text
        Any text.
    max_chars, max_lines
        Where to cut; None shows all of it.
    identifier
        True for names: every look-alike letter is pointed out.

    Examples
    --------
    >>> show("<b>\u202e").html
    Markup('&lt;b&gt;<bdi class="mark hidden" title="direction controls">RLO</bdi>')
    """
    head, more = cut(text, max_chars or len(text), max_lines or len(text) + 1)
    found = list(pieces(head, identifier=identifier))
    return Shown(Markup("").join(_html(piece) for piece in found), more, _notices(found))


def excerpt(text: str) -> Shown:
    """The beginning of a text on one line, for a list."""
    return show(text.replace("\n", " ⏎ ") if "\n" in text else text, max_chars=EXCERPT_CHARS)


def terminal(text: str, *, max_chars: int | None = None, identifier: bool = False) -> str:
    r"""A text that a terminal can only print: escapes for all that controls it, is invisible, or passes for others.

    Examples
    --------
    >>> terminal("\x1b[2Jhi\u202e")
    '\\u{1b}[2Jhi\\u{202e}'
    """
    head, more = cut(text, max_chars or len(text), len(text) + 1)
    out = "".join(_escaped(piece) for piece in pieces(head, identifier=identifier))
    return out + (f" … ({more:,} more characters)" if more else "")


def _escaped(piece: Piece) -> str:
    if piece.mark is Mark.TEXT:
        return piece.label.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")
    if piece.mark is Mark.GAP and set(piece.source) == {" "}:
        return piece.source
    return "".join(f"\\u{{{ord(char):x}}}" for char in piece.source)


def _html(piece: Piece) -> Markup:
    if piece.mark is Mark.TEXT:
        return escape(_printable(piece.label))
    return Markup('<bdi class="mark {}" title="{}">{}</bdi>').format(piece.mark.value, piece.note, piece.label)


def _printable(text: str) -> str:
    """The last line of defence: nothing invisible leaves as itself, whatever `pieces` made of it."""
    if BIDI.isdisjoint(text) and not any("\ud800" <= char <= "\udfff" for char in text):
        return text
    return "".join(short_name(char) if char in BIDI or unicodedata.category(char) == "Cs" else char for char in text)


def _notices(found: Iterable[Piece]) -> tuple[str, ...]:
    """Counts in words, because a tooltip reaches neither a keyboard nor a phone."""
    counts: Counter[str] = Counter()
    for piece in found:
        if piece.mark in (Mark.HIDDEN, Mark.LOOKALIKE):
            counts[piece.note] += len(piece.source)
    out = [
        f"{count} × {what}" if what.startswith("U+") else f"{count:,} {what}" for what, count in counts.most_common()
    ]
    return tuple(out) if len(out) <= NOTICES else (*out[:NOTICES], f"and {len(out) - NOTICES} more kinds")
