"""Cutting a text into windows that the model reads whole: no tail is truncated, and no word is passed over.

A model reads a few hundred tokens and drops the rest without a word, so a poisoned tail would go unread. A WordPiece
tokenizer also reads a whole word as one "unknown" when the word is long or holds a single unknown character; such
words are spelled out, otherwise an emoji stuck to every word would blind the model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Self

from pydantic import JsonValue

from feedback_guard import settings
from feedback_guard.embedding.hashing import require_unicode
from feedback_guard.errors import EmbeddingError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_SPELLED_CHARS = 16
"""Longest run of known characters in a word that is spelled out. WordPiece takes quadratic time in a word's length."""
_STRETCH = 8
"""Characters tokenized at a time, per token of the window: more than any ordinary text needs to fill one."""
_BLANKS = " \t\n\r"
"""What every tokenizer takes for the end of a word. Some drop other white space, which joins two words to one."""
_MAX_KNOWN = 65_536
"""Most characters remembered as known or unknown."""


class Windows:
    """Cuts texts with a tokenizer of its own: tokenizers keep truncation and padding as shared, mutable state.

    Parameters
    ----------
    tokenizer
        As JSON, as `tokenizers.Tokenizer.to_str` writes it.
    tokens
        Most tokens of a window, without special tokens.
    """

    def __init__(self, tokenizer: str, tokens: int) -> None:
        from tokenizers import Tokenizer

        if tokens < 8:
            raise EmbeddingError(f"the model reads only {tokens} tokens at a time; at least 8 are needed")
        self._source = tokenizer
        self._tokenizer: Tokenizer = Tokenizer.from_str(tokenizer)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # "[PAD]" in a text is five characters, not the padding token.
        self._tokenizer.encode_special_tokens = True
        self._tokens = tokens
        model = json.loads(tokenizer).get("model", {})
        name = model.get("unk_token")
        unknown = self._tokenizer.token_to_id(name) if isinstance(name, str) else model.get("unk_id")
        self._unknown: int | None = unknown if isinstance(unknown, int) else None
        self._long_word = re.compile(rf"[^{_BLANKS}]{{{model.get('max_input_chars_per_word') or 100},}}")
        self._known: dict[str, bool] = {}
        self._plain_ascii = self._reads_ascii_plainly()

    def to_json(self) -> dict[str, JsonValue]:
        """Everything that `from_json` needs to make an equal one, as another process may."""
        return {"tokenizer": self._source, "tokens": self._tokens}

    @classmethod
    def from_json(cls, value: Mapping[str, JsonValue]) -> Self:
        """Make what `to_json` wrote down."""
        tokenizer, tokens = value["tokenizer"], value["tokens"]
        if not isinstance(tokenizer, str) or not isinstance(tokens, int):
            raise EmbeddingError("the description of the tokenizer is damaged")
        return cls(tokenizer, tokens)

    def split(self, text: str) -> list[str]:
        """Cut a text into windows; together they cover it, apart from blanks that spell out unreadable words.

        The work grows linearly with the text, and nothing longer than a few windows is tokenized at a time.

        Raises
        ------
        EmbeddingError
            If the text holds lone surrogates, or needs more than `settings.MAX_WINDOWS` windows.
        """
        if self._obviously_fits(text):
            return [text]
        require_unicode(text)
        text = self._spell_out(text)
        pieces: list[str] = []
        start, reach = 0, self._stretch
        while start < len(text) or not pieces:
            if len(pieces) >= settings.MAX_WINDOWS:
                raise _too_long(text)
            chars = self._window(text[start : start + reach], last=start + reach >= len(text))
            pieces.append(text[start : start + chars])
            start += chars
            # Scripts differ in characters per token: looking twice as far as the last window is far enough.
            reach = min(self._stretch, max(2 * chars, self._tokens))
        return pieces

    def fits(self, text: str) -> bool:
        """Whether the model reads the text whole.

        Raises
        ------
        EmbeddingError
            If the text holds lone surrogates.
        """
        if self._obviously_fits(text):
            return True
        require_unicode(text)
        return len(text) <= self._stretch * 4 and self._count(text) <= self._tokens

    @property
    def _stretch(self) -> int:
        return _STRETCH * self._tokens

    def _obviously_fits(self, text: str) -> bool:
        """Whether it fits without tokenizing: a token of plain ASCII is at least one character."""
        return (
            self._plain_ascii and len(text) < self._tokens and text.isascii() and self._long_word.search(text) is None
        )

    def _count(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _reads_ascii_plainly(self) -> bool:
        """Whether ASCII never takes more tokens than characters plus one, and never gives an unknown token."""
        printable = "".join(map(chr, range(0x20, 0x7F)))
        samples = [printable, " ".join(printable), *(f"{c}{c} a{c}a {c}" for c in printable)]
        for sample in samples:
            ids = self._tokenizer.encode(sample, add_special_tokens=False).ids
            if len(ids) > len(sample) + 1 or self._unknown in ids:
                return False
        return True

    def _window(self, stretch: str, *, last: bool) -> int:
        """How many characters of the stretch are the next window: at least one."""
        encoding = self._tokenizer.encode(stretch, add_special_tokens=False)
        if len(encoding.ids) <= self._tokens:
            return len(stretch) if last else _after_blank(stretch)
        at = self._tokens
        words = encoding.word_ids
        # Back to the beginning of the word, unless that wastes a quarter of the window.
        while at > self._tokens * 3 // 4 and words[at] is not None and words[at] == words[at - 1]:
            at -= 1
        if at == self._tokens * 3 // 4:
            at = self._tokens
        end = max(1, encoding.offsets[at][0])
        # Half a word may take more tokens than it had as part of the whole.
        while end > 1 and self._count(stretch[:end]) > self._tokens:
            end -= max(1, end // 16)
        return end

    def _spell_out(self, text: str) -> str:
        """Put blanks into words that the tokenizer reads as one unknown token."""
        if self._unknown is None:
            return text
        parts: list[str] = []
        start = n_tokens = 0
        while start < len(text):
            chunk = text[start : start + self._stretch]
            if start + len(chunk) < len(text):
                chunk = chunk[: _after_blank(chunk)]
            start += len(chunk)
            encoding = self._tokenizer.encode(chunk, add_special_tokens=False)
            n_tokens += len(encoding.ids)
            done = 0
            if self._unknown in encoding.ids:
                for token, (begin, end) in zip(encoding.ids, encoding.offsets, strict=True):
                    if token == self._unknown and end - begin > 1:
                        spelled, extra = self._spell(chunk[begin:end])
                        parts += (chunk[done:begin], spelled)
                        n_tokens += extra
                        done = end
            parts.append(chunk[done:])
            if start < len(text) and chunk[-1] not in _BLANKS:
                parts.append(" ")  # two halves that are readable may make one word that is not
            if n_tokens > settings.MAX_WINDOWS * self._tokens:
                raise _too_long(text)
        return "".join(parts)

    def _spell(self, word: str) -> tuple[str, int]:
        """Separate what the tokenizer knows from what it does not, in runs that it can read; count their tokens."""
        runs: list[str] = []
        n_tokens = 0
        for known, group in groupby(word, self._is_known):
            run = "".join(group)
            if not known:
                runs.append(run)
                continue
            for at in range(0, len(run), _SPELLED_CHARS):
                part = run[at : at + _SPELLED_CHARS]
                ids = self._tokenizer.encode(part, add_special_tokens=False).ids
                n_tokens += len(ids)
                runs.append(" ".join(part) if self._unknown in ids else part)
        return " ".join(runs), n_tokens

    def _is_known(self, char: str) -> bool:
        if char not in self._known:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[char] = self._unknown not in self._tokenizer.encode(char, add_special_tokens=False).ids
        return self._known[char]


def _too_long(text: str) -> EmbeddingError:
    return EmbeddingError(
        f"a text of {len(text)} characters needs more than {settings.MAX_WINDOWS} windows of the model"
    )


def _after_blank(text: str) -> int:
    """Where to cut a text that goes on: after its last blank in the second half, else at its end."""
    for at in range(len(text) - 1, len(text) // 2, -1):
        if text[at] in _BLANKS:
            return at + 1
    return len(text)
