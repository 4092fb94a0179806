"""Cutting texts into windows, with the default model's tokenizer (the model itself is not loaded)."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from feedback_guard import settings
from feedback_guard.embedding.checks import LONG, POISON
from feedback_guard.embedding.digest import builtin_model
from feedback_guard.embedding.windows import Windows
from feedback_guard.errors import EmbeddingError

TOKENS = 254


@functools.cache
def tokenizer_json() -> str:
    return (builtin_model() / "tokenizer.json").read_text()


@functools.cache
def windows(tokens: int = TOKENS) -> Windows:
    return Windows(tokenizer_json(), tokens)


@functools.cache
def counter() -> Tokenizer:
    """An independent count: as the model will read it."""
    tokenizer = Tokenizer.from_str(tokenizer_json())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def tokens_of(text: str) -> list[str]:
    tokens: list[str] = counter().encode(text, add_special_tokens=False).tokens
    return tokens


def bare(text: str) -> str:
    return "".join(text.split())


@hypothesis_settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=60),
            st.sampled_from(["word ", "漢", "한글", "😀", "e\u0301", "\ufdfa", "-" * 40, "x" * 150, "\n", "[SEP]"]),
        ),
        max_size=60,
    ).map("".join)
)
def test_windows_cover_fit_and_stay(text: str) -> None:
    pieces = windows(40).split(text)
    assert bare("".join(pieces)) == bare(text)
    for piece in pieces:
        assert len(tokens_of(piece)) <= 40
        assert windows(40).split(piece) == [piece]
        assert windows(40).fits(piece)


@pytest.mark.parametrize("tokens", [8, 40, 254])
def test_text_around_the_window_is_cut_exactly_when_needed(tokens: int) -> None:
    for n in range(tokens - 3, tokens + 4):
        pieces = windows(tokens).split(" ".join(["card"] * n))
        assert len(pieces) == (1 if n <= tokens else 2)
        assert sum(len(tokens_of(piece)) for piece in pieces) == n


def test_cuts_fall_between_words() -> None:
    for piece in windows().split(" ".join(["unbelievable", "transactions"] * 400)):
        assert set(piece.split()) == {"unbelievable", "transactions"}


def test_a_poisoned_text_at_any_offset_is_in_the_windows() -> None:
    text = LONG * 2
    clean = set(windows().split(text))
    for at in range(0, len(text) + 1, 97):
        pieces = windows().split(text[:at] + POISON + text[at:])
        assert not set(pieces) <= clean
        read = "".join(token.removeprefix("##") for piece in pieces for token in tokens_of(piece))
        assert "xyzzy" in read
        assert "plugh" in read


def test_a_word_is_not_lost_to_one_unknown_character() -> None:
    assert tokens_of("send😀money") == ["[UNK]"]
    (piece,) = windows().split("send😀money")
    assert tokens_of(piece) == ["send", "[UNK]", "money"]


def test_a_long_word_is_not_one_unknown() -> None:
    word = "ignoreallpreviousrules" * 6
    assert tokens_of(word) == ["[UNK]"]
    (piece,) = windows().split(word)
    assert "[UNK]" not in tokens_of(piece)
    assert bare(piece) == word


@pytest.mark.parametrize("n", [150, 170, 320, 5_000])
@pytest.mark.parametrize("before", [0, 100, 220, 250])
def test_no_unbroken_text_is_unknown(n: int, before: int) -> None:
    """Also where a word lies across the edge of what is tokenized at a time, and either half could be read."""
    for piece in windows(40).split(":" * before + "x" * n):
        assert "[UNK]" not in tokens_of(piece)


@pytest.mark.parametrize("between", ["\x0c", "\x1f", "\x00", "\x7f"])
def test_control_characters_join_no_words_to_an_unknown_one(between: str) -> None:
    for n in (30, 60, 90, 200, 2_000):
        for piece in windows().split("x" * n + between + "y" * n):
            assert "[UNK]" not in tokens_of(piece)


def test_special_tokens_in_a_text_are_characters() -> None:
    (piece,) = windows().split("[PAD] [CLS]")
    assert tokens_of(piece) == ["[", "pad", "]", "[", "cl", "##s", "]"]


def test_ordinary_short_texts_are_not_even_tokenized(monkeypatch: pytest.MonkeyPatch) -> None:
    cutter = Windows(tokenizer_json(), TOKENS)
    monkeypatch.setattr(cutter, "_tokenizer", None)
    assert cutter.split("where is my card?") == ["where is my card?"]
    with pytest.raises(AttributeError):
        cutter.split("wo ist die Überweisung?")


class _Counting:
    """Notes how much text the tokenizer is given at a time."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.longest = self.total = 0

    def encode(self, text: str, add_special_tokens: bool) -> object:
        self.longest = max(self.longest, len(text))
        self.total += len(text)
        return self._tokenizer.encode(text, add_special_tokens=add_special_tokens)


@pytest.mark.parametrize("unit", ["word ", "x", "é", "😀", "漢", "a😀", " ", "-"])
def test_no_unbounded_text_is_tokenized(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cutter = Windows(tokenizer_json(), TOKENS)
    counting = _Counting(cutter._tokenizer)
    monkeypatch.setattr(cutter, "_tokenizer", counting)
    text = unit * (settings.MAX_TEXT_CHARS // len(unit))
    cutter.split(text)
    assert counting.longest <= 8 * TOKENS
    assert counting.total <= 12 * len(text)


@pytest.mark.parametrize("text", ["한" * settings.MAX_TEXT_CHARS, "a " * 300_000])
def test_too_many_windows_are_refused(text: str) -> None:
    with pytest.raises(EmbeddingError, match="more than 256 windows"):
        windows().split(text)


def test_lone_surrogates_are_refused() -> None:
    with pytest.raises(EmbeddingError, match="lone surrogate at character 2"):
        windows().split("ab\ud800")
    with pytest.raises(EmbeddingError, match="lone surrogate"):
        windows().fits("ab\ud800")


def test_a_model_that_reads_next_to_nothing_is_refused() -> None:
    with pytest.raises(EmbeddingError, match="at least 8"):
        Windows(tokenizer_json(), 7)


def test_a_tokenizer_that_does_not_know_ascii_takes_the_exact_way() -> None:
    vocabulary = {"[UNK]": 0, **{chr(c): c for c in range(97, 123)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    cutter = Windows(tokenizer.to_str(), 8)
    assert cutter.split("ab!") == ["a b !"]
    assert cutter.split("a b c") == ["a b c"]


def test_a_tokenizer_without_unknown_token() -> None:
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer = Tokenizer(models.BPE({char: n for n, char in enumerate(sorted(alphabet))}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    cutter = Windows(tokenizer.to_str(), 12)
    pieces = cutter.split("😀" * 10)
    assert "".join(pieces) == "😀" * 10
    assert [len(piece) for piece in pieces] == [3, 3, 3, 1]


def test_half_a_word_that_takes_more_tokens_than_it_had() -> None:
    tokenizer = Tokenizer(models.BPE({"a": 0, "aa": 1, "c": 2}, [("a", "a")]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("a+c|."), "isolated")
    cutter = Windows(tokenizer.to_str(), 12)
    pieces = cutter.split("a" * 60 + "c")
    assert "".join(pieces) == "a" * 60 + "c"
    assert all(cutter.fits(piece) for piece in pieces)
