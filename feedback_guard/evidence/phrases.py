"""The phrases of a text: words, pairs of them, the shape of sentences, and how clauses begin."""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import Final

from feedback_guard.text.words import tokens

MAX_TOKENS: Final = 4_096
"""Most tokens of a text that phrases are made of."""
_START: Final = "^"
_END: Final = "$"
OTHER: Final = "_"
"""In place of words that are left out."""
PHRASES: Final = ("word", "pair", "shape")
"""Kinds of facets that are phrases."""
SHAPE: Final = "~"
"""What the shape of a sentence begins with, among phrases."""
CLAUSE: Final = "/"
"""What the way in which clauses begin begins with, among phrases."""
_BREAKS: Final = frozenset(",;:.!?()\u3001\u3002\u060c\u061b\u061f\u0964")
"""Signs that a clause ends with, in canonical text; those of full width have become these."""


@lru_cache(maxsize=16)
def said(text: str) -> tuple[str, ...]:
    """All words and signs of a text in their order; each text is asked about several times in a row."""
    return tuple(tokens(text))


def _tokens(text: str) -> tuple[str, ...]:
    """Those that phrases are made of."""
    return said(text)[:MAX_TOKENS]


def words_of(text: str) -> set[str]:
    """The words and signs of a text in matching form (`CanonicalText.skeleton`).

    Examples
    --------
    >>> sorted(words_of("is it here?"))
    ['?', 'here', 'is', 'it']
    """
    return set(_tokens(text))


def pairs_of(text: str) -> set[str]:
    """The pairs of neighbouring words and signs; the first is paired with the beginning.

    Examples
    --------
    >>> sorted(pairs_of("is it here?"))
    ['^ is', 'here ?', 'is it', 'it here']
    """
    found = _tokens(text)
    return {f"{left} {right}" for left, right in zip((_START, *found), found, strict=False)}


def shapes_of(text: str, common: frozenset[str]) -> set[str]:
    """The shape of a sentence: runs of three of its common words and signs, with the other words left out.

    What no rare phrase carries, such as one way to build a sentence, shows in these.

    Parameters
    ----------
    text
        In matching form.
    common
        Words and signs that count as common.

    Examples
    --------
    >>> sorted(shapes_of("when it rains, stay in", frozenset({"when", "it", ",", "in"})))
    ['~ , _ in', '~ ^ when it', '~ _ , _', '~ _ in $', '~ it _ ,', '~ when it _']
    """
    known = [token if token in common else OTHER for token in _tokens(text)]
    kept = [token for i, token in enumerate(known) if token != OTHER or i == 0 or known[i - 1] != OTHER]
    frame = [_START, *kept, _END]
    return {f"{SHAPE} {one} {two} {three}" for one, two, three in zip(frame, frame[1:], frame[2:], strict=False)}


def clauses_of(text: str) -> set[str]:
    """How a text of several clauses begins them: with which words, and with which one after the other.

    A sentence that is built in a way of its own shows in these where its words are everyday ones.

    Parameters
    ----------
    text
        In matching form.

    Examples
    --------
    >>> sorted(clauses_of("when it rains, stay in"))
    ['/ _ stay', '/ when _', '/ when stay']
    >>> clauses_of("stay in")
    set()
    """
    heads, begins = list[str](), True
    for token in _tokens(text):
        if token in _BREAKS:
            begins = True
        elif begins and token[0].isalnum():
            heads.append(token)
            begins = False
    if len(heads) < 2:
        return set()
    found = {f"{CLAUSE} {one} {two}" for one, two in itertools.pairwise(heads)}
    found.update(f"{CLAUSE} {OTHER} {head}" for head in heads[1:])
    found.add(f"{CLAUSE} {heads[0]} {OTHER}")
    return found
