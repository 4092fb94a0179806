"""Hostile text is shown as what it is, in a page and in a terminal."""

from __future__ import annotations

import html
import re
import time
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from feedback_guard.review.display import EXCERPT_CHARS, NOTICES, cut, excerpt, show, terminal
from feedback_guard.review.marks import BIDI, Mark, looks_like, pieces
from feedback_guard.settings import MAX_TEXT_CHARS

ANY_TEXT = st.text(st.characters(blacklist_categories=()), max_size=300) | st.text(
    st.sampled_from("ab <>&\"'\u200b\u202e\u2066\n\t\r\x1b\xa0аеß\u0301\ud800\U000e0041\ufe0f\u200d❤"), max_size=80
)


def _marks(text: str, *, identifier: bool = False) -> list[tuple[str, str]]:
    return [(p.mark.value, p.label) for p in pieces(text, identifier=identifier) if p.mark is not Mark.TEXT]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a\u202eb", [("hidden", "RLO")]),
        ("a\u2066b\u2069", [("hidden", "LRI"), ("hidden", "PDI")]),
        ("\u200b\u200b\u200bx", [("hidden", "ZWSP ×3")]),
        ("x\ufeff", [("hidden", "BOM")]),
        ("a\x00b\x1b[31m\x9b", [("hidden", "NUL"), ("hidden", "ESC"), ("hidden", "CSI")]),
        ("a\rb", [("hidden", "CR")]),
        ("a\xa0b\u3000c", [("hidden", "NBSP"), ("hidden", "IDSP")]),
        ("\U000e0069\U000e0067\U000e006e", [("hidden", "TAG “ign”")]),
        ("a\u2028b", [("hidden", "LSEP")]),
        ("\u3164", [("hidden", "U+3164")]),
        ("\u2800", [("hidden", "U+2800")]),
        ("\ue000", [("hidden", "U+E000")]),
        ("\ud800", [("hidden", "U+D800")]),
        ("\U000e0100\U000e0101", [("hidden", "U+E0100 U+E0101")]),
        ("e\u0301\u0301\u0301\u0301", [("hidden", "U+0301 ×4")]),
        ("a    b", [("gap", "4 spaces")]),
        ("a\n\n\n\nb", [("gap", "4 line breaks")]),
        ("pаypal", [("lookalike", "а")]),
        ("Привeт", [("lookalike", "e")]),
        ("the раура site", [("lookalike", char) for char in "раура"]),
        ("𝐩𝐚y ＡＢ", [("lookalike", char) for char in "𝐩𝐚ＡＢ"]),
        ("аааа bbbb", [("lookalike", "аааа")]),
    ],
)
def test_what_would_be_overlooked_is_pointed_out(text: str, found: list[tuple[str, str]]) -> None:
    assert _marks(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "plain text, with “quotes” – and dashes…",
        "two\nlines\n\nand\ta tab",
        "naïve Straße, ærlig, Łódź, e\u0301te\u0301",
        "Привет, мир",
        "Ελλάδα",
        "مرحبا بالعالم",
        "שלום עולם",
        "日本語とカタカナと English",
        "한국어",
        "हिन्दी",
        "❤️ 👨‍👩‍👧 👍🏽 1️⃣ 🏳️‍🌈",
        "5 µm, m², ½, №",
        "",
    ],
)
def test_honest_text_is_left_alone(text: str) -> None:
    assert _marks(text) == []
    assert html.unescape(str(show(text).html)) == text


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (" admin", [("gap", "space")]),
        ("admin ", [("gap", "space")]),
        ("  ", [("gap", "space ×2")]),
        ("аdmin", [("lookalike", "а")]),
        ("ο", [("lookalike", "ο")]),
        ("ad\tmin", [("gap", "tab")]),
        ("ad\u00admin", [("hidden", "SHY")]),
        ("admin", []),
        ("a b", []),
    ],
)
def test_names_are_looked_at_more_closely(name: str, found: list[tuple[str, str]]) -> None:
    assert _marks(name, identifier=True) == found


