from __future__ import annotations

import unicodedata

import pytest
import regex
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from feedback_guard import settings
from feedback_guard.errors import ContributionError
from feedback_guard.text.canonical import Traces, canonicalise
from feedback_guard.text.obfuscation import cap_marks, strip_hidden
from tests.text.samples import ORDINARY

# Characters that make normalisation hard: marks of several classes, voicing marks, Hangul, expansions, invisible ones.
HARD = (
    "aeKI1 .é\u0300\u0316\u0345\u0301\u0334\u0338\u0344\uff9e\uff9f\u3099\u309aかガ\u1100\u1161\u11a8"
    "\u115f\u1160\u3164\uffa0"
    "\ufdfa\ufb03\u00a8\u00b4\u00b5\u03b1аокı\u0130ΐß\u1e9e\u200b\u200c\u200d\u200e\u202e\u2066\u2069\ufeff\ufe0f\u180e"
    "\U000e0100\U000e0041\U000e007f🏴👩❤1\u20e3א\u05b8مہ\u0651क\u094dท\u0e33\u0eb3\u2800\u00a0\u3000"
    "\n\t\x00\x1b\u0085"
)
texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    st.text(st.sampled_from(HARD), max_size=200),
    st.text(st.sampled_from("a\u0300\u0316\u0345\u0344\uff9e\u200b"), min_size=60, max_size=150),
)


@given(texts)
@hypothesis_settings(max_examples=400, deadline=None)
def test_any_text_has_a_canonical_form_that_is_stable_and_bounded(text: str) -> None:
    form = canonicalise(text)

    assert canonicalise(form.text).text == form.text
    assert unicodedata.is_normalized("NFKC", form.text)
    assert form.text == " ".join(form.text.split())
    assert not regex.search(r"[\p{Default_Ignorable_Code_Point}\p{Bidi_Control}\x00-\x08]", form.text)
    assert not regex.search(r"\p{M}{31}", form.text)
    assert len(form.text) <= settings.MAX_TEXT_CHARS
    assert len(form.skeleton) <= 3 * len(form.text)
    assert form.traces.n_chars == len(text)
    counts = [getattr(form.traces, name) for name in Traces.__slots__]
    assert all(0 <= count <= max(len(text), len(form.text)) for count in counts)


@given(texts)
@hypothesis_settings(max_examples=100, deadline=None)
def test_skeleton_depends_on_the_canonical_text_alone(text: str) -> None:
    form = canonicalise(text)
    assert canonicalise(form.text).skeleton == form.skeleton


def test_every_single_character_is_stable() -> None:
    odd = []
    for code in range(0x110000):
        if 0xD800 <= code < 0xE000:
            continue
        once = unicodedata.normalize("NFKC", strip_hidden(f"x{chr(code)}x")[0])
        if strip_hidden(once)[0] != once:
            odd.append(hex(code))
    assert odd == []


@pytest.mark.parametrize("text", ORDINARY.values(), ids=ORDINARY.keys())
def test_ordinary_writing_leaves_no_trace(text: str) -> None:
    assert canonicalise(text).traces == Traces(n_chars=len(text))


def test_words_of_other_scripts_stay_readable() -> None:
    assert canonicalise("Мой ПЕРЕВОД").skeleton == "мои перевод"
    assert canonicalise("為什麼 かがガ ไม่ महिला 한국").skeleton == "為什麼 かがガ ไม่ महिला 한국"


def test_digits_stay_digits() -> None:
    assert canonicalise("Pay 100 or 1OO, item Il1").skeleton == "pay 100 or 1oo, item il1"


def test_case_and_spacing_survive_in_the_text() -> None:
    form = canonicalise("  Where\n is  MY\u00a0card ")
    assert form.text == "Where is MY card"
    assert form.skeleton == "where is my card"


def test_length_is_bounded_before_normal_form() -> None:
    canonicalise("a" * settings.MAX_TEXT_CHARS)
    with pytest.raises(ContributionError, match="32769 characters; at most 32768"):
        canonicalise("a" * (settings.MAX_TEXT_CHARS + 1))


def test_length_is_bounded_after_normal_form() -> None:
    with pytest.raises(ContributionError, match=r"grows to 36000 characters in normal form"):
        canonicalise("\ufdfa" * 2_000)


@pytest.mark.parametrize("text", ["a\ud800", "\udfff", "ok \ud83d"])
def test_a_lone_surrogate_is_refused(text: str) -> None:
    with pytest.raises(ContributionError, match="lone surrogate at character"):
        canonicalise(text)


def test_runs_of_marks_are_cut_and_counted() -> None:
    form = canonicalise("a" + "\u0334" * 100)
    assert form.text == "a" + "\u0334" * 30
    assert form.traces.mark_excess == 97
    assert canonicalise("z̀́̂̃̄").traces.mark_excess == 2


@pytest.mark.parametrize("breaker", ["\uff9e", "\u200b", "\u2060", "\u0344", "\U000e0100", "\x01"])
def test_nothing_breaks_up_a_run_of_marks(breaker: str) -> None:
    # Alternating classes are the worst case of canonical ordering, which sorts a whole run.
    form = canonicalise("a" + f"\u0301{breaker}\u0316" * 500)
    assert len(form.text) <= 31


def test_characters_that_become_marks_belong_to_the_runs() -> None:
    late = [
        hex(code)
        for code in range(0x110000)
        if not unicodedata.category(chr(code)).startswith("M")
        and unicodedata.combining(unicodedata.normalize("NFKD", chr(code))[0])
    ]
    assert late == ["0xff9e", "0xff9f"]


def test_voicing_marks_are_cut_before_normalisation_sorts_them() -> None:
    capped, dropped = cap_marks("ka" + "\u0301\uff9e" * 500)
    assert len(capped) == 32
    assert dropped == 970