def test_every_look_alike_of_a_name_is_flagged() -> None:
    # 1,000 pairs of a name and one that looks the same.
    likes = sorted(char for char, like in looks_like().items() if like in "admin" and char.islower())
    names = ["a" * number + like + "dmin" for number in range(1_000 // len(likes) + 1) for like in likes]
    assert len(names) >= 1_000
    for name in names:
        assert any(mark == "lookalike" for mark, _ in _marks(name, identifier=True)), name


@given(ANY_TEXT, st.booleans())
@example("<script>\u202e", False)
@example("\u200d" * 50, True)
def test_nothing_is_lost_and_nothing_gets_through(text: str, identifier: bool) -> None:
    found = list(pieces(text, identifier=identifier))
    assert "".join(piece.source for piece in found) == text
    shown = show(text, identifier=identifier)
    assert re.fullmatch(r'(?:[^<>"\']|<bdi class="mark (?:hidden|gap|lookalike)" title="[^<>"]*">|</bdi>)*', shown.html)
    visible = html.unescape(re.sub("<[^>]*>", "", shown.html))
    assert BIDI.isdisjoint(visible)
    for char in visible:
        assert unicodedata.category(char) not in ("Cc", "Cs", "Co", "Zl", "Zp") or char in "\n\t"
    assert len(shown.notices) <= NOTICES + 1


@given(ANY_TEXT)
@example("\\u{1b}")
def test_a_terminal_only_prints(text: str) -> None:
    out = terminal(text)
    assert BIDI.isdisjoint(out)
    assert all(unicodedata.category(char) not in ("Cc", "Cs", "Co", "Zl", "Zp") for char in out)
    # It can be read back: an escape is never mistaken for a text that looks like one.
    back = re.sub(
        r"\\(?:u\{([0-9a-f]+)\}|(.))",
        lambda m: chr(int(m[1], 16)) if m[1] else {"n": "\n", "t": "\t", "\\": "\\"}[m[2]],
        out,
    )
    assert back == text


def test_one_record_a_line_whatever_was_sent() -> None:
    for text in ("a\r\nINFO approved", "a\u2028b", "a\x85b", "a\x0bb", "\x1b]0;title\x07", "\x1b[2J"):
        assert len(terminal(text).splitlines()) == 1
        assert "\x1b" not in terminal(text)


@given(st.text("ab\n", max_size=60), st.integers(1, 30), st.integers(1, 5))
def test_what_is_cut_off_is_counted(text: str, chars: int, lines: int) -> None:
    head, more = cut(text, chars, lines)
    assert text.startswith(head)
    assert len(head) + more == len(text)
    assert len(head) <= chars
    assert head.count("\n") < lines


def test_an_excerpt_is_one_short_line() -> None:
    shown = excerpt("one\ntwo\n" * 100)
    assert "\n" not in shown.html
    assert len(shown.html) == EXCERPT_CHARS
    assert shown.more_chars > 0


@pytest.mark.parametrize(
    "unit",
    [
        "\u200b\u200c",
        "а",
        "aа ",
        "\n \n",
        " \t",
        "❤️",
        "\u200d",
        "❤️\u200d",
        "a\u0301\u0301\u0301\u0301",
        "<",
        "#\ufe0f",
        "\U000e0041a",
    ],
    ids=ascii,
)
def test_the_longest_texts_stay_cheap_and_bounded(unit: str) -> None:
    text = (unit * MAX_TEXT_CHARS)[:MAX_TEXT_CHARS]
    assert len(show(text).html) <= 130 * len(text)
    # Eight times the text: 8 where it is linear, 64 where it is quadratic. The quickest of three, so no load decides.
    assert quickest(text) < 24 * max(quickest(text[: len(text) // 8]), 0.005), "linear"


def quickest(text: str) -> float:
    """CPU seconds of showing it, the least of three."""
    taken = []
    for _ in range(3):
        began = time.process_time()
        show(text)
        taken.append(time.process_time() - began)
    return min(taken)
